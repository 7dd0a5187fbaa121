"""A panel with what all its figures and tables need: one of the paper's, or a comparison."""

from __future__ import annotations

import itertools
import math
import re
import statistics
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from weightdecay.lab.paper.experiment import Experiment, Panel, Reproduction
from weightdecay.lab.paper.measure import BEST, MEASURES, Measure
from weightdecay.lab.paper.numbers import Number
from weightdecay.lab.paper.scale import SCALES, Scale
from weightdecay.lab.report.figures import COLOURS, DASHES, look, plain
from weightdecay.lab.report.numbers import Numbers, decay
from weightdecay.lab.run import Metric, Result
from weightdecay.lab.study.answer import Answer, Cell
from weightdecay.lab.study.question import Question

PLACES = (
    *("adams", "adamw", "adam", "sgd", "sgds", "sgdw", "amsgrad", "adais", "adai", "yogi", "radam", "padam"),
    *("adabound", "amsgrads", "amsgradw", "adaiw", "heavyball", "tensorflowsgd"),
)
"""The look of an optimizer is the same in every experiment, unless two of its variants meet in one."""


@dataclass(frozen=True)
class View:
    """Curves with their cells, as figures need them. ``looks`` are colour, marker and dash of each curve."""

    answer: Answer[Question]
    looks: Mapping[str, Mapping[str, Any]]

    @property
    def measure(self) -> Measure:
        """By which its figures are drawn and its best cells chosen."""
        return BEST

    @property
    def prefix(self) -> str:
        """What the titles of its figures begin with."""
        return ""

    @property
    def where(self) -> str:
        """Name network and data, as every number needs it."""
        return self.answer.question.setting

    @property
    def papers(self) -> str:
        """Name the paper's own numbers, where they have a place beside ours; else nothing."""
        return ""

    def of_paper(self, curve: str) -> Sequence[Number]:
        """Return the paper's own numbers of a curve."""
        return ()

    @property
    def curves(self) -> tuple[str, ...]:
        """The names of the curves; a curve's position among them is its name in a figure."""
        return self.answer.question.curves

    @property
    def metric(self) -> Metric:
        """What all runs are judged by."""
        return self.answer.metric

    @cached_property
    def measures(self) -> tuple[Measure, ...]:
        """Those that every run has a number for, its own first."""
        others = [one for one in MEASURES if one is not self.measure and one.reads(self.answer.results)]
        return (self.measure, *others)

    @property
    def selects(self) -> bool:
        """Whether every run has a number at the epoch that held-out examples select."""
        return all(result.selected is not None for result in self.answer.results)

    @cached_property
    def say(self) -> Numbers:
        """How its numbers are written."""
        lowest = min(statistics.fmean(values(cell, self.measure)) for cell in self.answer.cells)
        return Numbers.near(self.metric, lowest, percents=2)

    def title(self, curve: str) -> str:
        """The curve's name for a person."""
        return self.answer.of(curve)[0].point.title

    @property
    def keys(self) -> list[tuple[str, str]]:
        """Name and colour of every curve."""
        return [(self.title(curve), self.looks[curve]["color"]) for curve in self.curves]

    def best(self, curve: str) -> Cell:
        """The cell that would be reported."""
        return self.answer.best(curve, self.measure.chosen_by)

    def place(self, cell: Cell) -> float:
        """Where the cell stands on the axis of λ."""
        return self.answer.question.place(cell.point)

    def lrs(self, curve: str) -> list[float]:
        """The learning rates of a curve, ascending."""
        return sorted({cell.point.lr for cell in self.answer.of(curve)})

    def named(self, cell: Cell) -> str:
        """Name a cell: the curve, its λ, and its lr where the curve has several."""
        lr = f", lr {cell.point.lr:g}" if len(self.lrs(cell.point.curve)) > 1 else ""
        return f"{cell.point.title}{lr}, λ = {decay(cell.point.weight_decay)}"

    def said(self, cell: Cell) -> str:
        """Say what a cell measured, by every measure: what a reader gets on pointing at it."""
        numbers = ", ".join(
            f"{one.name} {self.say.over_seeds(values(cell, one))}{self.say.unit}" for one in self.measures
        )
        diverged = f"; {cell.diverged} of them diverged" if cell.diverged else ""
        return f"{self.named(cell)}: {numbers} ({seeds(cell.results)}{diverged})"

    def heading(self, what: str) -> str:
        """Return the title of a figure: what it shows, and below, on what; in lines that fit over seven inches."""
        prefix = f"{self.prefix}: " if self.prefix else ""
        return plain("\n".join([f"{prefix}{what}", *textwrap.wrap(self.where, 64)]))


@dataclass(frozen=True)
class PaperView(View):
    """A panel of an experiment of the paper, at a scale."""

    answer: Answer[Panel]
    experiment: Experiment
    scale: Scale

    @property
    def prefix(self) -> str:
        """The experiment."""
        return self.experiment.name

    @property
    def read_from(self) -> str:
        """What was read in place of the scale's own data: the last part of its name, which may be a long path."""
        own = {setting.run.get("data") for setting in SCALES[self.scale.name].settings.values()}
        data = str(self.answer.question.task.run.get("data", ""))
        return "" if data in own else re.split(r"[:/\\]", data.rstrip("/\\"))[-1]

    @property
    def name(self) -> str:
        """Name network and data: those of other data than the scale's are not passed off as its own."""
        title = self.answer.question.setting
        return f"{title} (read from {self.read_from})" if self.read_from else title

    @property
    def where(self) -> str:
        """Name network, data and scale, as every number needs it."""
        return f"{self.name}, scale {self.scale.name}"

    @property
    def papers(self) -> str:
        """Name the paper's own numbers, which have a place beside ours only at its own scale."""
        if self.scale.name != "paper":
            return ""
        return "the paper’s, on its own data" if self.read_from else "the paper’s"

    def of_paper(self, curve: str) -> Sequence[Number]:
        """Return the paper's own numbers of a curve."""
        return self.answer.question.paper.get(curve, ())


def values(cell: Cell, measure: Measure) -> list[float]:
    """Return the number of every seed."""
    return [measure.of(result) for result in cell.results]


def mean_and_std(numbers: Sequence[float]) -> tuple[float, float]:
    """Return mean and sample standard deviation; 0 for a single number and for those that are not finite."""
    finite = len(numbers) > 1 and all(map(math.isfinite, numbers))
    return statistics.fmean(numbers), statistics.stdev(numbers) if finite else 0.0


def seeds(results: Sequence[Result]) -> str:
    """Say how many: "3 seeds"."""
    return f"{len(results)} seeds" if len(results) != 1 else "one seed"


def views(reproduction: Reproduction) -> list[PaperView]:
    """Return the panels of a reproduction. A curve looks the same in all of them."""
    curves = {
        point.curve: point.optimizer for answer in reproduction.answers for point in answer.question.points
    }  # a curve once, in the order of the panels
    looks = _looks(curves)
    return [PaperView(answer, looks, reproduction.experiment, reproduction.scale) for answer in reproduction.answers]


def _looks(curves: Mapping[str, str]) -> dict[str, Mapping[str, Any]]:
    """Give every curve its optimizer's look. Variants of several optimizers differ by dash, those of one by colour.

    An optimizer whose colour another one has here takes one that nobody has, while there is one.
    """
    one = len(set(curves.values())) == 1
    colours, looks = len(COLOURS), len(COLOURS) * len(DASHES)
    taken: dict[int, str] = {}  # place → curve
    # The plain optimizer before its variants: it is the one with the solid line.
    for position, (curve, optimizer) in enumerate(sorted(curves.items(), key=lambda pair: pair[0] != pair[1])):
        own = PLACES.index(optimizer) if optimizer in PLACES and not one else position
        others = {place % colours for place, other in taken.items() if curves[other] != optimizer}
        nobodys = [colour for colour in reversed(range(colours)) if colour not in {place % colours for place in taken}]
        if own % colours in others and nobodys:
            own = nobodys[0]
        same_colour = range(own, own + looks, colours)
        taken[next(place for place in itertools.chain(same_colour, itertools.count()) if place not in taken)] = curve
    return {curve: look(place) for place, curve in taken.items()}
