r"""Is any arm better than the reference, or practically equal to it? Tuned on some seeds, judged on others.

An arm is an optimizer with a decay. Each is tuned with the same budget, on validation error over tuning seeds; then
each is judged once, on the test error of other seeds, paired seed by seed with the reference. For k arms beside it:

.. math:: I = \bar d \pm t_{n-1,\,1-\alpha/2k}\,\frac{s_d}{\sqrt n},\qquad
          E = \bar d \pm t_{n-1,\,1-\alpha/k}\,\frac{s_d}{\sqrt n}

============================  =================================================================
practically equal             :math:`E \subset (-m, m)`: two one-sided tests (TOST) at level α/k
better, worse                 :math:`I` lies below 0, above 0
undecided                     none of these
============================  =================================================================

The probability that any of the k rulings is wrong is at most α, whatever the true differences are and however the arms
depend on each other. Proof for one arm, α/k each: at d = 0 "better" and "worse" are wrong, α/2k each; at 0 < d < m only
"better"; at d ≥ m "better" and "equal", and both need the upper end of E below m, which has probability α/k. Then sum.

Units: the metric's; lower is better. ``margin`` m is the difference that does not matter, set before the runs are seen.
Source: Schuirmann, J. Pharmacokin. Biopharm. 15, 1987 (TOST); Bonferroni over arms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from weightdecay.lab.run.settings import SettingsError
from weightdecay.lab.study.difference import LEVEL, Difference, paired

Ruled = Literal["better", "worse", "practically equal", "undecided"]

BySeed = Mapping[int, float]
"""A number of each seed."""


@dataclass(frozen=True)
class Ruling:
    """An arm against the reference: arm minus reference. ``interval`` is I, ``within`` is E; None where unknown."""

    mean: float
    interval: tuple[float, float] | None
    within: tuple[float, float] | None
    verdict: Ruled


def ruled(
    judged: Mapping[str, BySeed], reference: str, margin: float, tuning_seeds: frozenset[int] = frozenset(),
    level: float = LEVEL,
) -> dict[str, Ruling]:  # fmt: skip
    """Return the ruling on every arm but the reference. All are wrong together with probability ``level`` at most.

    ``judged`` holds a test error by arm and judging seed.

    Raises: SettingsError, for seeds that were tuned on or that arms do not share, for an unknown reference, and for a
    margin that is not above 0.
    """
    if reference not in judged:
        raise SettingsError(f"reference={reference!r} is none of the arms: {', '.join(map(repr, judged))}.")
    if not margin > 0 or math.isinf(margin):
        raise SettingsError(f"margin={margin:g}: write the largest difference that does not matter, above 0.")
    seeds = sorted(judged[reference])
    if leaked := sorted(tuning_seeds & set(seeds)):
        raise SettingsError(f"the seeds {leaked} were tuned on: an arm is judged on seeds that chose nothing.")
    for arm, numbers in judged.items():
        if sorted(numbers) != seeds:
            raise SettingsError(f"{arm!r} has the seeds {sorted(numbers)}, and {reference!r} {seeds}: pairs need both.")
    others = [arm for arm in judged if arm != reference]
    return {arm: _ruling(_against(judged, arm, reference, seeds), margin, level / len(others)) for arm in others}


def _against(judged: Mapping[str, BySeed], arm: str, reference: str, seeds: list[int]) -> Difference:
    return paired([judged[arm][seed] for seed in seeds], [judged[reference][seed] for seed in seeds])


def _ruling(one: Difference, margin: float, level: float) -> Ruling:
    if one.interval is None:  # one seed, or some runs diverged
        return Ruling(one.mean, None, None, "undecided")
    interval, within = one.leaving(level / 2), one.leaving(level)
    verdict: Ruled = "undecided"
    if one.within(margin, level):
        verdict = "practically equal"
    elif interval[1] < 0:
        verdict = "better"
    elif interval[0] > 0:
        verdict = "worse"
    return Ruling(one.mean, interval, within, verdict)
