"""Differences to a reference with the intervals that decide, a line each: of one task, of all, or of one decay."""

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
from weightdecay.lab.report.ticks import plain_ticks

LOOKS: Mapping[Ruled, str] = {
    "better": COLOURS[2],
    "worse": COLOURS[1],
    "practically equal": COLOURS[0],
    "undecided": COLOURS[6],
}

ACROSS = 4
"""Panes beside one another, where all tasks are in one picture."""

LINEAR = 2.0
"""Up to here the axis of one decay is linear: around 0 it has the margin, and far out what failed."""


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
        _pane(canvas, axes, answer.margin, dict(enumerate(lines)))
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
            _pane(canvas, axes, answer.margin, {decays.index(decay): line for decay, line in lines.items()})
            _named(axes, decays)
            own = next(one.arm.title for one in answer.standings if one.arm.optimizer == optimizer)
            axes.set_title(f"{answer.task.name}, {own.partition(',')[0]}", fontsize=8)
            axes.set_xlabel(_unit(answer), fontsize=8)
            axes.tick_params(labelsize=8)
            axes.locator_params(axis="x", nbins=4)
        _explain(canvas, grid.flat[0], [line for *_, lines in panes for line in lines.values()])
        return canvas.done(title, _caption(answers))


def of_decay(decay: str, answers: Sequence[Answer]) -> Picture:
    """Draw one decay on all tasks, a line for each optimizer, the best of a task first."""
    found = [
        (answer, line)
        for answer in answers
        for line in sorted(_lines(answer), key=lambda line: line.mean)
        if line.decay == decay
    ]
    lines = {place: line for place, (_, line) in enumerate(found)}
    title = f"all tasks: {decay}, tuned, against decoupled decay"
    with styled():
        canvas = Canvas(Figure(figsize=(7.0, 1.2 + 0.31 * (len(found) + 0.2)), layout="constrained"))
        axes = canvas.figure.subplots()
        _pane(canvas, axes, found[0][0].margin, lines)
        _named(axes, [f"{answer.task.name}, {line.title.partition(',')[0]}" for answer, line in found])
        if max(abs(end) for line in lines.values() for end in line.interval) > 5 * LINEAR:
            axes.set_xscale("symlog", linthresh=LINEAR)
            plain_ticks(axes.xaxis)
        canvas.figure.suptitle(title, x=0.01, ha="left", fontsize=11.5, fontweight="bold")
        axes.set_xlabel("points of error, or % of perplexity, minus decoupled decay")
        _explain(canvas, axes, list(lines.values()))
        return canvas.done(title, _caption(answers))


def on_several(answers: Sequence[Answer]) -> list[str]:
    """Return the decays with a line on more than one task, by name."""
    tasks = [{line.decay for line in _lines(answer)} for answer in answers]
    return sorted(decay for decay in set().union(*tasks) if sum(decay in own for own in tasks) > 1)


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


def _pane(canvas: Canvas, axes: Axes, margin: float, lines: Mapping[int, Line]) -> None:
    """Draw the lines at their places, from above."""
    axes.axvspan(-margin, margin, color="#8c8c8c", alpha=0.18, lw=0)
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
