"""What the runs say: the best λ of each optimizer, and whether a difference is more than seed noise."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from weightdecay.catalog import DECAYS
from weightdecay.lab.run import Result
from weightdecay.lab.run.methods import Method, method
from weightdecay.lab.study.answer import Answer, Cell, answered, lowest, rank
from weightdecay.lab.study.difference import Difference, paired
from weightdecay.lab.study.question import Point, Question

Verdict = Literal["best", "the same runs", "beyond seed noise", "within seed noise", "one seed: unknown", "not finite"]


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
    answer = answered(question, results)
    by_curve = {curve: answer.of(curve) for curve in question.curves}
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
    standings.sort(key=lambda standing: (standing.difference is not None, rank(standing.best, standing.best.mean)))
    return Comparison(question, answer.cells, tuple(standings))


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


def _without(best: Cell, members: Sequence[Cell]) -> Cell | None:
    for cell in members:
        if cell.point.weight_decay == 0 and cell.point.lr == best.point.lr:
            return cell
    return None


def _edges(best: Point, members: Sequence[Cell], words: tuple[str, str]) -> tuple[str, ...]:
    """Return what to widen: an optimum at the end of its grid may lie beyond it. λ = 0 has no beyond."""
    weight_decays = {cell.point.weight_decay for cell in members if cell.point.lr == best.lr}
    lrs = {cell.point.lr for cell in members}
    edges = []
    if len(weight_decays) > 1 and best.weight_decay in (min(weight_decays), max(weight_decays)) and best.weight_decay:
        edges.append(words[0])
    if len(lrs) > 1 and best.lr in (min(lrs), max(lrs)):
        edges.append(words[1])
    return tuple(edges)
