"""pull · (1 − radius/‖θ‖)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weightdecay.checks import number
from weightdecay.decay.base import Decay, Step
from weightdecay.decay.modifier import BASE, Modifier, both
from weightdecay.decay.norms import check_whole

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class NormTarget(Modifier):
    r"""Pulls the Euclidean norm of each tensor to ``radius``: a smaller weight grows, a larger one shrinks.

    .. math:: \theta_t = \big(1 - \text{pull}_t\,(1 - R/\|\theta_{t-1}\|)\big)\,\theta_{t-1} - \eta_t u_t

    A tensor of norm 0 is left to the update.

    Sharded parameters: one all-reduce per step.
    Raises: ValueError, for a radius that is not above 0.
    Source: norm loss, arXiv:2103.06583.
    """

    radius: float = 1.0
    decay: Decay = BASE
    adds = frozenset({"weight", "norms"})

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "radius", float(number(self.radius, "radius", "NormTarget()")))
        if not 0 < self.radius < math.inf:
            raise ValueError(f"NormTarget(radius={self.radius!r}): radius must be a finite number above 0.")

    def mask(self, step: Step) -> Tensor:
        """Return 1 − R/‖θ‖; 0 at θ = 0."""
        (norm,) = step.norms(step.weight())
        factor = (1 - self.radius / norm.clamp(min=1e-30)) * (norm > 0).to(norm.dtype)
        return both(factor, self.decay.mask(step))

    def check(self, group: Mapping[str, Any], where: str) -> None:
        """Refuse pieces of tensors."""
        self.decay.check(group, where)
        check_whole(self, group, where)
