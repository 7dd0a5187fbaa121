"""The page of a watch: one file with words, figures and tables, that loads nothing from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from weightdecay.document import Cell, Document, Drawing, Mark, Panel, Section, Table, render
from weightdecay.monitor.chart import COLOURS, Line, chart
from weightdecay.monitor.state import GroupState, TensorState
from weightdecay.monitor.words import short
from weightdecay.whole import write_whole

History = Sequence[tuple[int, list[GroupState], list[TensorState]]]

MOST = 40
"""Tensors that are drawn; all stand in the table."""

GROUP_FIGURES = (
    ("Pull", "pull", "by which fraction the weights shrink per step", True),
    ("Total pull", "total_pull", "the sum of all pulls so far", False),
    ("Norm", "norm", "of all weights of the group", True),
    ("Relative update", "relative_update", "‖Δθ‖/‖θ‖ of one step", True),
    ("Share of decay", "decay_share", "of the decay and the rest of the update", False),
    ("Effective lr", "effective_lr", "lr times the gain of the optimizer", True),
    ("Mask density", "mask_density", "the part of the elements that decay", False),
)


def write_page(path: Path, history: History, sentences: Sequence[str], tensors: bool) -> Path:
    """Write the page and return its path."""
    write_whole(path, render(document_of(history, sentences, tensors)))
    return path


def document_of(history: History, sentences: Sequence[str], tensors: bool) -> Document:
    """Return the page: figures and a table of the groups, and of the tensors if they are asked for."""
    step, groups, last = history[-1]
    drawings = []
    for title, field, caption, log in GROUP_FIGURES:
        lines = [
            Line(f"group {i}", [(step, getattr(each[i], field)) for step, each, _ in history if i < len(each)], i)
            for i in range(len(groups))
        ]
        drawings.append(_drawing(title, caption, chart(lines, f"{title} of each group", log)))
    names = [name for name, _ in groups[0].items()]
    rows: list[list[Cell]] = [
        [Mark(f"group {i}", "strong"), group.kind, *(short(x) for _, x in group.items())]
        for i, group in enumerate(groups)
    ]
    table = _table(("Group", "decay", *names), rows)
    sections = [Section("Groups", (), (_panel(drawings, [f"group {i}" for i in range(len(groups))]), table))]
    if tensors and last:
        sections.append(_tensors(history))
    answer = " ".join(sentences) or f"{len(groups)} {'group' if len(groups) == 1 else 'groups'} of parameters."
    return Document(title=f"Weight decay, step {step:,}", head="Weight decay", answer=answer, sections=sections)


def _tensors(history: History) -> Section:
    last = history[-1][2]
    told = [one for one in last if math.isfinite(one.equilibrium_norm)] or last
    drawn = [one.name for one in told[:MOST]]
    more = f" The first {MOST} of {len(told)} are drawn." if len(told) > MOST else ""

    def along(name: str, of: Callable[[TensorState], float]) -> list[tuple[float, float]]:
        return [(step, of(one)) for step, _, each in history for one in each if one.name == name]

    drawings = []
    for title, field, caption in (
        ("Norms", "norm", "‖θ‖ of each tensor; dashed: the equilibrium that theory predicts"),
        ("Angles", "angle", "radians per step; dashed: the equilibrium that theory predicts"),
    ):
        lines = []
        for i, name in enumerate(drawn):
            lines.append(Line(name, along(name, lambda one, f=field: getattr(one, f)), i))  # type: ignore[misc]
            predicted = along(name, lambda one, f=field: getattr(one, f"equilibrium_{f}"))  # type: ignore[misc]
            lines.append(Line(f"{name}, predicted", predicted, i, dashed=True))
        drawings.append(_drawing(title, caption + "." + more, chart(lines, f"{title} of each tensor")))
    ratio = [Line(name, along(name, lambda one: one.norm_to_equilibrium), i) for i, name in enumerate(drawn)]
    caption = "norm divided by the predicted one: 1 is equilibrium"
    drawings.append(_drawing("Distance from equilibrium", caption, chart(ratio, "Norm over predicted norm")))
    rows: list[list[Cell]] = [[Mark(one.name, "strong"), *(short(x) for _, x in one.items())] for one in last]
    table = _table(("Tensor", *(name for name, _ in last[0].items())), rows)
    return Section("Tensors", (), (_panel(drawings, drawn), table))


def _drawing(title: str, caption: str, svg: str) -> Drawing:
    return Drawing(svg, caption, title)


def _panel(drawings: Sequence[Drawing], names: Sequence[str]) -> Panel:
    """Return the drawings that have something to show; their colours are those of the page's style."""
    colours = [(name, f"var(--c{i % COLOURS})") for i, name in enumerate(names)]
    return Panel([one for one in drawings if one.svg], colours, small=True)


def _table(head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Table:
    words = [name.replace("_", " ") for name in head]
    return Table(words, rows, numbers=[i > 0 and name != "decay" for i, name in enumerate(head)])
