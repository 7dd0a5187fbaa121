"""What the runs say: mean and spread over seeds, the best λ, and whether a difference is more than seed noise."""

from __future__ import annotations

import math
import statistics as plain
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from weightdecay.lab.compare import Method, Point, Settings, grid, method
from weightdecay.lab.run import Result

Verdict = Literal["best", "beyond seed noise", "within seed noise", "one seed: unknown"]

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Cell:
    """The results of one point, one a seed, in the order of the seeds. Errors are percent, of the last epoch."""

    point: Point
    results: tuple[Result, ...]

    @property
    def errors(self) -> tuple[float, ...]:
        """Last-epoch test error of every seed; a diverged run counts with the error that it reached."""
        return tuple(result.last_error for result in self.results)

    @property
    def mean(self) -> float:
        """Mean of :attr:`errors`."""
        return plain.fmean(self.errors)

    @property
    def std(self) -> float | None:
        """Sample standard deviation over seeds; None for one seed."""
        return _std(self.errors)

    @property
    def best_epoch_errors(self) -> tuple[float, ...]:
        """Lowest test error over epochs, of every seed: it peeks at the test set."""
        return tuple(result.best_error for result in self.results)

    @property
    def diverged(self) -> int:
        """How many of the runs stopped because their loss was no longer finite."""
        return sum(result.status == "diverged" for result in self.results)

    @property
    def drawn_at(self) -> float:
        """Where the figures put this λ: at λ·η for a decoupled decay, as in the paper, else at λ."""
        decoupled = method(self.point.optimizer).decay == "decoupled"
        return self.point.weight_decay * (self.point.lr if decoupled else 1.0)


@dataclass(frozen=True)
class Difference:
    """Test error minus the best optimizer's, in points of percent, with its 95 % interval (None for one seed)."""

    mean: float
    interval: tuple[float, float] | None

    @property
    def verdict(self) -> Verdict:
        """Whether the interval leaves out 0."""
        if self.interval is None:
            return "one seed: unknown"
        low, high = self.interval
        return "within seed noise" if low <= 0 <= high else "beyond seed noise"


@dataclass(frozen=True)
class Standing:
    """How one optimizer did at its best lr and λ. ``edges`` are the options whose grid ends at the best value."""

    optimizer: str
    method: Method
    best: Cell
    without: Cell | None  # the same lr at λ = 0, where it was run
    difference: Difference | None  # None: this is the best optimizer
    edges: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """Against the best optimizer."""
        return "best" if self.difference is None else self.difference.verdict


@dataclass(frozen=True)
class Comparison:
    """Everything a report needs: the question, every cell, and the optimizers from best to worst."""

    settings: Settings
    cells: tuple[Cell, ...]
    standings: tuple[Standing, ...]

    @property
    def results(self) -> tuple[Result, ...]:
        """Every result once."""
        return tuple({result.run: result for cell in self.cells for result in cell.results}.values())

    def cells_of(self, optimizer: str) -> list[Cell]:
        """Return an optimizer's cells, by lr and λ."""
        return [cell for cell in self.cells if cell.point.optimizer == optimizer]


def compare(settings: Settings, results: Iterable[Result]) -> Comparison:
    """Arrange the results of ``plan(settings)``. A KeyError means that a run is missing."""
    by_run = {result.run: result for result in results}
    cells = tuple(Cell(point, tuple(by_run[run] for run in runs)) for point, runs in grid(settings).items())
    by_optimizer: dict[str, list[Cell]] = {}
    for cell in cells:
        by_optimizer.setdefault(cell.point.optimizer, []).append(cell)
    bests = {name: min(members, key=lambda cell: cell.mean) for name, members in by_optimizer.items()}
    winner = min(bests.values(), key=lambda cell: cell.mean)
    standings = [
        Standing(
            optimizer=name,
            method=method(name),
            best=best,
            without=_without(best, by_optimizer[name]),
            difference=None if best is winner else paired(best.errors, winner.errors),
            edges=_edges(best.point, by_optimizer[name]),
        )
        for name, best in bests.items()
    ]
    standings.sort(key=lambda standing: (standing.difference is not None, standing.best.mean))
    return Comparison(settings, cells, tuple(standings))


def paired(errors: Sequence[float], reference: Sequence[float]) -> Difference:
    """Return the mean of ``errors − reference``, seed by seed, with the 95 % t interval.

    Pairs, because the same seed means the same wrong labels, initial weights and order of the data for every
    optimizer: what they share cancels. The interval is that of ``scipy.stats.ttest_rel``.
    """
    from scipy.stats import t

    differences = [a - b for a, b in zip(errors, reference, strict=True)]
    mean = plain.fmean(differences)
    spread = _std(differences)
    if spread is None:
        return Difference(mean, None)
    count = len(differences)
    half = float(t.ppf((1 + CONFIDENCE) / 2, count - 1)) * spread / math.sqrt(count)
    return Difference(mean, (mean - half, mean + half))


def _std(values: Sequence[float]) -> float | None:
    return plain.stdev(values) if len(values) > 1 else None


def _without(best: Cell, members: list[Cell]) -> Cell | None:
    for cell in members:
        if cell.point.weight_decay == 0 and cell.point.lr == best.point.lr:
            return cell
    return None


def _edges(best: Point, members: list[Cell]) -> tuple[str, ...]:
    """Return the options to widen: an optimum at the end of its grid may lie beyond it. λ = 0 has no beyond."""
    weight_decays = {cell.point.weight_decay for cell in members if cell.point.lr == best.lr}
    lrs = {cell.point.lr for cell in members}
    edges = []
    if len(weight_decays) > 1 and best.weight_decay in (min(weight_decays), max(weight_decays)) and best.weight_decay:
        edges.append("--weight-decays")
    if len(lrs) > 1 and best.lr in (min(lrs), max(lrs)):
        edges.append("--lrs")
    return tuple(edges)
