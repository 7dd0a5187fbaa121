"""What it costs to keep λ where lr, batch or width change: an arm per mark, a change per place."""

from __future__ import annotations

import math
from statistics import stdev

from matplotlib.figure import Figure

from weightdecay.lab.referee.answer import Answer
from weightdecay.lab.report.drawn.canvas import Canvas, Picture
from weightdecay.lab.report.figures import INK, look, plain, styled
from weightdecay.lab.report.ticks import plain_ticks


def draw(answer: Answer) -> Picture:
    """Draw the costs with their standard errors over seeds, next to one another for the arms of a change."""
    rows = [one for one in answer.standings if one.carried]
    changes = [one.change for one in rows[0].carried]
    title = f"{answer.task.name}: what it costs to keep λ where something else changes"
    with styled():
        canvas = Canvas(Figure(figsize=(max(7.0, 0.8 + 1.1 * len(changes)), 3.4), layout="constrained"))
        axes = canvas.figure.subplots()
        axes.axhline(0, color=INK, lw=0.8)
        for position, one in enumerate(rows):
            shift = 0.7 * ((position + 0.5) / len(rows) - 0.5)
            finite = [(place, each) for place, each in enumerate(one.carried) if all(map(math.isfinite, each.costs))]
            with canvas.curve(axes, position):
                axes.errorbar(
                    [place + shift for place, _ in finite], [each.mean for _, each in finite],
                    [stdev(each.costs) / math.sqrt(len(each.costs)) for _, each in finite],
                    **{**look(position), "linestyle": "none"}, elinewidth=1.2, label=plain(one.arm.title),
                )  # fmt: skip
            for place, each in finite:
                said = f"{one.arm.title}, {each.change.title}: {each.mean:+.2f}; the best λ there is × {each.best:g}"
                canvas.spot(axes, place + shift, each.mean, said.replace("-", "−"), position)
        axes.set_yscale("symlog", linthresh=5.0)  # a λ that destroys the training costs tens of points
        plain_ticks(axes.yaxis)
        axes.set_xticks(range(len(changes)), [change.title for change in changes])
        axes.set_ylabel("perplexity, %" if answer.task.of_text else "validation error, points")
        axes.set_title(title)
        canvas.legend(axes)
        return canvas.done(
            title,
            "Validation error with the kept λ, minus that with the multiple of λ that the other seeds choose; mean "
            "and standard error. Each decay keeps λ in its own unit.",
        )
