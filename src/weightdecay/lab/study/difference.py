"""Is one number lower than another? A paired t test over seeds, and how many seeds would settle it."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean, stdev
from typing import Literal

CONFIDENCE = 0.95
LEVEL = 1 - CONFIDENCE
POWER = 0.8
MOST_SEEDS = 1000
"""Beyond this many seeds a difference is not worth deciding."""

Decided = Literal["holds", "refuted", "undecided"]


@dataclass(frozen=True)
class Difference:
    """The mean of a − b over paired seeds, with its two-sided interval; infinite where only one side diverged."""

    mean: float
    interval: tuple[float, float] | None  # None: of one seed, and where not all numbers are finite
    spread: float | None
    count: int
    p: float | None

    @property
    def verdict(self) -> Decided:
        """Whether "a is lower than b" holds: the interval leaves out 0."""
        if self.interval is None:
            return "undecided"
        return "holds" if self.interval[1] < 0 else "refuted" if self.interval[0] > 0 else "undecided"

    @property
    def seeds(self) -> int | None:
        """How many seeds give :data:`POWER` to see a difference of this size, if it is the true one."""
        return None if self.spread is None else seeds_for(abs(self.mean), self.spread)

    def leaving(self, tail: float) -> tuple[float, float]:
        """Return the t interval of the mean that leaves out so much on each side; of several seeds only.

        Of numbers that are the same with every seed, or infinite, it is the mean.
        """
        if not self.spread:
            return self.mean, self.mean
        half = _quantile(tail, self.count - 1) * self.spread / math.sqrt(self.count)
        return self.mean - half, self.mean + half

    def within(self, margin: float, level: float = LEVEL) -> bool:
        """Whether the difference is practically none: two one-sided tests, each at the level, against ±``margin``.

        Source: Schuirmann, J. Pharmacokin. Biopharm. 15, 1987 (TOST).
        """
        if self.interval is None:
            return False
        low, high = self.leaving(level)
        return -margin < low and high < margin

    def __str__(self) -> str:
        text = _signed(self.mean)
        if self.interval is not None:
            text += f" [{', '.join(map(_signed, self.interval))}]"
        return text


def _signed(value: float) -> str:
    """Return a number with its sign; what only rounding has left of nothing is +0."""
    return f"{round(value, 9) + 0.0:+.3g}".replace("-", "−")


def paired(a: Sequence[float], b: Sequence[float]) -> Difference:
    r"""Return the difference of two numbers, seed by seed, with its t interval.

    .. math:: \bar d \pm t_{n-1,\,1-\alpha/2}\; s_d/\sqrt n

    Pairs, because the same seed means the same wrong labels, initial weights and order of the data for everything that
    is compared: what they share cancels. Interval and p are those of ``scipy.stats.ttest_rel``, which takes three times
    as long, warns where the pairs differ by nearly the same, and has no answer where they are equal.

    Numbers that are all infinite on one side only (it diverged with every seed) differ beyond doubt; where some are,
    nothing is decided.
    """
    finite = [all(map(math.isfinite, values)) for values in (a, b)]
    count = min(len(a), len(b))
    if not all(finite):
        endless = [all(value == math.inf for value in values) for values in (a, b)]
        if (finite[0] and endless[1]) or (finite[1] and endless[0]):
            mean = -math.inf if endless[1] else math.inf
            return Difference(mean, (mean, mean), None, count, 0.0)
        return Difference(math.nan, None, None, count, None)
    differences = [x - y for x, y in zip(a, b, strict=True)]
    mean = fmean(differences)
    if count < 2:
        return Difference(mean, None, None, count, None)
    spread = stdev(differences)
    if spread == 0:
        return Difference(mean, (mean, mean), 0.0, count, 0.0 if mean else 1.0)
    from scipy.stats import t

    half = _quantile(LEVEL / 2, count - 1) * spread / math.sqrt(count)
    p = 2 * float(t.sf(abs(mean) / spread * math.sqrt(count), count - 1))
    return Difference(mean, (mean - half, mean + half), spread, count, p)


@cache
def _quantile(tail: float, freedom: int) -> float:
    from scipy.stats import t

    return float(t.isf(tail, freedom))


@cache
def seeds_for(mean: float, spread: float) -> int | None:
    """Return the fewest seeds whose paired t test sees the difference with :data:`POWER`; None above MOST_SEEDS.

    >>> seeds_for(1.0, 1.0)
    10
    """
    from scipy.stats import nct, t

    if mean <= 0 or not math.isfinite(mean):
        return None
    if spread == 0:
        return 2

    def enough(count: int) -> bool:
        limit = t.ppf(1 - LEVEL / 2, count - 1)
        return bool(nct.sf(limit, count - 1, mean / spread * math.sqrt(count)) >= POWER)

    # The power grows with the count. Doubled first: far beyond the answer scipy's tail is not a number.
    most = 2
    while most < MOST_SEEDS and not enough(most):
        most *= 2
    counts = range(most // 2 + 1, min(most, MOST_SEEDS) + 1)
    found = counts.start + bisect_left(counts, True, key=enough)
    return found if found in counts else None
