"""An experiment of the paper: what it asks, its runs at a scale, the claims to be judged, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from weightdecay.lab.paper.measure import Measure
from weightdecay.lab.paper.numbers import Number
from weightdecay.lab.paper.ordering import Judgement
from weightdecay.lab.paper.scale import Scale, Setting
from weightdecay.lab.run import Result, Run
from weightdecay.lab.study.answer import Answer, every_result
from weightdecay.lab.study.question import Point, Question

Figure = Literal["curves", "decay", "heat", "scatter", "batch", "norms"]
"""Kinds of figure: error and loss by epoch; error against λ; against lr and λ; training loss against test error in the
last fifth of the epochs; rules for a larger batch; gradient norm and v̄ by epoch."""


@dataclass(frozen=True, kw_only=True)
class Panel(Question):
    """A question of the paper about one network on one data set: where its points are drawn, what the paper measured.

    ``drawn`` is the place of a point on a λ axis: λ·η for AdamW, as in the paper. ``fixed`` is each curve's point at
    the lr and λ of the paper. ``named`` are other points that a claim is about, wherever the best one is. ``paper`` are
    its numbers by curve.
    """

    task: Setting
    drawn: Mapping[Point, float]
    named: frozenset[Point] = frozenset()
    paper: Mapping[str, tuple[Number, ...]] = field(default_factory=dict)

    def place(self, point: Point) -> float:
        """Return where the paper draws it."""
        return self.drawn[point]


def panel_of(
    task: Setting, points: Mapping[Point, tuple[Run, ...]], drawn: Mapping[Point, float], name: str = "", **more: Any
) -> Panel:
    """Return a panel; ``name`` is what sets it apart from others of one task."""
    setting = f"{task.name}, {name}" if name else task.name
    return Panel(points, setting, name="reproduce", task=task, drawn=drawn, **more)


Judge = Callable[[Answer[Panel], Measure], Judgement]


@dataclass(frozen=True)
class Claim:
    """A sentence that a measurement can refute. ``own`` marks a row that the paper does not have."""

    text: str
    paper: str  # the numbers that the paper gives for it, or where it shows it
    judge: Judge
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
    answers: tuple[Answer[Panel], ...]
    rows: tuple[Row, ...]
    command: str

    @property
    def results(self) -> tuple[Result, ...]:
        """Every result once."""
        return every_result(cell for answer in self.answers for cell in answer.cells)
