"""Shapes that read the learning rate of the step: in phase to a power, and in anti-phase."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from weightdecay.checks import NON_NEGATIVE, POSITIVE, checked
from weightdecay.schedule.shape import Moment, Number, Shape


@dataclass(frozen=True)
class Following(Shape):
    """A function of η/η_max, where η is the lr of the step about to be taken, whichever scheduler wrote it, and when.

    ``peak_lr``: η_max. By default the group's ``max_lr`` (OneCycleLR and CyclicLR write it), else the larger of its
    ``initial_lr`` (every other scheduler of torch) and its ``peak_lr`` (optimizers of this package), else the lr that
    it had when the scheduler was built.

    Raises: ValueError, where η exceeds η_max, or η_max is 0.
    """

    @property
    def needs(self) -> frozenset[str]:
        """The learning rate."""
        return frozenset({"lr"})

    def ratio(self, now: Moment, given: float | None) -> Number:
        """Return η/η_max."""
        peak = now.peak_lr if given is None else given
        if not peak > 0:
            raise ValueError(f"{self} divides by the peak lr, which is {peak:g}. Pass peak_lr=, the highest lr.")
        from torch import Tensor  # not to read a text, which needs no tensor

        if isinstance(now.lr, Tensor):
            return now.lr / peak
        # A relative 1e-6 lets a schedule return to its peak through float32 arithmetic.
        if now.lr > peak * (1 + 1e-6):
            raise ValueError(
                f"lr={now.lr:g} exceeds the peak lr {peak:g} that {self} divides by. "
                f"Pass peak_lr=, the highest lr of the schedule."
            )
        return min(1.0, now.lr / peak)


@dataclass(frozen=True)
class Follow(Following):
    r""":math:`f = (\eta/\eta_{\max})^k`, so that under a decoupled decay the pull goes as η^(1+k).

    With k = 1 Decoupled has the pull λη²/η_max of AdamC (arXiv:2506.02285).
    """

    power: float = 1.0
    peak_lr: float | None = None

    ranges: ClassVar = {"power": NON_NEGATIVE}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.peak_lr is not None:
            object.__setattr__(self, "peak_lr", float(checked("peak_lr", self.peak_lr, POSITIVE, "Follow")))

    def multiplier(self, now: Moment) -> Number:
        """Return (η/η_max)^k."""
        return self.ratio(now, self.peak_lr) ** self.power


@dataclass(frozen=True)
class AntiPhase(Following):
    r""":math:`f = \text{high} - (\text{high} - \text{low})\,\eta/\eta_{\max}`: ``low`` at the peak of the lr."""

    low: float = 0.0
    high: float = 1.0
    peak_lr: float | None = None

    ranges: ClassVar = {"low": NON_NEGATIVE, "high": NON_NEGATIVE}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low > self.high:
            raise ValueError(f"AntiPhase(low={self.low:g}, high={self.high:g}): low is at most high.")
        if self.peak_lr is not None:
            object.__setattr__(self, "peak_lr", float(checked("peak_lr", self.peak_lr, POSITIVE, "AntiPhase")))

    def multiplier(self, now: Moment) -> Number:
        """Return f(η)."""
        return self.high - (self.high - self.low) * self.ratio(now, self.peak_lr)
