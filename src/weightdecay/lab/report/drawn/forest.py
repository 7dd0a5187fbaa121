"""Differences to a reference, an arm per line, with the intervals that decide."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from weightdecay.lab.referee.answer import Answer, Standing
from weightdecay.lab.referee.rulings import Ruling
from weightdecay.lab.report.drawn.canvas import Canvas, Picture
from weightdecay.lab.report.figures import COLOURS, INK, styled

LOOKS = {
    "better": COLOURS[2],
    "worse": COLOURS[1],
    "practically equal": COLOURS[0],
    "undecided": COLOURS[6],
}

Line = tuple[Standing, Ruling, tuple[float, float]]


def draw(answer: Answer) -> Picture:
    """Draw each arm that has a ruling: its difference to the reference with the interval, and the margin as a band."""
    return together([answer], f"{answer.task.name}: each decay at its best lr and λ, against decoupled decay")


def together(
    answers: Sequence[Answer], title: str = "each decay at its best lr and λ, against decoupled decay"
) -> Picture:
    """Draw several tasks below one another."""
    lines = [_lines(answer) for answer in answers]
    heights = [max(len(one), 1) + 0.2 for one in lines]
    with styled():
        extra = 0.35 * (len(answers) - 1)
        canvas = Canvas(Figure(figsize=(7.0, 1.0 + 0.31 * sum(heights) + extra), layout="constrained"))
        panes = list(canvas.figure.subplots(len(answers), 1, squeeze=False, height_ratios=heights).flat)
        for axes, answer, own in zip(panes, answers, lines, strict=True):
            _pane(canvas, axes, answer, own)
            if len(answers) > 1:
                axes.set_title(answer.task.name, fontsize=10)
        if len(answers) == 1:
            panes[0].set_title(title)
        _label(panes, answers)
        seeds = max((len(one.judged) for answer in answers for one in answer.standings), default=0)
        return canvas.done(
            title,
            f"Mean difference over {seeds} seeds and its interval; left of 0 is better. The grey band holds the "
            "differences that do not matter.",
        )


def _lines(answer: Answer) -> list[Line]:
    """Return the arms whose interval has ends that can be drawn, optimizer by optimizer, best first."""
    found = []
    for one in answer.standings:
        interval = one.ruling.interval if one.ruling else None
        if one.ruling and interval and all(map(math.isfinite, interval)):
            found.append((one, one.ruling, interval))
    order = list(dict.fromkeys(one.arm.optimizer for one, *_ in found))
    return sorted(found, key=lambda line: (order.index(line[0].arm.optimizer), line[1].mean))


def _pane(canvas: Canvas, axes: Axes, answer: Answer, lines: Sequence[Line]) -> None:
    axes.axvspan(-answer.margin, answer.margin, color="#8c8c8c", alpha=0.18, lw=0)
    axes.axvline(0, color=INK, lw=0.8)
    for place, (one, ruling, (low, high)) in enumerate(lines):
        colour = LOOKS[ruling.verdict]
        axes.plot([low, high], [place, place], color=colour, lw=2.2, solid_capstyle="butt")
        axes.plot([ruling.mean], [place], "o", color=colour, ms=6)
        said = f"{one.arm.title}: {ruling.mean:+.2f} [{low:+.2f}, {high:+.2f}], {ruling.verdict}"
        canvas.spot(axes, ruling.mean, place, said.replace("-", "−"), place)
    axes.set_yticks(range(len(lines)), [one.arm.title for one, *_ in lines])
    axes.set_ylim(max(len(lines), 1) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)


def _label(panes: Sequence[Axes], answers: Sequence[Answer]) -> None:
    """Name the unit below the last pane, and below each where they differ."""
    units = ["perplexity, %" if answer.task.of_text else "test error, points" for answer in answers]
    for place, (axes, unit) in enumerate(zip(panes, units, strict=True)):
        if place == len(units) - 1 or units[place + 1] != unit:
            axes.set_xlabel(f"{unit}, minus that of decoupled decay")
