"""What the runs of a task say: each arm at its best cell against the reference, its basin, how its λ carries over."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from weightdecay.lab.referee.arm import Arm, Cell
from weightdecay.lab.referee.carried import Carried
from weightdecay.lab.referee.ladder import LRS, TUNING, WEIGHT_DECAYS, Ladder, sides_untried
from weightdecay.lab.referee.rulings import Ruling, ruled
from weightdecay.lab.referee.task import Task
from weightdecay.lab.run import Run
from weightdecay.lab.study.difference import LEVEL

REFERENCE = "decoupled"
"""The decay that the others of an optimizer are judged against: decoupled decay that follows the lr, as in AdamW."""


@dataclass(frozen=True)
class Standing:
    """An arm on a task. Numbers are on the scale of :func:`task.on_scale`; lower is better.

    ``basin``: the share of the grid's cells (lr, λ) whose validation error is within the margin × 2 of the grid's best.
    ``kept_cost``: what it costs to keep the λ of the middle lr at a third and at three times that lr, on average.
    Both are of one seed, and None for an arm without a λ to tune. ``edge`` names what lies at an end of what was tried.
    """

    arm: Arm
    cell: Cell
    tuned: float  # on the validation set, over the tuning seeds
    judged: Mapping[int, float]  # on the test set, by seed
    ruling: Ruling | None  # None: the reference, and arms of an optimizer that has none
    basin: float | None
    kept_cost: float | None
    edge: tuple[str, ...]
    tried: Mapping[Cell, float]  # the validation error of every cell, with the first seed
    carried: tuple[Carried, ...]  # where the runs with another lr, batch and width are there

    @property
    def mean(self) -> float:
        """On the test set, over the judging seeds."""
        return fmean(self.judged.values())


@dataclass(frozen=True)
class Answer:
    """A task, answered: the arms, best first; ``waiting`` are those whose runs are not all there, with their stage."""

    task: Task
    standings: tuple[Standing, ...]
    waiting: Mapping[str, str]
    margin: float
    seconds: float  # of all runs


def answered(
    task: Task, ladders: Sequence[Ladder], test: Callable[[Run], float], margin: float, seconds: float
) -> Answer:
    """Return what the finished ladders say. ``test`` is the error of a run on the test set."""
    stages = {ladder.arm.title: ladder.asked()[0] for ladder in ladders}
    ready = [ladder for ladder in ladders if ladder.is_judged()]
    judged = {ladder.arm: {run.seed: test(run) for run in ladder.judged()} for ladder in ready}
    rulings = _rulings(judged, [ladder.arm for ladder in ladders], margin)
    standings = [_standing(ladder, judged[ladder.arm], rulings.get(ladder.arm), margin) for ladder in ready]
    return Answer(
        task,
        tuple(sorted(standings, key=lambda one: one.mean)),
        {title: stage for title, stage in stages.items() if stage != "done"},
        margin,
        seconds,
    )


def _rulings(judged: Mapping[Arm, Mapping[int, float]], asked: Sequence[Arm], margin: float) -> dict[Arm, Ruling]:
    """Return the ruling on each arm against the reference of its optimizer.

    Those of one optimizer are right together, at LEVEL, however many of the arms that were asked for are judged yet:
    a ruling does not change when another arm ends, nor when another optimizer is asked for.
    """
    found: dict[Arm, Ruling] = {}
    for reference in (arm for arm in judged if arm.decay == REFERENCE):
        own = {arm.decay: arm for arm in judged if arm.optimizer == reference.optimizer}
        others = sum(arm.optimizer == reference.optimizer for arm in asked) - 1
        if len(own) < 2:
            continue
        level = LEVEL * (len(own) - 1) / others
        by_decay = ruled(
            {decay: judged[arm] for decay, arm in own.items()}, REFERENCE, margin, frozenset(TUNING), level
        )
        found |= {own[decay]: ruling for decay, ruling in by_decay.items()}
    return found


def _standing(ladder: Ladder, judged: Mapping[int, float], ruling: Ruling | None, margin: float) -> Standing:
    cell = ladder.chosen()
    tried = {each: ladder.mean(each, 1) for each in ladder.tried()}
    tuned = ladder.mean(cell, len(TUNING))
    tunes = ladder.arm.has_weight_decay
    basin, kept_cost = (_basin(ladder, margin), _kept_cost(ladder)) if tunes else (None, None)
    return Standing(
        ladder.arm, cell, tuned, judged, ruling, basin, kept_cost, _edges(cell, tried), tried, ladder.carried()
    )


def _edges(cell: Cell, tried: Iterable[Cell]) -> tuple[str, ...]:
    """Return "lr" or "λ" where nothing was tried on one side of the cell."""
    sides = {axis for axis, _ in sides_untried(cell, tried)}
    return tuple(name for axis, name in enumerate(("lr", "λ")) if axis in sides)


def _basin(ladder: Ladder, margin: float) -> float:
    scores = [ladder.mean(cell, 1) for cell in ladder.grid()]
    return sum(score <= min(scores) + 2 * margin for score in scores) / len(scores)


def _kept_cost(ladder: Ladder) -> float:
    """Return the mean regret of λ, chosen at the middle lr, at the others."""
    scores = [ladder.mean(cell, 1) for cell in ladder.grid()]
    width = len(WEIGHT_DECAYS)
    rows = [scores[k * width : (k + 1) * width] for k in range(len(LRS))]
    middle = LRS.index(1.0)
    best = rows[middle].index(min(rows[middle]))
    regrets = [row[best] - min(row) for k, row in enumerate(rows) if k != middle and math.isfinite(min(row))]
    return fmean(regrets) if regrets else math.inf
