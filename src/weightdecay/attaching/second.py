"""How somebody else's optimizer keeps v, the mean of the squared gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from weightdecay.attaching.tally import Lagging, Tally
from weightdecay.engine.mean_square import V
from weightdecay.optim.member import Group


def beta2_of(group: Group) -> float:
    """Return β₂ of a group."""
    return float(group["betas"][1] if "betas" in group else group["beta2"])


def _bias_correction(group: Group) -> bool:
    return bool(group.get("bias_correction", True))


@dataclass(frozen=True)
class Second:
    r"""What v is, so that its sum follows from the norms of the gradients.

    .. math:: v_t = \beta_2 v_{t-1} + (1-\beta_2) g_t^2
    """

    beta2: Callable[[Group], float] = beta2_of
    corrected: Callable[[Group], bool] = _bias_correction  # whether the update divides by v̂ = v/(1 − β₂ᵗ)
    key: str | None = V
    """Where the state of a tensor holds v in full; None where what it holds is another number (v̂, or few bits)."""
    lagging: bool = False
    """Whether the step divides by the root of :math:`v_{t-1}`, where :math:`v_1 = g_1^2` (ADOPT)."""

    def account(self) -> Tally:
        """Return an empty account of S and t."""
        return Lagging() if self.lagging else Tally()
