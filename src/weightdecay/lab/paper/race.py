"""Seeds go where they can change a verdict: every cell has the first ones, and only those near the best have more.

A claim compares cells that are the best of their curves, cells at the paper's λ, or asks where the best is. A cell
whose mean over the first seeds is far above the best of its curve is none of these, with the next seeds neither. So a
panel asks for the first seeds of every cell, and then for the other seeds of

- cells within :data:`WITHIN` times the best of their curve, by any measure: lr and λ are chosen by each of them;
- cells that a claim names beforehand: those at the paper's lr and λ, and :attr:`Panel.named`.

The count of seeds is set before the runs are seen. What a cell left behind is judged by, where a claim is about every
cell, is the first seeds.

Source: racing as in Maron & Moore, NeurIPS 6, 1993, with one look and a fixed bound in place of Hoeffding's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from weightdecay.lab.paper.experiment import Experiment, Panel
from weightdecay.lab.paper.measure import MEASURES
from weightdecay.lab.paper.scale import Scale
from weightdecay.lab.run import Result, Run
from weightdecay.lab.study.answer import mean
from weightdecay.lab.study.question import Point

WITHIN = 1.1
"""As far above the best of its curve, as a factor, a cell goes on; a basin is as wide in the claims about width."""


def asked(experiment: Experiment, scale: Scale, known: Mapping[Run, Result]) -> tuple[Panel, ...]:
    """Return the panels of an experiment with the runs that they ask for, given what is known."""
    return tuple(raced(panel, scale.first, known) for panel in experiment.panels(scale))


def raced(panel: Panel, first: int, known: Mapping[Run, Result]) -> Panel:
    """Return the panel with the runs that it asks for, given what is known: the first seeds, then those that go on.

    Until all of the first ones are known, they are all that is asked for. Where runs are missing for good (they
    failed), nothing goes on.
    """
    begun = {point: runs[:first] for point, runs in panel.points.items()}
    if any(run not in known for runs in begun.values() for run in runs):
        return replace(panel, points=begun)
    on = _near_the_best({point: [known[run] for run in runs] for point, runs in begun.items()})
    on |= {*panel.fixed.values(), *panel.named}
    return replace(panel, points={point: runs if point in on else begun[point] for point, runs in panel.points.items()})


def _near_the_best(results: Mapping[Point, list[Result]]) -> set[Point]:
    """Return the points whose mean is within :data:`WITHIN` times the lowest of their curve, by any measure."""
    found: set[Point] = set()
    for curve in {point.curve for point in results}:
        own = {point: several for point, several in results.items() if point.curve == curve}
        for measure in MEASURES:
            if not all(measure.reads(several) for several in own.values()):
                continue
            means = {point: mean(several, measure.chosen_by) for point, several in own.items()}
            limit = WITHIN * min(means.values())
            found |= {point for point, one in means.items() if one <= limit and math.isfinite(one)}
    return found
