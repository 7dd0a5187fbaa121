"""How somebody else's optimizer keeps v, the mean of the squared gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from weightdecay.engine.mean_square import Account, V, spoilt
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

    def account(self) -> Account:
        """Return an empty account of S and t."""
        return Lagging(rows=2) if self.lagging else Account(rows=2)


class Lagging(Account):
    r"""S where a step divides by the v of the step before it, and :math:`v_1 = g_1^2`; the first step moves nothing.

    Source: ADOPT, arXiv:2411.02853, Algorithm 2.
    """

    def mine(self, squares: Tensor, t: Tensor, found: Tensor | None) -> Tensor:
        """Return as :meth:`Account.mine`; what this step adds to v does not enter its mean."""
        self._kept = self.beta2 * self.sums
        self._added = torch.where(t == 1, 1.0, self.taken) * squares
        total = torch.dot(self.sums, self.share)
        return torch.stack(
            [total, torch.zeros_like(total), spoilt(torch.dot(squares, self.share), found), self.elements]
        )
