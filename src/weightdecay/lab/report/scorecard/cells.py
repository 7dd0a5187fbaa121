"""The numbers of a panel as text: each curve at its best λ and at the paper's, and every cell."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from weightdecay.lab.paper.measure import BEST, Measure
from weightdecay.lab.report.drawn.view import PaperView, values
from weightdecay.lab.report.numbers import decay
from weightdecay.lab.study.answer import Cell

EDGE = "at the edge of its grid"


@dataclass(frozen=True)
class Settled:
    """A curve at one choice of lr and λ, by each measure: what was measured, and at which λ.

    ``edges`` says for each measure whether the best λ is the first or the last of its grid.
    """

    curve: str
    chosen: str  # "best λ", "the paper’s λ"
    numbers: tuple[str, ...]
    at: tuple[str, ...]
    edges: tuple[bool, ...]
    paper: str = ""


def settled(view: PaperView) -> list[Settled]:
    """Return two rows a curve: at the lr and λ that each measure chooses, and at the paper's, where it has any."""
    found = []
    for curve in view.curves:
        paper = ", ".join(one.text for one in view.of_paper(curve))
        best = [(measure, view.answer.best(curve, measure.chosen_by)) for measure in view.measures]
        found.append(_settled(view, curve, "best λ", best, paper))
        if curve in view.answer.question.fixed:
            cell = view.answer.at_fixed(curve)
            fixed = [(measure, cell) for measure in view.measures]
            found.append(_settled(view, curve, "the paper’s λ", fixed, ""))
    return found


def _settled(view: PaperView, curve: str, chosen: str, cells: Sequence[tuple[Measure, Cell]], paper: str) -> Settled:
    return Settled(
        curve=view.title(curve),
        chosen=chosen,
        numbers=tuple(view.say.over_seeds(values(cell, measure)) for measure, cell in cells),
        at=tuple(_where(view, cell) for _, cell in cells),
        edges=tuple(chosen == "best λ" and at_edge(view, cell) for _, cell in cells),
        paper=paper if view.scale.name == "paper" else "",
    )


def at_edge(view: PaperView, cell: Cell) -> bool:
    """Whether the λ is the first or the last of its curve, so that a better one may lie beyond. λ = 0 has no beyond."""
    places = [view.place(one) for one in view.answer.of(cell.point.curve) if one.point.lr == cell.point.lr]
    place = view.place(cell)
    return len(places) > 1 and place != 0 and place in (min(places), max(places))


def _where(view: PaperView, cell: Cell) -> str:
    lr = f", lr {cell.point.lr:g}" if len(view.lrs(cell.point.curve)) > 1 else ""
    return f"λ {decay(cell.point.weight_decay)}{lr}"


@dataclass(frozen=True)
class Listed:
    """Every number of a cell."""

    curve: str
    lr: str
    weight_decay: str
    drawn: str
    numbers: tuple[str, ...]
    each: str  # seed, by the paper's measure
    diverged: int
    best: bool


def listed(view: PaperView) -> list[Listed]:
    """Return every cell of a panel, curve by curve."""
    return [
        Listed(
            curve=cell.point.title,
            lr=f"{cell.point.lr:g}",
            weight_decay=decay(cell.point.weight_decay),
            drawn=decay(view.place(cell)),
            numbers=tuple(view.say.over_seeds(values(cell, measure)) for measure in view.measures),
            each=", ".join(map(view.say.exact, values(cell, BEST))),
            diverged=cell.diverged,
            best=cell is view.best(curve),
        )
        for curve in view.curves
        for cell in view.answer.of(curve)
    ]


def runs_csv(experiment: str, panels: Sequence[PaperView]) -> str:
    """Return one row per run: where it stands and what it came to by each measure, empty where there is no number."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = ("best epoch", "last epoch", "validation")
    head = ("experiment", "scale", "panel", "curve", "lr", "weight_decay", "drawn_at", "seed", "metric")
    writer.writerow((*head, *(name.replace(" ", "_") for name in names), "status", "seconds", "address"))
    for view in panels:
        by_name = {measure.name: measure for measure in view.measures}
        for cell in view.answer.cells:
            point = cell.point
            for result in cell.results:
                numbers = [by_name[name].of(result) if name in by_name else "" for name in names]
                writer.writerow(
                    (
                        *(experiment, view.scale.name, view.answer.question.setting, point.curve, point.lr),
                        *(point.weight_decay, view.place(cell), result.run.seed, result.metric.name, *numbers),
                        *(result.status, round(result.seconds, 3), result.run.address),
                    )
                )
    return text.getvalue()
