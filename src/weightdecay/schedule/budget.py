"""λ from the decay of the whole training."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from typing import ClassVar

from weightdecay.checks import POSITIVE, nearest
from weightdecay.schedule.curves import Constant
from weightdecay.schedule.shape import Moment, Number, Shape

PULLS = ("decoupled", "independent", "vanilla")
"""The decays whose pull is known before a gradient is: ηλ, λη/η_max, λ."""


@dataclass(frozen=True)
class Budget(Shape):
    r"""The pulls of the training sum to ``total``, and go over time as ``shape``, whatever the lr does.

    .. math:: \text{pull}_t = X\,f_t \Big/ \sum_s f_s, \qquad
              \lambda_t = \text{pull}_t/\eta_t \;\text{(decoupled)},\quad
              \text{pull}_t\,\eta_{\max}/\eta_t \;\text{(independent)},\quad \text{pull}_t \;\text{(vanilla)}

    λ_t stands for the group's λ; a group whose own λ is 0 keeps 0. In a step with η = 0 nothing can be pulled, and its
    share is lost; after total_steps the budget is spent, and λ is 0. A stable decay is none of ``decay``: its pull
    has the gain in it, which nobody knows before the gradients.

    Units:  X is without dimension: to first order weights without a gradient shrink by a factor e^(−X).
    Raises: ValueError, for a shape that reads the lr or a metric: its sum is not known beforehand.
    """

    total: float
    shape: Shape = field(default_factory=Constant)
    decay: str = "decoupled"

    ranges: ClassVar = {"total": POSITIVE}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shape.needs & {"lr", "metric"} or self.shape.replaces:
            raise ValueError(f"Budget cannot divide its total by {self.shape}: the sum over the training is not known.")
        if self.decay not in PULLS:
            raise ValueError(
                f"decay={self.decay!r} in Budget: the pull is known beforehand for {', '.join(PULLS)} only."
                f"{nearest(self.decay, PULLS)}"
            )

    @property
    def needs(self) -> frozenset[str]:
        """The length of the training; the lr, except for vanilla decay."""
        return frozenset({"total_steps"} if self.decay == "vanilla" else {"total_steps", "lr"})

    @property
    def replaces(self) -> bool:
        """It does."""
        return True

    def multiplier(self, now: Moment) -> Number:
        """Return λ_t."""
        if now.step >= now.whole:
            return 0.0
        pull = self.total * float(self.shape.multiplier(now)) / _sum(self.shape, now.whole)
        if self.decay == "vanilla":
            return pull
        pull *= now.peak_lr if self.decay == "independent" else 1.0
        import torch  # not to read a text, which needs no tensor

        if isinstance(now.lr, torch.Tensor):
            return torch.where(now.lr > 0, pull / now.lr, 0.0)
        return pull / now.lr if now.lr > 0 else 0.0

    def value(self, base: float, now: Moment) -> Number:
        """Return λ_t."""
        return self.multiplier(now) if base else 0.0


@functools.lru_cache(maxsize=64)
def _sum(shape: Shape, total: int) -> float:
    found = math.fsum(shape.values(total))
    if not found > 0:
        raise ValueError(f"Budget cannot be dealt out: {shape} is 0 in every step.")
    return found
