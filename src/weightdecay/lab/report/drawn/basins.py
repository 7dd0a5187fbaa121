"""How wide the basin of an arm is: its error over lr and λ, both as multiples of the cell that was chosen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from weightdecay.lab.referee.answer import Answer, Standing
from weightdecay.lab.report.drawn.canvas import Canvas, Picture
from weightdecay.lab.report.drawn.heat import MAP, colour_bar
from weightdecay.lab.report.figures import plain, styled

HALF = 0.235
"""Half a cell's side, in decades: a step of the grid is half a decade."""

DIVERGED = "#8c8c8c"

ACROSS = 5
"""Maps beside one another, at most."""

TITLE = 24
"""Letters that fit above a map in one line."""


def draw(answer: Answer) -> Picture:
    """Draw a map for every arm with a λ to tune, an optimizer from a new line on, all with one scale and one range."""
    lines = _lines(answer)
    across, most = max(map(len, lines)), 6 * answer.margin
    unit = "%" if answer.task.of_text else "points"
    title = f"{answer.task.name}: how wide the basin of each decay is, in lr and in λ"
    with styled():
        canvas = Canvas(Figure(figsize=(max(7.0, 0.9 + 1.75 * across), 1.2 + 1.9 * len(lines)), layout="constrained"))
        grid = canvas.figure.subplots(len(lines), across, squeeze=False, sharex=True, sharey=True)
        for row, own in zip(grid, lines, strict=True):
            for axes, one in zip(row, own, strict=False):
                _map(canvas, axes, one, Normalize(0, most))
            for axes in row[len(own) :]:
                axes.set_visible(False)
            row[0].set_ylabel("λ / its best")
        for column in grid.T:
            lowest = [axes for axes in column if axes.get_visible()][-1]
            lowest.set_xlabel("lr / its best")
            lowest.tick_params(labelbottom=True)
        colour_bar(canvas, grid, Normalize(0, most), f"{unit} above the lowest", aspect=30, extend="max")
        canvas.figure.suptitle(title, x=0.01, ha="left", fontsize=11.5, fontweight="bold")
        return canvas.done(
            title,
            "Every cell that was tried, by how far its validation error or perplexity lies above the lowest of its "
            "arm, with one seed; dark is low, grey diverged. The frame is the cell that was judged.",
        )


def has_any(answer: Answer) -> bool:
    """Whether an arm of the task has a λ to tune."""
    return bool(_lines(answer))


def _lines(answer: Answer) -> list[Sequence[Standing]]:
    """Return the arms line by line, by optimizer and then by decay."""
    found: dict[str, list[Standing]] = {}
    for one in answer.standings:
        if one.arm.has_weight_decay:
            found.setdefault(one.arm.optimizer, []).append(one)
    ordered = [sorted(own, key=lambda one: one.arm.decay) for _, own in sorted(found.items())]
    return [own[first : first + ACROSS] for own in ordered for first in range(0, len(own), ACROSS)]


def _title(arm: str) -> str:
    r"""Return an arm's title in two lines if one is too short for it.

    >>> _title("Adam, stable"), _title("MuonAdamW, cautious(decoupled)")
    ('Adam, stable', 'MuonAdamW,\ncautious(decoupled)')
    """
    if len(arm) <= TITLE:
        return arm
    return arm.replace("@", "\n@", 1) if "@" in arm else arm.replace(", ", ",\n", 1)


def _map(canvas: Canvas, axes: Axes, one: Standing, norm: Normalize) -> None:
    colours = mpl.colormaps[MAP]
    low = min(one.tried.values())
    for place, (cell, score) in enumerate(one.tried.items()):
        x = math.log10(cell.lr / one.cell.lr)
        y = math.log10(cell.weight_decay / one.cell.weight_decay)
        above = score - low if math.isfinite(score) else math.inf
        face: Any = colours(norm(above)) if math.isfinite(above) else DIVERGED
        axes.add_patch(Rectangle((x - HALF, y - HALF), 2 * HALF, 2 * HALF, facecolor=face, edgecolor="none"))
        said = f"lr {cell.lr:g}, λ {cell.weight_decay:g}: " + (f"+{above:.2f}" if math.isfinite(above) else "diverged")
        canvas.spot(axes, x, y, said, place)
    for colour, width in (("#101010", 2.8), ("#ffffff", 1.2)):  # seen on dark and on light cells
        axes.add_patch(
            Rectangle((-HALF, -HALF), 2 * HALF, 2 * HALF, fill=False, edgecolor=colour, linewidth=width, zorder=4)
        )
    axes.set_aspect("equal")
    axes.grid(visible=False)
    axes.set_xlim(-1.75, 1.75)
    axes.set_ylim(-2.25, 2.25)
    axes.set_xticks([-1, 0, 1], ["0.1", "1", "10"])
    axes.set_yticks([-2, -1, 0, 1, 2], ["0.01", "0.1", "1", "10", "100"])
    axes.set_title(plain(_title(one.arm.title)), loc="center", fontsize=9, fontweight="normal")
