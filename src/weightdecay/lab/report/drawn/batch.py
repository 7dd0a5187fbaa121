"""Rules for a larger batch: error when the lr, or λ, is multiplied by k."""

from __future__ import annotations

import math

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from weightdecay.lab.report.drawn.canvas import Canvas, Picture, mark
from weightdecay.lab.report.drawn.overlay import paper_numbers
from weightdecay.lab.report.drawn.view import View, mean_and_std, values
from weightdecay.lab.report.figures import axis_title, plain, styled
from weightdecay.lab.report.lines import diverged, ring, with_bars
from weightdecay.lab.report.ticks import error_scale, nearest


def draw(view: View) -> Picture:
    """Draw mean and standard deviation over seeds of the best epoch against the multiple; the best ringed."""
    with styled():
        canvas = Canvas(Figure(figsize=(7.0, 4.6), layout="constrained"))
        axes = canvas.figure.subplots()
        shown: list[float] = []
        for position, curve in enumerate(view.curves):
            style = dict(view.looks[curve])
            cells = sorted(view.answer.of(curve), key=view.place)
            numbers = {view.place(cell): mean_and_std(values(cell, view.measure)) for cell in cells}
            finite = {place: both for place, both in numbers.items() if math.isfinite(both[0])}
            with canvas.curve(axes, position):
                if finite:
                    means, bars = [mean for mean, _ in finite.values()], [std for _, std in finite.values()]
                    with_bars(axes, list(finite), means, bars, plain(view.title(curve)), style)
                    best = min(finite, key=lambda place: finite[place][0])
                    ring(axes, best, finite[best][0], style["color"])
                    shown += means
                for place in numbers.keys() - finite.keys():
                    diverged(axes, place, style["color"])
            for cell in cells:
                if view.place(cell) in finite:
                    text = f"× {view.place(cell):g}: lr {cell.point.lr:g}, {view.said(cell)}"
                    canvas.spot(axes, view.place(cell), finite[view.place(cell)][0], text, position)
        paper = paper_numbers(canvas, axes, view)
        multiples = sorted({view.place(cell) for cell in view.answer.cells})
        names = {place: f"× {place:g}" for place in multiples}
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator(multiples))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: nearest(value, names)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        error_scale(axes, shown)
        axes.set_xlabel("multiple of the small batch’s value")
        axes.set_ylabel(axis_title(view.metric.name, view.metric))
        title = view.heading("rules for a larger batch")
        axes.set_title(title)
        canvas.legend(axes, mark("best", "o", 10), *paper)
        return canvas.done(
            title,
            "The large batch; one curve multiplies the learning rate, the other λ. Lowest over epochs: mean over "
            "seeds, bars one standard deviation, the best ringed. A cross at the top: no finite number.",
        )
