"""What the runs of a question came to: a cell for each point."""

from __future__ import annotations

import math
import statistics as plain
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from weightdecay.lab.run import Metric, Result
from weightdecay.lab.study.question import Point, Question, decay_of


@dataclass(frozen=True)
class Cell:
    """The results of one point, one per seed, in the order of the seeds. An error is the metric of the last epoch."""

    point: Point
    results: tuple[Result, ...]

    @property
    def errors(self) -> tuple[float, ...]:
        """Last-epoch metric of every seed; a diverged run counts with the one that it reached."""
        return tuple(result.last for result in self.results)

    @property
    def mean(self) -> float:
        """Mean of :attr:`errors`."""
        return plain.fmean(self.errors)

    @property
    def std(self) -> float | None:
        """Sample standard deviation over seeds; None for one seed, and where an error is not finite."""
        return _std(self.errors)

    @property
    def best_epoch_errors(self) -> tuple[float, ...]:
        """Lowest metric over epochs, of every seed: it peeks at the test set."""
        return tuple(result.best for result in self.results)

    @property
    def diverged(self) -> int:
        """How many of the runs stopped because their loss was no longer finite."""
        return sum(result.status == "diverged" for result in self.results)

    @property
    def decay(self) -> str:
        """The decay of its runs, as a name or a text; at λ = 0 the runs of all decays are one, and have none."""
        return decay_of(self.point, self.results[0].run if self.results else None)


Asked = TypeVar("Asked", bound=Question, covariant=True)
ToAsk = TypeVar("ToAsk", bound=Question)


@dataclass(frozen=True)
class Answer(Generic[Asked]):
    """A question with the results of its runs: a cell for each point, in their order."""

    question: Asked
    cells: tuple[Cell, ...]

    @property
    def results(self) -> tuple[Result, ...]:
        """Every result once."""
        return every_result(self.cells)

    @property
    def metric(self) -> Metric:
        """What all results are judged by."""
        return self.cells[0].results[0].metric

    def of(self, curve: str) -> tuple[Cell, ...]:
        """Return the cells of a curve, by lr and by where they are drawn. Raises: KeyError, for an unknown one."""
        found = [cell for cell in self.cells if cell.point.curve == curve]
        if not found:
            raise KeyError(f"{curve!r} is none of {', '.join(self.question.curves)}")
        return tuple(sorted(found, key=lambda cell: (cell.point.lr, self.question.place(cell.point))))

    def best(self, curve: str, by: Callable[[Result], float] = lambda result: result.last) -> Cell:
        """Return the cell of a curve that has the lowest mean over seeds of a number, of those in the race."""
        return lowest(in_the_race(self.of(curve)), lambda cell: mean(cell.results, by))

    def at_fixed(self, curve: str) -> Cell:
        """Return the cell of the point that was singled out. Raises: KeyError, where none was."""
        point = self.question.fixed[curve]
        return next(cell for cell in self.cells if cell.point == point)


def in_the_race(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """Return the cells that have the most seeds: the others were left behind, as too far from the best of them."""
    most = max(len(cell.results) for cell in cells)
    return tuple(cell for cell in cells if len(cell.results) == most)


def every_result(cells: Iterable[Cell]) -> tuple[Result, ...]:
    """Return the results of the cells, each once: points may share runs."""
    return tuple({result.run: result for cell in cells for result in cell.results}.values())


def mean(results: Sequence[Result], of: Callable[[Result], float]) -> float:
    """Return the mean over seeds."""
    return sum(map(of, results)) / len(results)


def lowest(cells: Iterable[Cell], of: Callable[[Cell], float] = lambda cell: cell.mean) -> Cell:
    """Return the cell of the lowest number. Of equals it is the one of the lowest lr, then λ, then the first by name.

    So the answer does not depend on the order in which runs are named or found.
    """
    return min(cells, key=lambda cell: rank(cell, of(cell)))


def rank(cell: Cell, number: float) -> tuple[float, float, float, str]:
    """Return what cells are sorted by: their number, and among equals what :func:`lowest` goes by."""
    return number, cell.point.lr, cell.point.weight_decay, cell.point.curve


def answered(question: ToAsk, results: Iterable[Result]) -> Answer[ToAsk]:
    """Return the cells that answer a question. Raises: KeyError, where a run is missing."""
    by_run = {result.run: result for result in results}
    cells = (Cell(point, tuple(by_run[run] for run in runs)) for point, runs in question.points.items())
    return Answer(question, tuple(cells))


def _std(values: Sequence[float]) -> float | None:
    return plain.stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else None
