"""Is one number lower than another? A paired t test over seeds, and how many seeds would settle it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from random import Random
from statistics import fmean, stdev
from typing import Literal

from weightdecay.lab.study.statistics import CONFIDENCE, half_width

Verdict = Literal["holds", "refuted", "undecided", "not judged"]

LEVEL = 1 - CONFIDENCE
POWER = 0.8
MOST_SEEDS = 1000
"""Beyond this many seeds a difference is not worth deciding."""

DRAWS = 4000
"""Resamples of a bootstrap, where there are too many to take all."""


@dataclass(frozen=True)
class Judgement:
    """What was found about a claim. ``seeds`` is how many would decide it, at the difference and spread seen here."""

    verdict: Verdict
    measured: str
    seeds: int | None = None


@dataclass(frozen=True)
class Difference:
    """The mean of a − b over paired seeds, with its two-sided interval; infinite where only one side diverged."""

    mean: float
    interval: tuple[float, float] | None
    spread: float | None
    count: int
    p: float | None

    @property
    def verdict(self) -> Verdict:
        """Whether "a is lower than b" holds."""
        if self.interval is None:
            return "undecided"
        return "holds" if self.interval[1] < 0 else "refuted" if self.interval[0] > 0 else "undecided"

    @property
    def seeds(self) -> int | None:
        """How many seeds give :data:`POWER` to see a difference of this size, if it is the true one."""
        return None if self.spread is None else seeds_for(abs(self.mean), self.spread)

    def __str__(self) -> str:
        if self.interval is None:
            text = f"{self.mean:+.3g}"
        else:
            text = f"{self.mean:+.3g} [{self.interval[0]:+.3g}, {self.interval[1]:+.3g}]"
        return text.replace("-", "−")


def difference(a: Sequence[float], b: Sequence[float]) -> Difference:
    r"""Return the paired difference of two numbers over seeds, seed by seed.

    .. math:: \bar d \pm t_{n-1,\,1-\alpha/2}\; s_d/\sqrt n

    Numbers that are all infinite on one side only (it diverged with every seed) differ beyond doubt; where some are,
    nothing is decided.
    """
    from scipy.stats import t

    finite = [all(map(math.isfinite, values)) for values in (a, b)]
    count = min(len(a), len(b))
    if not all(finite):
        endless = [all(value == math.inf for value in values) for values in (a, b)]
        if (finite[0] and endless[1]) or (finite[1] and endless[0]):
            mean = -math.inf if endless[1] else math.inf
            return Difference(mean, (mean, mean), None, count, 0.0)
        return Difference(math.nan, None, None, count, None)
    differences = [x - y for x, y in zip(a, b, strict=True)]
    mean, half = fmean(differences), half_width(differences)
    if half is None:
        return Difference(mean, None, None, count, None)
    spread = stdev(differences)
    if spread == 0:
        return Difference(mean, (mean, mean), 0.0, count, 0.0 if mean else 1.0)
    p = 2 * float(t.sf(abs(mean) / spread * math.sqrt(count), count - 1))
    return Difference(mean, (mean - half, mean + half), spread, count, p)


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
    for count in range(2, MOST_SEEDS + 1):
        limit = t.ppf(1 - LEVEL / 2, count - 1)
        if nct.sf(limit, count - 1, mean / spread * math.sqrt(count)) >= POWER:
            return count
    return None


def all_of(judged: Iterable[Difference]) -> tuple[Verdict, int | None]:
    """Return the verdict on "every one of them is below 0", and the seeds that would decide it.

    It holds where every interval lies below 0 (an intersection–union test: no correction is due). It is refuted where
    one lies above 0, each at the level divided by their number.
    """
    several = list(judged)
    verdicts = [one.verdict for one in several]
    if all(verdict == "holds" for verdict in verdicts):
        return "holds", None
    if any(_refutes(one, len(several)) for one in several):
        return "refuted", None
    open_ = [one.seeds for one in several if one.verdict != "holds"]
    known = [seeds for seeds in open_ if seeds is not None]
    return "undecided", max(known) if known and len(known) == len(open_) else None


def _refutes(one: Difference, among: int) -> bool:
    return one.mean > 0 and one.p is not None and one.p < LEVEL / among


def bootstrap(seeds: int, holds: Callable[[Sequence[int]], bool]) -> tuple[Verdict, float]:
    """Return the verdict on a claim about means over seeds, and the share of resamples of the seeds it holds in.

    All resamples are taken where there are few, else :data:`DRAWS` drawn ones (the same every time). It holds from
    95 % on and is refuted up to 5 %; a single seed decides nothing.
    """
    if seeds < 2:
        return "undecided", float(holds([0] * seeds))
    if seeds**seeds <= DRAWS:
        resamples = [list(one) for one in product(range(seeds), repeat=seeds)]
    else:
        draw = Random(0)
        resamples = [[draw.randrange(seeds) for _ in range(seeds)] for _ in range(DRAWS)]
    share = sum(map(holds, resamples)) / len(resamples)
    return ("holds" if share >= 1 - LEVEL else "refuted" if share <= LEVEL else "undecided"), share


def not_judged(judgement: Judgement) -> Judgement:
    """Return what was measured without a verdict: of a run that only proves that it runs."""
    return replace(judgement, verdict="not judged", seeds=None)
