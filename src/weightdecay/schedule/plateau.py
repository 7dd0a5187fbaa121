"""A factor for every time that a metric has stopped improving."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from weightdecay.checks import NON_NEGATIVE, POSITIVE, Interval, checked, whole
from weightdecay.schedule.shape import Moment, Number, Shape


class Judged(NamedTuple):
    """The memory of a plateau of the metrics so far."""

    best: float
    bad: int = 0  # metrics since the best, or since the last drop
    cooling: int = 0  # metrics that are still not counted
    drops: int = 0


@dataclass(frozen=True)
class Plateau(Shape):
    r""":math:`f = \text{factor}^n`, where n grows by one after ``patience`` metrics in a row without a better one.

    The metric comes with ``scheduler.step(metric)``; a step without one judges nothing. Better is better by a relative
    ``threshold``, and after each drop ``cooldown`` metrics are not counted: the rules of torch's
    ``ReduceLROnPlateau``. A ``factor`` above 1 raises λ. ``low`` and ``high`` bound f.
    """

    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    mode: str = "min"
    cooldown: int = 0
    low: float = 0.0
    high: float = math.inf

    ranges: ClassVar = {"factor": POSITIVE, "threshold": NON_NEGATIVE, "low": NON_NEGATIVE}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode not in ("min", "max"):
            raise ValueError(f"mode={self.mode!r} in Plateau: the metric gets better downwards (min) or upwards (max).")
        for name in ("patience", "cooldown"):
            object.__setattr__(self, name, whole(getattr(self, name), name, "Plateau"))
            checked(name, getattr(self, name), NON_NEGATIVE, "Plateau")
        object.__setattr__(self, "high", float(self.high))
        if self.high != math.inf:
            checked("high", self.high, Interval(self.low), "Plateau")

    @property
    def needs(self) -> frozenset[str]:
        """A metric."""
        return frozenset({"metric"})

    def start(self) -> Judged:
        """Return what is remembered before the first metric."""
        return Judged(math.inf if self.mode == "min" else -math.inf)

    def judge(self, seen: Judged, metric: float) -> Judged:
        """Return what is remembered after one more metric. NaN is not better than anything."""
        best, bad, cooling, drops = seen
        if metric < best * (1 - self.threshold) if self.mode == "min" else metric > best * (1 + self.threshold):
            best, bad = metric, 0
        else:
            bad += 1
        if cooling:
            bad, cooling = 0, cooling - 1
        if bad > self.patience:
            bad, cooling, drops = 0, self.cooldown, drops + 1
        return Judged(best, bad, cooling, drops)

    def multiplier(self, now: Moment) -> Number:
        """Return factorⁿ within its bounds."""
        seen = now.judged.get(self)
        return min(self.high, max(self.low, self.factor ** (seen.drops if seen else 0)))
