"""Error over learning rate and λ: one map a curve, one scale of colours."""

from __future__ import annotations

import math
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from weightdecay.lab.report.drawn.canvas import Canvas, Picture
from weightdecay.lab.report.drawn.view import View, mean_and_std, values
from weightdecay.lab.report.figures import axis_title, plain, styled
from weightdecay.lab.report.ticks import plain_ticks

MAP = "viridis"
"""Even in lightness, and the same to those who see red and green alike; dark is low. Grey is no part of it."""

FEW = 4
"""Up to so many columns three maps stand in a row, else two: a number in a cell must be legible in a page."""


def draw(view: View) -> Picture:
    """Draw the mean over seeds of the best epoch; the best cell of each map is framed and its number is bold."""
    with styled():
        columns = max(len({view.place(cell) for cell in view.answer.of(curve)}) for curve in view.curves)
        lines = max(len(view.lrs(curve)) for curve in view.curves)
        across = min(3 if columns <= FEW else 2, len(view.curves))
        down = math.ceil(len(view.curves) / across)
        wide = max(7.0, 1.0 + across * (0.7 + 0.44 * columns))
        canvas = Canvas(Figure(figsize=(wide, 1.3 + down * (0.9 + 0.4 * lines)), layout="constrained"))
        grid = canvas.figure.subplots(down, across, squeeze=False)
        norm = _norm(view)
        room = ((wide - 1.0) / across - 0.7) / columns  # inches for a number
        for position, curve in enumerate(view.curves):
            axes = grid[position // across][position % across]
            _map(canvas, axes, view, curve, position, norm, room)
        for axes in grid.flat[len(view.curves) :]:
            axes.set_visible(False)
        bar = colour_bar(canvas, grid, norm, axis_title(view.metric.name, view.metric), shrink=0.9, aspect=25)
        plain_ticks(bar.ax.yaxis)
        title = view.heading(f"{view.metric.name} over learning rate and weight decay")
        canvas.figure.suptitle(title, x=0.01, ha="left", fontsize=11.5, fontweight="bold")
        return canvas.done(
            title,
            "Lowest over epochs, mean over seeds; one scale of colours for all maps, dark is low. The frame is the "
            "best cell of each map. λ stands where the paper draws it.",
        )


def colour_bar(canvas: Canvas, panes: Any, norm: Normalize, label: str, **look: Any) -> Colorbar:
    """Put the scale of the colours beside the panes and return it; ``look`` is what colorbar takes."""
    bar = canvas.figure.colorbar(mpl.cm.ScalarMappable(norm, MAP), ax=panes, **look)
    assert bar.solids is not None
    bar.solids.set_edgecolor("face")
    bar.solids.set_rasterized(False)  # an image in a page is an address
    bar.set_label(label)
    bar.outline.set_visible(False)
    return bar


def _norm(view: View) -> Normalize:
    means = [mean_and_std(values(cell, view.measure))[0] for cell in view.answer.cells]
    finite = [mean for mean in means if math.isfinite(mean)] or [1.0]
    low, high = min(finite), max(finite)
    if low > 0 and high > 3 * low:
        return LogNorm(low, high)
    return Normalize(low, high if high > low else low + 1)


def _map(canvas: Canvas, axes: Axes, view: View, curve: str, position: int, norm: Normalize, room: float) -> None:
    cells = view.answer.of(curve)
    columns, lines = sorted({view.place(cell) for cell in cells}), view.lrs(curve)
    best = view.best(curve)
    colours = mpl.colormaps[MAP]
    for cell in cells:
        x, y = columns.index(view.place(cell)), lines.index(cell.point.lr)
        mean, _ = mean_and_std(values(cell, view.measure))
        finite = math.isfinite(mean)
        face: Any = colours(norm(mean)) if finite else "#8c8c8c"
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=face, edgecolor=face, linewidth=0.3))
        dark = not finite or 0.299 * face[0] + 0.587 * face[1] + 0.114 * face[2] < 0.55
        if room > 0.28 or cell is best:
            text = view.say.exact(mean) if room > 0.38 else f"{mean:.3g}" if finite else "∞"
            axes.text(
                x, y, text, ha="center", va="center", color="#ffffff" if dark else "#101010",
                fontsize=8.5 if room > 0.56 else 7.5, fontweight="bold" if cell is best else "normal",
            )  # fmt: skip
        canvas.spot(axes, x, y, view.said(cell), position)
    x, y = columns.index(view.place(best)), lines.index(best.point.lr)
    for colour, width in (("#101010", 3.2), ("#ffffff", 1.4)):  # seen on dark and on light cells
        axes.add_patch(
            Rectangle((x - 0.46, y - 0.46), 0.92, 0.92, fill=False, edgecolor=colour, linewidth=width, zorder=4)
        )
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(-0.5, len(lines) - 0.5)
    axes.set_xticks(range(len(columns)), [f"{value:g}" for value in columns], rotation=60, fontsize=8.5)
    axes.set_yticks(range(len(lines)), [f"{value:g}" for value in lines], fontsize=8.5)
    axes.grid(visible=False)
    axes.set_xlabel("weight decay λ")
    axes.set_ylabel("lr")
    axes.set_title(plain(view.title(curve)), loc="center", fontsize=10.5)
