"""An experiment of the paper: what it asks, its runs at a scale, and the claims to be judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from weightdecay.lab.paper.measure import Measure
from weightdecay.lab.paper.numbers import Number
from weightdecay.lab.paper.ordering import Judgement, not_judged
from weightdecay.lab.paper.scale import Scale, Setting
from weightdecay.lab.run import Result, Run
from weightdecay.lab.run.recorded import UnrecordedError
from weightdecay.lab.study.question import Point
from weightdecay.lab.study.statistics import Cell, answers, lowest

Figure = Literal["curves", "decay", "heat", "scatter", "batch", "norms"]
"""Kinds of figure: error and loss by epoch; error against λ; against lr and λ; training loss against test error in the
last fifth of the epochs; rules for a larger batch; gradient norm and v̄ by epoch."""


@dataclass(frozen=True)
class Panel:
    """One network on one data set: the points, where they are drawn, and what the paper measured there.

    ``drawn`` is the place of a point on a λ axis: λ·η for AdamW, as in the paper. ``fixed`` is each curve's point at
    the lr and λ of the paper. ``paper`` are its numbers by curve.
    """

    setting: Setting
    points: Mapping[Point, tuple[Run, ...]]
    drawn: Mapping[Point, float]
    fixed: Mapping[str, Point] = field(default_factory=dict)
    paper: Mapping[str, tuple[Number, ...]] = field(default_factory=dict)
    name: str = ""  # what sets the panel apart from others of one setting

    @property
    def title(self) -> str:
        """For a heading: the setting, with what sets the panel apart."""
        return f"{self.setting.name}, {self.name}" if self.name else self.setting.name

    @property
    def curves(self) -> tuple[str, ...]:
        """The curves, in the order of the points."""
        return tuple(dict.fromkeys(point.curve for point in self.points))


@dataclass(frozen=True)
class Answer:
    """A panel with the results of its runs."""

    panel: Panel
    cells: Mapping[Point, Cell]

    @property
    def results(self) -> tuple[Result, ...]:
        """Every result once."""
        return tuple({result.run: result for cell in self.cells.values() for result in cell.results}.values())

    def of(self, curve: str) -> tuple[Cell, ...]:
        """Return the cells of a curve, by lr and by where they are drawn. Raises: KeyError, for an unknown one."""
        found = [cell for point, cell in self.cells.items() if point.curve == curve]
        if not found:
            raise KeyError(f"{curve!r} is none of {', '.join(self.panel.curves)}")
        return tuple(sorted(found, key=lambda cell: (cell.point.lr, self.panel.drawn[cell.point])))

    def best(self, curve: str, measure: Measure) -> Cell:
        """Return the cell of a curve that the measure chooses: of the lowest mean over seeds."""
        return lowest(self.of(curve), lambda cell: mean(cell.results, measure.chosen_by))

    def at_fixed(self, curve: str) -> Cell:
        """Return the cell at the paper's own lr and λ."""
        return self.cells[self.panel.fixed[curve]]


def mean(results: Sequence[Result], of: Callable[[Result], float]) -> float:
    """Return the mean over seeds."""
    return sum(map(of, results)) / len(results)


@dataclass(frozen=True)
class Claim:
    """A sentence that a measurement can refute. ``own`` marks a row that the paper does not have."""

    text: str
    paper: str  # the numbers that the paper gives for it, or where it shows it
    judge: Callable[[Answer, Measure], Judgement]
    own: bool = False


Panels = Callable[[Scale], tuple[Panel, ...]]
Claims = Callable[[Scale], tuple[Claim, ...]]


@dataclass(frozen=True)
class Experiment:
    """A figure or a table. ``panels`` and ``claims`` are made for a scale."""

    name: str  # "fig7"
    title: str
    asks: str
    figures: tuple[Figure, ...]
    panels: Panels
    claims: Claims
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """A claim, judged on one panel, by every measure that there is a number for."""

    experiment: str
    panel: str
    claim: Claim
    judged: Mapping[str, Judgement]  # by the measure's name; the paper's own comes first

    @property
    def headline(self) -> Judgement:
        """By the paper's own measure."""
        return next(iter(self.judged.values()))

    @property
    def agree(self) -> bool:
        """Whether all measures come to the same verdict."""
        return len({one.verdict for one in self.judged.values()}) == 1


@dataclass(frozen=True)
class Reproduction:
    """An experiment with everything that a report needs."""

    experiment: Experiment
    scale: Scale
    answers: tuple[Answer, ...]
    rows: tuple[Row, ...]
    command: str

    @property
    def results(self) -> tuple[Result, ...]:
        """Every result once."""
        return tuple({result.run: result for answer in self.answers for result in answer.results}.values())


def judge(
    experiment: Experiment, scale: Scale, results: Iterable[Result], measures: Sequence[Measure], command: str
) -> Reproduction:
    """Judge every claim of an experiment on every panel."""
    kept = tuple(results)
    answered = tuple(Answer(panel, answers(panel.points, kept)) for panel in experiment.panels(scale))
    rows = []
    for claim in experiment.claims(scale):
        for answer in answered:
            there = [one for one in measures if one.reads(answer.results)]
            judged = {one.name: _judged(claim, answer, one) for one in there}
            if scale.thin:
                judged = {name: not_judged(one) for name, one in judged.items()}
            rows.append(Row(experiment.name, answer.panel.title, claim, judged))
    return Reproduction(experiment, scale, answered, tuple(rows), command)


def _judged(claim: Claim, answer: Answer, measure: Measure) -> Judgement:
    """Judge, where what the claim is about is recorded of the runs."""
    try:
        return claim.judge(answer, measure)
    except UnrecordedError:
        said = "this claim is about single epochs, and of these runs only a row each is known"
        return Judgement("not judged", said, unrecorded=True)
