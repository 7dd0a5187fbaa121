"""Error, or perplexity, against λ: one line a curve, the best ringed."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from weightdecay.lab.paper.measure import BEST, LAST, SELECTED, Measure
from weightdecay.lab.report.drawn.canvas import Canvas, Picture, mark
from weightdecay.lab.report.drawn.overlay import paper_numbers
from weightdecay.lab.report.drawn.view import View, mean_and_std, values
from weightdecay.lab.report.figures import DASHES, axis_title, plain, styled
from weightdecay.lab.report.lines import diverged, ring, with_bars
from weightdecay.lab.report.ticks import decay_ticks, error_scale
from weightdecay.lab.study.answer import Cell


def draw(view: View) -> Picture:
    """Draw mean and standard deviation over seeds by the view's measure; thin, of the epoch that validation selects."""
    with styled():
        canvas = Canvas(Figure(figsize=(7.0, 4.6), layout="constrained"))
        axes = canvas.figure.subplots()
        places = {view.place(cell) for cell in view.answer.cells}
        positive = sorted(place for place in places if place > 0)
        # λ = 0 has no place on a logarithmic axis: it gets its own, most of a decade before the first.
        zero = positive[0] / 5 if positive else 0.2
        shown: list[float] = []
        step = min(0.04, 0.3 / len(view.curves))  # decades between the points at 0, so that shared ones are all seen
        apart = zero
        for position, curve in enumerate(view.curves):
            zero = apart * 10 ** (step * (position - (len(view.curves) - 1) / 2))
            for lr in view.lrs(curve):
                cells = [cell for cell in view.answer.of(curve) if cell.point.lr == lr]
                label, style = _label(view, curve, lr), _style(view, curve, lr)
                with canvas.curve(axes, position):
                    shown += line(axes, view, cells, view.measure, zero, label, style)
                    if view.selects:
                        thin = {**style, "marker": "", "linewidth": 0.9, "alpha": 0.7}
                        shown += line(axes, view, cells, SELECTED, zero, "_validation", thin)
            with canvas.curve(axes, position):
                _marks(axes, view, curve, zero)
            for cell in view.answer.of(curve):
                mean, _ = mean_and_std(values(cell, view.measure))
                if math.isfinite(mean):
                    canvas.spot(axes, view.place(cell) or zero, mean, view.said(cell), position)
        paper = paper_numbers(canvas, axes, view)
        axes.set_xscale("log")
        if not positive:
            axes.set_xlim(apart / 10, apart * 10)
        decay_ticks(axes, positive, apart if 0 in places else None)
        error_scale(axes, shown)
        beside = any(coupled(view, curve) for curve in view.curves)
        axes.set_xlabel("weight decay λ  (λ·η where the legend says so)" if beside else "weight decay λ")
        at_the_end = " at the last epoch" if view.measure is LAST else ""
        axes.set_ylabel(axis_title(view.metric.name + at_the_end, view.metric))
        title = view.heading(f"{view.metric.name} against weight decay")
        axes.set_title(title)
        canvas.legend(axes, *_explained(view), *paper)
        return canvas.done(title, _caption(view))


def line(
    axes: Axes, view: View, cells: list[Cell], measure: Measure, zero: float, label: str, style: dict[str, Any]
) -> list[float]:
    """Draw a curve by one measure, with bars for the view's; return the means. What diverged is a cross at the top."""
    finite: list[tuple[float, float, float]] = []
    for cell in cells:
        mean, std = mean_and_std(values(cell, measure))
        if math.isfinite(mean):
            finite.append((view.place(cell), mean, std))
        elif measure is view.measure:
            diverged(axes, view.place(cell) or zero, style["color"])
    if not finite:
        return []
    places, means = [place or zero for place, *_ in finite], [mean for _, mean, _ in finite]
    if measure is view.measure:
        with_bars(axes, places, means, [std for *_, std in finite], label, style, first=int(finite[0][0] == 0))
    else:
        axes.plot(places, means, label=label, **style)
    return means


def _marks(axes: Axes, view: View, curve: str, zero: float) -> None:
    """Ring the best cell, and put a square about the cell at the paper's lr and λ."""
    colour = view.looks[curve]["color"]
    best = view.best(curve)
    mean, _ = mean_and_std(values(best, view.measure))
    if math.isfinite(mean):
        ring(axes, view.place(best) or zero, mean, colour)
    if curve in view.answer.question.fixed:
        fixed = view.answer.at_fixed(curve)
        mean, _ = mean_and_std(values(fixed, view.measure))
        if math.isfinite(mean):
            axes.plot(
                view.place(fixed) or zero, mean, "s", markersize=17, markeredgewidth=1.1, markerfacecolor="none",
                markeredgecolor=colour, zorder=5,
            )  # fmt: skip


def _style(view: View, curve: str, lr: float) -> dict[str, Any]:
    lrs, style = view.lrs(curve), dict(view.looks[curve])
    if len(lrs) > 1:
        best = view.best(curve).point.lr
        others = [one for one in lrs if one != best]
        style["linestyle"] = DASHES[0] if lr == best else DASHES[1 + others.index(lr) % (len(DASHES) - 1)]
        style["alpha"] = 1.0 if lr == best else 0.5
    return style


def _label(view: View, curve: str, lr: float) -> str:
    label = view.title(curve) + (f", lr {lr:g}" if len(view.lrs(curve)) > 1 else "")
    return plain(label + (" (at λ·η)" if coupled(view, curve) else ""))


def coupled(view: View, curve: str) -> bool:
    """Whether the curve is drawn at λ·η, up to the digits that its λ was rounded to, and that is not λ."""
    cells = view.answer.of(curve)
    return any(view.place(cell) != cell.point.weight_decay for cell in cells) and all(
        math.isclose(view.place(cell), cell.point.weight_decay * cell.point.lr, rel_tol=0.01) for cell in cells
    )


def _explained(view: View) -> list[Any]:
    found = [mark("best λ", "o", 10)]
    if view.answer.question.fixed:
        found.append(mark("the paper’s λ", "s", 11))
    if view.selects:
        found.append(mark("thin: validation selects", "", line="-", width=0.9))
    return found


def _caption(view: View) -> str:
    which = "Lowest over epochs, as the paper has it" if view.measure is BEST else f"{view.measure.name.capitalize()}"
    text = f"{which}: mean over seeds, bars one standard deviation, the best ringed"
    text += ", a square about the paper’s own λ." if view.answer.question.fixed else "."
    if view.selects:
        text += " The thin lines are the error at the epoch that held-out examples select."
    if any(cell.diverged == len(cell.results) for cell in view.answer.cells):
        text += " A cross at the top: no finite number."
    return text
