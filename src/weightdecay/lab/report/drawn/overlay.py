"""The paper's own numbers on our axes: only where our data are the paper's."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from weightdecay.lab.report.drawn.canvas import Canvas, mark
from weightdecay.lab.report.drawn.view import View


def paper_numbers(canvas: Canvas, axes: Axes, view: View) -> list[Line2D]:
    """Draw each number of the paper as a dash at the right edge; return the legend's entry for it, if there is one.

    At any other scale than the paper's the data and the network are others, and its numbers have no place.
    """
    if not view.papers:
        return []
    drawn = False
    through = axes.get_yaxis_transform()
    for position, curve in enumerate(view.curves):
        for number in view.of_paper(curve):
            drawn = True
            colour = view.looks[curve]["color"]
            with canvas.curve(axes, position):
                axes.plot(
                    [1.01, 1.05], [number.mean] * 2, color=colour, linewidth=2.4, transform=through, clip_on=False
                )
            setting = f", {number.setting}" if number.setting else ""
            text = f"{view.title(curve)} in the paper ({number.source}{setting}): {number.text} %"
            canvas.spot(axes, 1.03, number.mean, text, position, through)
    return [mark(f"at the right: {view.papers}", "", line="-", width=2.4)] if drawn else []
