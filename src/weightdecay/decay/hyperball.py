"""new ← R · (old + ηR Δ/‖Δ‖) / ‖·‖ with R = ‖old‖."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weightdecay.decay.base import Decay, Step
from weightdecay.decay.norms import check_matrices

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Hyperball(Decay):
    r"""Keeps the norm of every matrix, and turns it by about η in each step, however long the update is.

    .. math:: \theta' = \theta_{t-1} + \eta_t R\,\frac{\Delta}{\|\Delta\|}, \qquad
              \theta_t = R\,\frac{\theta'}{\|\theta'\|}, \qquad R = \|\theta_{t-1}\|

    Δ is the step that was about to be taken. λ is only a switch: above 0 the constraint acts, at 0 it is off, and an
    optimizer in which it is off everywhere warns when it is built.

    The norm is renewed from the last step's, so that rounding adds up: about 1e-5 in 10⁴ steps of float32.

    Units:  the lr is an angle, in radians per step.
    Sharded parameters: two all-reduces per step.
    Raises: ValueError, for vectors and for a weight of norm 0.
    Source: arXiv:2606.16899.
    """

    needs = frozenset({"norms"})

    def constrain(self, step: Step, old: Tensor, new: Tensor) -> Tensor:
        """Return the weight on the sphere."""
        change = new - old
        radius, length = step.norms(old, change)
        turned = old + change * (step.lr * radius / length.clamp(min=1e-30))
        (reached,) = step.norms(turned)
        moved: Tensor = turned * (radius / reached.clamp(min=1e-30))
        return moved

    def check(self, group: Mapping[str, Any], where: str) -> None:
        """Refuse what has no direction."""
        check_matrices(self, group, where)
