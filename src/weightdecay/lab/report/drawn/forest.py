"""Differences to a reference with the intervals that decide, an arm per line: of one task, or of all in one picture."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from weightdecay.lab.referee.answer import Answer
from weightdecay.lab.referee.rulings import Ruled
from weightdecay.lab.report.drawn.canvas import Canvas, Picture
from weightdecay.lab.report.figures import COLOURS, INK, styled

LOOKS: Mapping[Ruled, str] = {
    "better": COLOURS[2],
    "worse": COLOURS[1],
    "practically equal": COLOURS[0],
    "undecided": COLOURS[6],
}

ACROSS = 4
"""Panes beside one another, where all tasks are in one picture."""


@dataclass(frozen=True)
class Line:
    """A difference and its interval, whose ends can be drawn."""

    title: str
    decay: str
    optimizer: str
    mean: float
    interval: tuple[float, float]
    verdict: Ruled


def draw(answer: Answer) -> Picture:
    """Draw each arm of a task that has a ruling, with the margin as a band."""
    lines = sorted(_lines(answer), key=lambda line: line.mean)
    order = list(dict.fromkeys(one.arm.optimizer for one in answer.standings))
    lines.sort(key=lambda line: order.index(line.optimizer))
    title = f"{answer.task.name}: each decay at its best lr and λ, against decoupled decay"
    with styled():
        canvas = Canvas(Figure(figsize=(7.0, 1.0 + 0.31 * (max(len(lines), 1) + 0.2)), layout="constrained"))
        axes = canvas.figure.subplots()
        _pane(canvas, axes, answer, dict(enumerate(lines)))
        _named(axes, [line.title for line in lines])
        canvas.figure.suptitle(title, x=0.01, ha="left", fontsize=11.5, fontweight="bold")
        axes.set_xlabel(f"{_unit(answer)}, minus that of decoupled decay")
        _explain(canvas, axes, lines)
        return canvas.done(title, _caption([answer]))


def together(answers: Sequence[Answer]) -> Picture:
    """Draw a pane for each optimizer on each task; panes beside one another have the same decay at the same height."""
    panes = [
        (answer, optimizer, {line.decay: line for line in _lines(answer) if line.optimizer == optimizer})
        for answer in answers
        for optimizer in sorted({one.arm.optimizer for one in answer.standings})
    ]
    panes = [pane for pane in panes if pane[2]]
    order = _ordered([lines for *_, lines in panes])
    rows = [panes[first : first + ACROSS] for first in range(0, len(panes), ACROSS)]
    names = [[decay for decay in order if any(decay in lines for *_, lines in row)] for row in rows]
    heights = [0.75 + 0.2 * len(own) for own in names]
    title = "each decay at its best lr and λ, against decoupled decay"
    with styled():
        canvas = Canvas(Figure(figsize=(9.0, 0.3 + sum(heights)), layout="constrained"))
        grid = canvas.figure.subplots(len(rows), ACROSS, squeeze=False, sharey="row", height_ratios=heights)
        for axes in grid.flat[len(panes) :]:
            axes.set_axis_off()
        for place, (axes, (answer, optimizer, lines)) in enumerate(zip(grid.flat, panes, strict=False)):
            decays = names[place // ACROSS]
            _pane(canvas, axes, answer, {decays.index(decay): line for decay, line in lines.items()})
            _named(axes, decays)
            own = next(one.arm.title for one in answer.standings if one.arm.optimizer == optimizer)
            axes.set_title(f"{answer.task.name}, {own.partition(',')[0]}", fontsize=8)
            axes.set_xlabel(_unit(answer), fontsize=8)
            axes.tick_params(labelsize=8)
            axes.locator_params(axis="x", nbins=4)
        _explain(canvas, grid.flat[0], [line for *_, lines in panes for line in lines.values()])
        return canvas.done(title, _caption(answers))


def _ordered(panes: Sequence[Mapping[str, Line]]) -> list[str]:
    """Return the decays, the best first: by the median over panes, and those that few panes have last."""
    found: dict[str, list[float]] = {}
    for lines in panes:
        for decay, line in lines.items():
            found.setdefault(decay, []).append(line.mean)
    return sorted(found, key=lambda decay: (2 * len(found[decay]) < len(panes), median(found[decay])))


def _lines(answer: Answer) -> Iterator[Line]:
    """Yield the arms whose interval has ends that can be drawn."""
    for one in answer.standings:
        interval = one.ruling.interval if one.ruling else None
        if one.ruling and interval and all(map(math.isfinite, interval)):
            yield Line(one.arm.title, one.arm.decay, one.arm.optimizer, one.ruling.mean, interval, one.ruling.verdict)


def _pane(canvas: Canvas, axes: Axes, answer: Answer, lines: Mapping[int, Line]) -> None:
    """Draw the lines at their places, from above."""
    axes.axvspan(-answer.margin, answer.margin, color="#8c8c8c", alpha=0.18, lw=0)
    axes.axvline(0, color=INK, lw=0.8)
    for place, line in lines.items():
        colour, (low, high) = LOOKS[line.verdict], line.interval
        axes.plot([low, high], [place, place], color=colour, lw=2.2, solid_capstyle="butt")
        axes.plot([line.mean], [place], "o", color=colour, ms=6)
        said = f"{line.title}: {line.mean:+.2f} [{low:+.2f}, {high:+.2f}], {line.verdict}"
        canvas.spot(axes, line.mean, place, said.replace("-", "−"), place)


def _explain(canvas: Canvas, axes: Axes, lines: Sequence[Line]) -> None:
    """Say below the figure what the colours mean."""
    seen = {line.verdict for line in lines}
    canvas.legend(
        axes, *(Line2D([], [], color=LOOKS[one], marker="o", lw=2.2, label=one) for one in LOOKS if one in seen)
    )


def _named(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(max(len(names), 1) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)


def _unit(answer: Answer) -> str:
    return "perplexity, %" if answer.task.of_text else "test error, points"


def _caption(answers: Sequence[Answer]) -> str:
    seeds = max((len(one.judged) for answer in answers for one in answer.standings), default=0)
    return (
        f"Mean difference over {seeds} seeds and its interval; left of 0 is better. The grey band holds the "
        "differences that do not matter."
    )
