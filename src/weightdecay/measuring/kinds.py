"""From exponents to a name: which weight decay has these numbers."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from weightdecay.measuring.experiment import Numbers, Pulls
from weightdecay.measuring.walk import LR, STEPS, STRENGTH

TOLERANCE = 5e-3
"""Of an exponent or a ratio: an optimizer in float32 shows its pull to about 1e-4 of itself."""
NOTHING = 1e-12
"""A difference between two paths that is rounding, and no decay."""

NONE, UNNAMED = "none", "unnamed"
UNITS = {
    "vanilla": (0, 0, 0, 1.0),
    "decoupled": (1, 1, 0, LR),
    "independent": (0, 1, 0, 1.0),
    "corrected": (1, 2, 0, LR),
}
"""Exponents of the pull in the lr, in its schedule and in the scale of the gradients; and pull/λ at the lr of a path.

The names are those of :data:`weightdecay.catalog.DECAYS`; of ``stable`` and ``elementwise``, whose pull is ηλ times the
gain of the optimizer, the third exponent is that of its update less one.
"""


@dataclass(frozen=True)
class Kind:
    """A name, and what was seen when it fitted."""

    name: str
    after: bool = False  # the pull is of the updated weight
    steps: int = 0  # at how many of the steps the numbers are those of the name
    low: float = math.nan  # pull/(λ·unit), the smallest and the largest
    high: float = math.nan


def kind_of(seen: Numbers) -> Kind:
    """Return the pull's name from the measured numbers alone; ``unnamed`` where they fit none.

    An update that depends on the weight hides the pull, but for a first step and a step without an update: there a few
    steps decide. Otherwise most steps must agree.
    """
    if seen.effect < NOTHING:
        return Kind(NONE, steps=STEPS)
    best = max((_best(seen, after) for after in (False, True)), key=lambda kind: kind.steps)
    enough = best.steps > STEPS // 2 or (seen.sees_weight and best.steps > 0)
    return best if enough else Kind(UNNAMED)


def _best(seen: Numbers, after: bool) -> Kind:
    pulls = seen.after if after else seen.before
    names = [_name_at(seen, pulls, t) for t in range(STEPS)]
    named = Counter(name for name in names if name)
    if not named:
        return Kind(UNNAMED, after)
    name, count = named.most_common(1)[0]
    unit = UNITS[name][3] if name in UNITS else math.nan
    ratios = [pulls.pull[t].item() / STRENGTH / unit for t in range(STEPS) if names[t] == name]
    return Kind(name, after, count, min(ratios), max(ratios))


def _name_at(seen: Numbers, pulls: Pulls, t: int) -> str | None:
    """Return the name at one step; until the schedule moves, the first step after it has moved speaks for it."""
    exponents = (pulls.lr[t].item(), pulls.schedule[max(t, STEPS // 2)].item(), pulls.gradient[t].item())
    uniform = pulls.spread[t].item() < TOLERANCE
    for name, (lr, schedule, gradient, _) in UNITS.items():
        if uniform and _near(exponents, (lr, schedule, gradient)):
            return name
    if _near(exponents, (1, 1, seen.update - 1)):
        return "stable" if uniform else "elementwise"
    return None


def _near(values: tuple[float, ...], targets: tuple[float, ...]) -> bool:
    return all(abs(value - target) < TOLERANCE for value, target in zip(values, targets, strict=True))
