"""Training loss against test error at the end of training: which of two equal losses generalises better?"""

from __future__ import annotations

import math
import statistics

from matplotlib.figure import Figure

from weightdecay.lab.report.drawn.canvas import Canvas, Picture, mark
from weightdecay.lab.report.drawn.view import View, seeds
from weightdecay.lab.report.figures import axis_title, plain, styled
from weightdecay.lab.report.ticks import error_scale, plain_ticks
from weightdecay.lab.run import Result

SHARE = 0.2
"""Of the epochs, the last: the paper's 40 of 200."""


def draw(view: View) -> Picture:
    """Draw a dot for every epoch of every seed, each curve at its best λ, and a large mark at their mean."""
    with styled():
        canvas = Canvas(Figure(figsize=(7.0, 4.6), layout="constrained"))
        axes = canvas.figure.subplots()
        shown: list[tuple[float, float]] = []
        for position, curve in enumerate(view.curves):
            best, style = view.best(curve), view.looks[curve]
            dots = [dot for result in best.results for dot in late(result)]
            if not dots:
                continue
            losses, errors = [loss for loss, _ in dots], [error for _, error in dots]
            middle = statistics.fmean(losses), statistics.fmean(errors)
            with canvas.curve(axes, position):
                axes.plot(
                    losses, errors, linestyle="none", marker=style["marker"], markersize=4.5, alpha=0.45,
                    markeredgewidth=0, color=style["color"],
                )  # fmt: skip
                axes.plot(
                    *middle, linestyle="none", marker=style["marker"], markersize=11, markeredgewidth=1.5,
                    color=style["color"], markeredgecolor="#ffffff", label=plain(view.named(best)), zorder=4,
                )  # fmt: skip
            text = f"{view.named(best)}: training loss {middle[0]:.4g}, {view.metric.name} {view.say.exact(middle[1])}"
            text += f"{view.say.unit}, mean over {len(dots)} epochs of {seeds(best.results)}"
            canvas.spot(axes, *middle, text, position)
            shown += dots
        if shown and all(loss > 0 for loss, _ in shown):
            axes.set_xscale("log")
        plain_ticks(axes.xaxis)
        error_scale(axes, [error for _, error in shown])
        axes.set_xlabel("training loss")
        axes.set_ylabel(axis_title(view.metric.name, view.metric))
        title = view.heading(f"training loss against {view.metric.name}, last fifth of the epochs")
        axes.set_title(title)
        canvas.legend(axes, mark("large: mean of a curve", "o", 10))
        return canvas.done(
            title,
            "The last fifth of the epochs, each curve at the λ that is best for it: a dot is one epoch of one seed, "
            "the large mark their mean. The training loss is the running mean of the epoch.",
        )


def late(result: Result) -> list[tuple[float, float]]:
    """Return training loss and test metric of the last fifth of the epochs, where both are finite."""
    first = (1 - SHARE) * result.run.epochs
    return [
        (epoch.train_loss, epoch.test)
        for epoch in result.epochs
        if epoch.epoch > first
        and epoch.train_loss is not None
        and epoch.test is not None
        and math.isfinite(epoch.train_loss + epoch.test)
    ]
