"""How an arm is tuned and judged: what it still has to run, given what is known. The same budget for every arm.

::

    look     5 cells around the guess, one seed: lr by 5 and λ by 10 to both sides
    grid     15 cells around the best of these, the same seed: three lr's by five λ's, a half decade apart
    beyond   at most 15 more, the same seed: where one of the best 5 lies at an edge, what lies beyond it
    halving  the best 5 of all with a second seed, the best 2 of those with two more: successive halving over seeds
    judging  the best with seeds of its own, on the test set
    carrying if asked for: the best with another lr, batch and width, to see whether λ stays the best

An arm without a λ to tune tries as many lr's instead. Successive halving (Jamieson & Talwalkar, AISTATS 2016) spends
what hopeless cells would take on the others. Here its resource is seeds, and not epochs as in the libraries that have
it: the best λ is in proportion to 1/steps, so that a shortened training looks for another λ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from statistics import fmean

from weightdecay.lab.referee.arm import Arm, Cell, rounded
from weightdecay.lab.referee.carried import Carried, carried, changes
from weightdecay.lab.referee.task import Task
from weightdecay.lab.run import Run

LOOK = ((1.0, 1.0), (1 / 5, 1.0), (5.0, 1.0), (1.0, 1 / 10), (1.0, 10.0))
"""Multiples of the guessed lr and λ."""

LRS, WEIGHT_DECAYS = (1 / 3, 1.0, 3.0), (0.1, 0.3, 1.0, 3.0, 10.0)
"""Multiples of the best cell of the look."""

LOOK_OF_LRS = (1.0, 1 / 5, 5.0, 1 / 25, 25.0)
GRID_OF_LRS = tuple(5 ** (k / 7) for k in range(-7, 8))
"""The same for an arm that has no λ to tune: as many cells."""

BEYOND = 15
"""So many cells beyond the edges of what was tried, at most."""

STEP, STEP_OF_LRS = 3.0, GRID_OF_LRS[-1] / GRID_OF_LRS[-2]
"""A cell beyond an edge is farther by this factor; the second is that of an arm that has no λ to tune."""

NEAR = 4.0
"""A cell lies beside another where it differs by less than this factor: a step of the grid is 3 to 3.3."""

RUNGS = ((5, 2), (2, 4))
"""So many cells are kept, and have so many seeds then."""

TUNING = tuple(range(RUNGS[-1][1]))
"""The seeds that choose."""

JUDGING = 100
"""The first of the seeds that judge."""

AT_MOST = len(LOOK) + len(LRS) * len(WEIGHT_DECAYS) + BEYOND + 5 + 2 * 2
"""Runs that tune an arm; cells that look and grid share are run once."""

Score = Callable[[Run], float | None]
"""The error of a finished run on the validation set; infinite where it diverged, None where it has not finished."""


@dataclass(frozen=True)
class Ladder:
    """An arm on its way through a task; ``score`` and ``gain`` answer from what is known at the moment.

    ``gain`` is that of a finished run after its first epoch.
    """

    arm: Arm
    task: Task
    score: Score
    gain: Callable[[Run], float | None]
    judging: tuple[int, ...]
    carry: bool = False
    made: dict[tuple[Cell, int], Run] = field(default_factory=dict)  # each run is built once

    def asked(self) -> tuple[str, list[Run]]:
        """Return the stage, and its runs that have no score yet; "done" and none at the end."""
        for stage, runs in self._stages():
            if missing := [run for run in runs if self.score(run) is None]:
                return stage, missing
        return "done", []

    def is_judged(self) -> bool:
        """Whether all runs that judge the arm are there."""
        return self.asked()[0] in ("carrying", "done")

    def begun(self) -> bool:
        """Whether any cell of the look has a score."""
        return any(self.score(run) is not None for run in self._runs(self.look(), [0]))

    def look(self) -> list[Cell]:
        """Return the cells around the guess."""
        guess = self.arm.guess(self.task, self.gain(self._plain()) if self.arm.by_gain else None)
        if not self.arm.has_weight_decay:
            return [Cell(rounded(guess.lr * times), guess.weight_decay) for times in LOOK_OF_LRS]
        return [Cell(rounded(guess.lr * by), rounded(guess.weight_decay * times)) for by, times in LOOK]

    def grid(self) -> list[Cell]:
        """Return the cells around the best of the look, lr by lr; the look must be finished."""
        best = self._best(self.look(), 1)
        if not self.arm.has_weight_decay:
            return [Cell(rounded(best.lr * times), best.weight_decay) for times in GRID_OF_LRS]
        return [
            Cell(rounded(best.lr * by), rounded(best.weight_decay * times)) for by in LRS for times in WEIGHT_DECAYS
        ]

    def tried(self) -> list[Cell]:
        """Return every cell that has a score with the first seed; the grid must be finished.

        While one of the cells that halving would keep lies at an edge, the cells beyond it are among them, the best
        cell's first.
        """
        inside = list(dict.fromkeys([*self.look(), *self.grid()]))
        beyond: list[Cell] = []
        while new := self._beyond([*inside, *beyond]):
            beyond += new[: BEYOND - len(beyond)]
            if len(beyond) == BEYOND or not self._scored(beyond):
                break
        return [*inside, *beyond]

    def chosen(self) -> Cell:
        """Return the best cell; tuning must be finished."""
        kept = self.tried()
        seeds = 1
        for count, more in RUNGS:
            kept, seeds = self._kept(kept, count, seeds), more
        return self._best(kept, seeds)

    def mean(self, cell: Cell, seeds: int) -> float:
        """Return the mean score of a cell over the first seeds."""
        scores = [self.score(run) for run in self._runs([cell], range(seeds))]
        return fmean(math.inf if one is None else one for one in scores)

    def judged(self) -> list[Run]:
        """Return the runs that judge the arm."""
        return self._runs([self.chosen()], self.judging)

    def _beyond(self, tried: list[Cell]) -> list[Cell]:
        """Return the cells one step beyond the edges at which the best cells lie."""
        step = STEP if self.arm.has_weight_decay else STEP_OF_LRS
        found: dict[Cell, None] = {}
        for cell in sorted(tried, key=lambda cell: self.mean(cell, 1))[: RUNGS[0][0]]:
            for axis, side in sides_untried(cell, tried) if math.isfinite(self.mean(cell, 1)) else ():
                farther = rounded(cell[axis] * step**side)
                found[cell._replace(lr=farther) if axis == 0 else cell._replace(weight_decay=farther)] = None
        return list(found)

    def _scored(self, cells: list[Cell]) -> bool:
        return all(self.score(run) is not None for run in self._runs(cells, [0]))

    def carried(self) -> tuple[Carried, ...]:
        """Return what it costs to keep λ where lr, batch and width change, as far as those runs are there."""
        return carried(self.arm, self.task, self.chosen(), TUNING, self.score)

    def _stages(self) -> Iterable[tuple[str, list[Run]]]:
        if self.arm.by_gain:
            yield "look", [self._plain()]
        yield "look", self._runs(self.look(), [0])
        yield "grid", self._runs(self.grid(), [0])
        yield "beyond", self._runs(self.tried(), [0])
        kept, seeds = self.tried(), 1
        for count, more in RUNGS:
            kept = self._kept(kept, count, seeds)
            yield "halving", self._runs(kept, range(seeds, more))
            seeds = more
        yield "judging", self.judged()
        if self.carry and self.arm.has_weight_decay:
            found = changes(self.task)
            for seed in TUNING:
                yield "carrying", [run for one in found for run in one.runs(self.arm, self.task, self.chosen(), seed)]

    def _plain(self) -> Run:
        """Return the run without decay that shows the gain; it is also one of those of the arm "none"."""
        arm = self.arm.without_decay()
        return arm.run(self.task, Cell(rounded(arm.lr), 0.0), 0)

    def _runs(self, cells: Iterable[Cell], seeds: Iterable[int]) -> list[Run]:
        return [self._run(cell, seed) for seed in seeds for cell in cells]

    def _run(self, cell: Cell, seed: int) -> Run:
        if (cell, seed) not in self.made:
            self.made[cell, seed] = self.arm.run(self.task, cell, seed)
        return self.made[cell, seed]

    def _kept(self, cells: list[Cell], count: int, seeds: int) -> list[Cell]:
        """Return the best so many cells, in their order; of equals the first."""
        best = sorted(cells, key=lambda cell: self.mean(cell, seeds))[:count]
        return [cell for cell in cells if cell in best]

    def _best(self, cells: list[Cell], seeds: int) -> Cell:
        return min(cells, key=lambda cell: self.mean(cell, seeds))


def sides_untried(cell: Cell, tried: Iterable[Cell]) -> list[tuple[int, int]]:
    """Return the sides of a cell on which nothing was tried, at nearly the same of the other number.

    A side is an axis, 0 for the lr and 1 for λ, and a direction, −1 for less and 1 for more. An axis along which
    nothing was varied has none.

    >>> sides_untried(Cell(1e-3, 1.0), [Cell(1e-3, 1.0), Cell(3e-4, 1.0), Cell(3e-3, 10.0), Cell(1e-3, 0.3)])
    [(0, 1)]
    """
    cells = list(tried)
    found = []
    for axis in (0, 1):
        if len({one[axis] for one in cells}) < 2:
            continue
        beside = [one[axis] for one in cells if _near(one[1 - axis], cell[1 - axis])]
        found += [(axis, -1)] * (cell[axis] <= min(beside)) + [(axis, 1)] * (cell[axis] >= max(beside))
    return found


def _near(a: float, b: float) -> bool:
    return a == b or (a > 0 and b > 0 and max(a, b) / min(a, b) < NEAR)
