"""What paired differences, and resampled seeds, say of a claim."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from random import Random
from typing import Literal

from weightdecay.lab.run import Metric
from weightdecay.lab.study.difference import LEVEL, Difference

Verdict = Literal["holds", "refuted", "practically equal", "undecided", "not judged"]

POINT, PART = 1.0, 0.05
"""Errors that differ by less than a point, and by less than this part of them, are practically equal."""

PART_OF_PERPLEXITY = 0.01

DRAWS = 4000
"""Resamples of a bootstrap, where there are too many to take all."""


@dataclass(frozen=True)
class Judgement:
    """What was found about a claim. ``seeds`` is how many would decide it, at the difference and spread seen here.

    ``unrecorded``: nothing was, because of the runs only a row each is known, and the claim is about their epochs.
    """

    verdict: Verdict
    measured: str
    seeds: int | None = None
    unrecorded: bool = False


def all_of(judged: Sequence[Difference], margins: Sequence[float] = ()) -> tuple[Verdict, int | None]:
    """Return the verdict on "every one of them is below 0", and the seeds that would decide it.

    It holds where every interval lies below 0 (an intersection–union test: no correction is due). It is refuted where
    one lies above 0, each at the level divided by their number. Where neither is so, and one is shown to be smaller
    than its margin (:meth:`Difference.within`, at the same corrected level), that one is practically equal, and so is
    the verdict: lower than every one by a difference that matters it is not. Without margins nothing is, and nothing
    where another is above its margin on average: equal here and far behind there is no equality.
    """
    verdicts = [one.verdict for one in judged]
    if all(verdict == "holds" for verdict in verdicts):
        return "holds", None
    if any(_refutes(one, len(judged)) for one in judged):
        return "refuted", None
    bounded = list(zip(judged, margins, strict=True)) if margins else []
    behind = any(one.mean > margin for one, margin in bounded)
    if not behind and any(one.within(margin, LEVEL / len(judged)) for one, margin in bounded):
        return "practically equal", None
    open_ = [one.seeds for one in judged if one.verdict != "holds"]
    known = [seeds for seeds in open_ if seeds is not None]
    return "undecided", max(known) if known and len(known) == len(open_) else None


def margin(metric: Metric, value: float) -> float:
    """Return the difference from a value that does not matter, in the metric's unit.

    Of an error it is 1 point, or a twentieth of the error where that is less; of a perplexity 1 %.

    >>> margin(Metric("test error", "%"), 44.0), margin(Metric("test error", "%"), 6.0)
    (1.0, 0.3)
    """
    if metric.unit != "%":
        return PART_OF_PERPLEXITY * value
    return min(POINT, round(PART * value, 12))


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
