"""What it costs to keep λ where lr, batch or width change: a pane per optimizer, a mark per decay."""

from __future__ import annotations

import math
from statistics import stdev

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from weightdecay.lab.referee.answer import Answer, Standing
from weightdecay.lab.report.drawn.canvas import Canvas, Picture
from weightdecay.lab.report.figures import INK, look, plain, styled
from weightdecay.lab.report.ticks import plain_ticks


def draw(answer: Answer) -> Picture:
    """Draw the costs with their standard errors over seeds: a pane for each optimizer, a colour for each decay."""
    rows = [one for one in answer.standings if one.carried]
    optimizers = list(dict.fromkeys(one.arm.optimizer for one in rows))
    decays = list(dict.fromkeys(one.arm.decay for one in rows))
    changes = [one.change for one in rows[0].carried]
    title = f"{answer.task.name}: what it costs to keep λ where something else changes"
    with styled():
        size = max(7.0, 0.8 + 1.1 * len(changes)), 1.2 + 2.2 * len(optimizers)
        canvas = Canvas(Figure(figsize=size, layout="constrained"))
        panes = canvas.figure.subplots(len(optimizers), squeeze=False, sharex=True, sharey=True)[:, 0]
        for axes, optimizer in zip(panes, optimizers, strict=True):
            own = [one for one in rows if one.arm.optimizer == optimizer]
            axes.axhline(0, color=INK, lw=0.8)
            for one in own:
                shift = 0.7 * ((decays.index(one.arm.decay) + 0.5) / len(decays) - 0.5)
                _costs(canvas, axes, one, decays.index(one.arm.decay), shift)
            axes.set_yscale("symlog", linthresh=2.0)  # a λ that destroys the training costs tens of points
            plain_ticks(axes.yaxis)
            axes.set_xticks(range(len(changes)), [change.title for change in changes])
            axes.set_ylabel("perplexity, %" if answer.task.of_text else "validation error, points")
            axes.set_title(own[0].arm.title.partition(",")[0], fontsize=9)
        canvas.figure.suptitle(title, x=0.01, ha="left", fontsize=11.5, fontweight="bold")
        shown = {one.arm.decay for one in rows if one.arm.optimizer == optimizers[0]}
        canvas.legend(panes[0], *(
            Line2D([], [], **{**look(position), "linestyle": "none"}, label=plain(decay))
            for position, decay in enumerate(decays) if decay not in shown
        ))  # fmt: skip
        return canvas.done(
            title,
            "Validation error with the kept λ, minus that with the multiple of λ that the other seeds choose; mean "
            "and standard error. Each decay keeps λ in its own unit.",
        )


def _costs(canvas: Canvas, axes: Axes, one: Standing, position: int, shift: float) -> None:
    """Draw the costs of one arm, a little beside the place of each change."""
    finite = [(place, each) for place, each in enumerate(one.carried) if all(map(math.isfinite, each.costs))]
    with canvas.curve(axes, position):
        axes.errorbar(
            [place + shift for place, _ in finite], [each.mean for _, each in finite],
            [stdev(each.costs) / math.sqrt(len(each.costs)) for _, each in finite],
            **{**look(position), "linestyle": "none"}, elinewidth=1.2, label=plain(one.arm.decay),
        )  # fmt: skip
    for place, each in finite:
        said = f"{one.arm.title}, {each.change.title}: {each.mean:+.2f}; the best λ there is × {each.best:g}"
        canvas.spot(axes, place + shift, each.mean, said.replace("-", "−"), position)
