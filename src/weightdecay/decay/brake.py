"""‖new‖ ← ‖old‖ + s(‖new‖ − ‖old‖)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weightdecay.checks import number
from weightdecay.decay.base import Decay, Step
from weightdecay.decay.norms import check_matrices

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RadialBrake(Decay):
    r"""Slows the growth of the norm of a matrix (``outward``), or its fall (``inward``), and keeps the direction.

    .. math:: \|\theta_t\| = \|\theta_{t-1}\| + s\,(\|\theta'\| - \|\theta_{t-1}\|)

    θ' is the weight after the update and s is ``outward`` where the norm rises, else ``inward``: 1 changes nothing, 0
    fixes the norm. λ is only a switch: above 0 the constraint acts, at 0 it is off, and an optimizer in which it is off
    everywhere warns when it is built.

    Sharded parameters: one all-reduce per step.
    Raises: ValueError, for factors outside [0, 1], for vectors and for a weight of norm 0.
    Source: NVIDIA Emerging-Optimizers, ``radial_brake.py``.
    """

    outward: float = 0.5
    inward: float = 1.0
    needs = frozenset({"norms"})

    def __post_init__(self) -> None:
        for name in ("outward", "inward"):
            value = float(number(getattr(self, name), name, "RadialBrake()"))
            object.__setattr__(self, name, value)
            if not 0 <= value <= 1 or math.isnan(value):
                raise ValueError(f"RadialBrake({name}={value!r}): {name} must be a number from 0 to 1.")

    def constrain(self, step: Step, old: Tensor, new: Tensor) -> Tensor:
        """Return ``new`` with the braked norm."""
        before, after = step.norms(old, new)
        rises = (after > before).to(after.dtype)
        factor = rises * self.outward + (1 - rises) * self.inward
        moved: Tensor = new * ((before + factor * (after - before)) / after.clamp(min=1e-30))
        return moved

    def check(self, group: Mapping[str, Any], where: str) -> None:
        """Refuse what has no direction."""
        check_matrices(self, group, where)
