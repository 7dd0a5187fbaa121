r"""Does the λ that was tuned stay the best when lr, batch or width change? What it costs to keep it, in its own unit.

At the arm's best cell (η, λ) the lr is a third and three times η; the batch a quarter and four times its own (half and
twice, where it has no quarter) at as many epochs; and the width of the network half and twice its own. With the batch
the lr goes by the usual rule, k for SGD and √k for the others; with the width it stays. There five λ's are trained
around the kept one:

.. math:: c_s = e_s(\lambda) - e_s(\lambda_s),\qquad \lambda_s = \arg\min_{\lambda'} \sum_{r \ne s} e_r(\lambda')

where :math:`e_s` is the validation error of seed s. The other seeds choose, so that noise alone costs nothing on
average. Where no change of λ helps, the mean of c is 0 or below.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal, NamedTuple

from weightdecay.lab.referee.arm import Arm, Cell, rounded
from weightdecay.lab.referee.task import Task
from weightdecay.lab.run import Run
from weightdecay.lab.run.methods import method

TIMES = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Multiples of the kept λ."""

KEPT = TIMES.index(1.0)

FEWEST = 2
"""Seeds of which there must be at least so many: the others choose."""

Scores = Sequence[Sequence[float]]
"""An error by seed and multiple of λ."""


class Change(NamedTuple):
    """What is another than where λ was tuned, and how many times it is what it was."""

    what: Literal["lr", "batch", "width"]
    times: float

    @property
    def title(self) -> str:
        """As in ``batch × 4`` and ``lr / 3``."""
        return f"{self.what} × {self.times:g}" if self.times > 1 else f"{self.what} / {1 / self.times:g}"

    def runs(self, arm: Arm, task: Task, cell: Cell, seed: int) -> list[Run]:
        """Return the runs of a seed, one for each multiple of λ."""
        changed = task if self.what == "lr" else task.varied(self.what, self.times)
        lr = rounded(cell.lr * self._of_lr(arm))
        return [arm.run(changed, Cell(lr, rounded(cell.weight_decay * times)), seed) for times in TIMES]

    def _of_lr(self, arm: Arm) -> float:
        if self.what == "batch":
            return self.times if method(arm.member.base).family == "sgd" else math.sqrt(self.times)
        return self.times if self.what == "lr" else 1.0


@dataclass(frozen=True)
class Carried:
    """``best`` is the multiple of the kept λ with the lowest mean error; ``costs`` of keeping it, by seed."""

    change: Change
    best: float
    costs: tuple[float, ...]

    @property
    def mean(self) -> float:
        """In the unit of the error."""
        return fmean(self.costs)


def changes(task: Task) -> tuple[Change, ...]:
    """Return what is changed on a task."""
    batch = 4.0 if task.run["batch_size"] % 4 == 0 else 2.0
    found = [Change("lr", 1 / 3), Change("lr", 3.0), Change("batch", 1 / batch), Change("batch", batch)]
    return (*found, Change("width", 0.5), Change("width", 2.0)) if task.has_width else tuple(found)


def variants(task: Task) -> tuple[Task, ...]:
    """Return the task with each other batch and width."""
    return tuple(task.varied(one.what, one.times) for one in changes(task) if one.what != "lr")


def carried(
    arm: Arm, task: Task, cell: Cell, seeds: Sequence[int], score: Callable[[Run], float | None]
) -> tuple[Carried, ...]:
    """Return what every change costs, from the first seeds of which all runs are there; none where they are too few."""
    if not arm.has_weight_decay:
        return ()
    by_change: dict[Change, list[list[float]]] = {change: [] for change in changes(task)}
    for seed in seeds:
        rows = {change: [score(run) for run in change.runs(arm, task, cell, seed)] for change in by_change}
        if any(one is None for row in rows.values() for one in row):
            break
        for change, row in rows.items():
            by_change[change].append([one for one in row if one is not None])
    return tuple(judged(change, scores) for change, scores in by_change.items() if len(scores) >= FEWEST)


def judged(change: Change, scores: Scores) -> Carried:
    """Return what it costs to keep λ.

    >>> judged(Change("lr", 3.0), [[9.0, 8.0, 7.0, 6.0, 7.0], [9.0, 8.0, 7.5, 7.0, 6.5]]).costs
    (0.0, 0.5)
    """
    costs = []
    for seed, own in enumerate(scores):
        others = [row for k, row in enumerate(scores) if k != seed]
        costs.append(_less(own[KEPT], own[_best(others)]))
    return Carried(change, TIMES[_best(scores)], tuple(costs))


def _less(kept: float, best: float) -> float:
    return 0.0 if kept == best else kept - best  # both diverged


def _best(scores: Scores) -> int:
    """Return the place of the lowest mean; of equals that of the kept λ, then the first."""
    means = [fmean(column) for column in zip(*scores, strict=True)]
    return KEPT if means[KEPT] == min(means) else means.index(min(means))
