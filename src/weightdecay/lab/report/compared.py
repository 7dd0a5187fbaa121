"""A comparison as its figures and tables see it: curves at the last epoch, each optimizer at its best λ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from weightdecay.document import Column, Mark, Table
from weightdecay.lab.paper.measure import LAST, Measure
from weightdecay.lab.report.drawn.view import View
from weightdecay.lab.report.figures import axis_title, look
from weightdecay.lab.report.numbers import Numbers, decay, digits
from weightdecay.lab.study.answer import Cell
from weightdecay.lab.study.statistics import Comparison, Standing

DECAY_IN_WORDS = "What λ does"


@dataclass(frozen=True)
class ComparedView(View):
    """The curves of a comparison, drawn and judged by the last epoch."""

    answer: Comparison

    @property
    def measure(self) -> Measure:
        """The last epoch."""
        return LAST

    @cached_property
    def say(self) -> Numbers:
        """As the whole comparison is written."""
        return Numbers.of(self.answer)

    def best(self, curve: str) -> Cell:
        """The one that the table shows."""
        return next(one.best for one in self.answer.standings if one.optimizer == curve)


def view(comparison: Comparison) -> ComparedView:
    """Return what the figures draw. A look goes by an optimizer's place in the question: it is that of all figures."""
    return ComparedView(comparison, {curve: look(i) for i, curve in enumerate(comparison.question.curves)})


def standings(comparison: Comparison) -> Table:
    """Return the table of a comparison: one row per optimizer, best first; for the page and for terminals."""
    say, shown = Numbers.of(comparison), view(comparison)
    weight_decays, lrs = comparison.question.grid
    metric = comparison.metric
    looks = {"best": "good", "beyond seed noise": "bad"}

    def edged(number: str, word: str, one: Standing) -> Mark | str:
        return Mark(f"{number} (edge)", "bad") if word in one.edges else number

    columns: Sequence[Column[Standing]] = (
        Column("Optimizer", lambda one: Mark(one.title, "strong", shown.looks[one.optimizer]["color"])),
        Column(DECAY_IN_WORDS, lambda one: one.decay_in_words),
        Column("lr", lambda one: edged(f"{one.best.point.lr:g}", lrs, one), number=True),
        Column("Best λ", lambda one: edged(decay(one.best.point.weight_decay), weight_decays, one), number=True),
        Column(
            axis_title(metric.name.capitalize(), metric),
            lambda one: say.spread(one.best) + (f" ({one.best.diverged} diverged)" if one.best.diverged else ""),
            number=True,
        ),
        Column("At λ = 0", lambda one: say.spread(one.without) if one.without else "not run", number=True),
        Column("Minus best [95 %]", lambda one: say.difference(one.difference), number=True),
        Column("Verdict", lambda one: Mark(one.verdict, looks.get(one.verdict, ""))),  # type: ignore[arg-type]
    )
    return Table.of(comparison.standings, columns)


def every_cell(comparison: Comparison) -> Table:
    """Return the table of all cells; those that an optimizer did best with stand out."""
    say, steps, percents = Numbers.of(comparison), comparison.question.steps, bool(comparison.metric.unit)
    columns: list[Column[Cell]] = [
        Column("Optimizer", lambda cell: Mark(cell.point.curve, "strong")),
        Column("lr", lambda cell: f"{cell.point.lr:g}", number=True),
        Column("λ", lambda cell: decay(cell.point.weight_decay), number=True),
        Column("Last epoch", say.spread, number=True),
        Column("Best epoch", lambda cell: say.spread(cell, "best"), number=True),
        Column(
            "Each seed, last epoch",
            lambda cell: ", ".join(f"{error:.2f}" if percents else say.exact(error) for error in cell.errors),
        ),
        Column("Diverged", lambda cell: cell.diverged or None, number=True),
    ]
    if steps:
        columns.insert(3, Column("λ × steps", lambda cell: digits(cell.point.weight_decay * steps), number=True))
    bests = [one.best for one in comparison.standings]
    chosen = frozenset(place for place, cell in enumerate(comparison.cells) if any(cell is best for best in bests))
    return Table.of(comparison.cells, columns, chosen=chosen)
