"""What the runs say: mean and spread over seeds, the best λ, and whether a difference is more than seed noise."""

from __future__ import annotations

import math
import statistics as plain
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Literal, TypeVar

from weightdecay.catalog import DECAYS
from weightdecay.lab.run import Metric, Result
from weightdecay.lab.run.methods import Method, method
from weightdecay.lab.study.difference import Difference, paired
from weightdecay.lab.study.question import Point, Question, decay_of

Verdict = Literal["best", "the same runs", "beyond seed noise", "within seed noise", "one seed: unknown", "not finite"]


@dataclass(frozen=True)
class Cell:
    """The results of one point, one a seed, in the order of the seeds. An error is the metric of the last epoch."""

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
        """Return the cell of a curve that has the lowest mean over seeds of a number."""
        return lowest(self.of(curve), lambda cell: mean(cell.results, by))

    def at_fixed(self, curve: str) -> Cell:
        """Return the cell of the point that was singled out. Raises: KeyError, where none was."""
        point = self.question.fixed[curve]
        return next(cell for cell in self.cells if cell.point == point)


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
    return min(cells, key=lambda cell: _rank(cell, of(cell)))


def _rank(cell: Cell, number: float) -> tuple[float, float, float, str]:
    return number, cell.point.lr, cell.point.weight_decay, cell.point.curve


def answered(question: ToAsk, results: Iterable[Result]) -> Answer[ToAsk]:
    """Return the cells that answer a question. Raises: KeyError, where a run is missing."""
    by_run = {result.run: result for result in results}
    cells = (Cell(point, tuple(by_run[run] for run in runs)) for point, runs in question.points.items())
    return Answer(question, tuple(cells))


@dataclass(frozen=True)
class Standing:
    """How one optimizer did at its best lr and λ. ``edges`` are the words for those whose grid ends at the best value.

    ``optimizer`` is a curve of the question: the optimizer, with what else sets it apart.
    """

    optimizer: str
    title: str
    method: Method
    best: Cell
    without: Cell | None  # the same lr at λ = 0, where it was run
    difference: Difference | None  # its metric minus that of the best optimizer; None: it is the best
    edges: tuple[str, ...]
    decay: str  # as a name or a text
    shared: bool = False  # its best runs are those of the best optimizer, as at λ = 0

    @property
    def decay_in_words(self) -> str:
        """What a step takes from a weight, in a few words; the text itself of a decay that takes arguments."""
        return DECAYS[self.decay].words if self.decay in DECAYS else self.decay

    @property
    def verdict(self) -> Verdict:
        """Against the best optimizer."""
        if self.difference is None:
            return "best"
        if self.shared:
            return "the same runs"
        if not math.isfinite(self.difference.mean):
            return "not finite"
        if self.difference.interval is None:
            return "one seed: unknown"
        return "within seed noise" if self.difference.verdict == "undecided" else "beyond seed noise"


@dataclass(frozen=True)
class Comparison(Answer[Question]):
    """An answer with the optimizers from best to worst, which is what a report needs."""

    standings: tuple[Standing, ...]

    def __str__(self) -> str:
        """A line for each optimizer, from best to worst: at which λ, the metric's mean and spread, the verdict."""
        unit = f", {self.metric.unit}" if self.metric.unit else ""
        lines = [(f"On {self.question.setting}", "best λ", self.metric.name + unit, "")]
        for one in self.standings:
            spread = "" if one.best.std is None else f" ± {one.best.std:.2g}"
            strength = f"{one.best.point.weight_decay:.4g}"
            lines.append((one.title, strength, f"{one.best.mean:.4g}{spread}", one.verdict))
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        padded = ("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)) for line in lines)
        return "\n".join(line.rstrip() for line in padded)


def compare(question: Question, results: Iterable[Result]) -> Comparison:
    """Arrange the results of the question's runs. A KeyError means that a run is missing."""
    cells = answered(question, results).cells
    by_curve: dict[str, list[Cell]] = {}
    for cell in cells:
        by_curve.setdefault(cell.point.curve, []).append(cell)
    bests = {name: lowest(members) for name, members in by_curve.items()}
    winner = lowest(bests.values())
    standings = [
        Standing(
            optimizer=name,
            title=best.point.title,
            method=method(best.point.optimizer),
            best=best,
            without=_without(best, by_curve[name]),
            difference=None if best is winner else _difference(best, winner),
            edges=_edges(best.point, by_curve[name], question.grid),
            decay=next((cell.decay for cell in by_curve[name] if cell.point.weight_decay), best.decay),
            shared=best is not winner and [r.run for r in best.results] == [r.run for r in winner.results],
        )
        for name, best in bests.items()
    ]
    standings.sort(key=lambda standing: (standing.difference is not None, _rank(standing.best, standing.best.mean)))
    return Comparison(question, cells, tuple(standings))


def compare_all(asked: Mapping[str, Question], results: Iterable[Result]) -> dict[str, Comparison]:
    """Return what the results say to each question. Runs without one are left out, and questions without any."""
    found = {result.run: result for result in results}
    comparisons = {}
    for name, question in asked.items():
        points = {point: tuple(run for run in runs if run in found) for point, runs in question.points.items()}
        if points := {point: runs for point, runs in points.items() if runs}:
            comparisons[name] = compare(replace(question, points=points), found.values())
    return comparisons


def _difference(cell: Cell, winner: Cell) -> Difference:
    """Pair the seeds that both have; without any, nothing is known but the means."""
    mine, other = ({r.run.seed: r.last for r in one.results} for one in (cell, winner))
    shared = [seed for seed in mine if seed in other]
    if not shared:
        return Difference(cell.mean - winner.mean, None, None, 0, None)
    found = paired([mine[seed] for seed in shared], [other[seed] for seed in shared])
    return found if math.isfinite(found.mean) else replace(found, mean=math.inf, interval=None)


def _std(values: Sequence[float]) -> float | None:
    return plain.stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else None


def _without(best: Cell, members: list[Cell]) -> Cell | None:
    for cell in members:
        if cell.point.weight_decay == 0 and cell.point.lr == best.point.lr:
            return cell
    return None


def _edges(best: Point, members: list[Cell], words: tuple[str, str]) -> tuple[str, ...]:
    """Return what to widen: an optimum at the end of its grid may lie beyond it. λ = 0 has no beyond."""
    weight_decays = {cell.point.weight_decay for cell in members if cell.point.lr == best.lr}
    lrs = {cell.point.lr for cell in members}
    edges = []
    if len(weight_decays) > 1 and best.weight_decay in (min(weight_decays), max(weight_decays)) and best.weight_decay:
        edges.append(words[0])
    if len(lrs) > 1 and best.lr in (min(lrs), max(lrs)):
        edges.append(words[1])
    return tuple(edges)
