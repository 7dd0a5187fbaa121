"""Gradient norm and v̄ by epoch: what the effective learning rate of an adaptive method follows."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from weightdecay.lab.report.drawn.canvas import Canvas, Picture
from weightdecay.lab.report.drawn.curves import spaced
from weightdecay.lab.report.drawn.view import View, seeds
from weightdecay.lab.report.figures import plain, styled
from weightdecay.lab.report.lines import Quantity, by_epoch, moments
from weightdecay.lab.report.ticks import plain_ticks
from weightdecay.lab.run import Epoch
from weightdecay.lab.run.methods import method

ROOT = ("adam", "amsgrad", "yogi")
"""Methods whose effective lr is η/√v̄, so that v̄ can be read from it."""


def mean_square(epoch: Epoch) -> float | None:
    """Return v̄ = (η/η_effective)², of the epoch's last step; None where the method told no effective lr."""
    return (epoch.lr / epoch.effective_lr) ** 2 if epoch.effective_lr else None


def draw(view: View) -> Picture:
    """Draw both on logarithmic axes, each curve at its best λ; v̄ of the methods that divide by its root."""
    with styled():
        rooted = [curve for curve in view.curves if method(view.best(curve).point.optimizer).base in ROOT]
        canvas = Canvas(Figure(figsize=(7.0, 3.4 + 2.6 * bool(rooted)), layout="constrained"))
        panes = canvas.figure.subplots(1 + bool(rooted), 1, sharex=True, squeeze=False).flat
        _pane(canvas, panes[0], view, view.curves, "gradient norm", lambda epoch: epoch.grad_norm)
        if rooted:
            _pane(canvas, panes[1], view, rooted, "v̄", mean_square)
        title = view.heading("gradient norm" + (" and v̄" if rooted else "") + ", each at its best λ")
        panes[0].set_title(title)
        panes[-1].set_xlabel("epoch")
        panes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        canvas.legend(panes[0])
        return canvas.done(
            title,
            "Each curve at the λ that is best for it, in the last step of every epoch: mean over seeds, the band from "
            "the lowest to the highest. v̄ = (lr/effective lr)² of the methods that divide by its root.",
        )


def _pane(canvas: Canvas, axes: Axes, view: View, curves: tuple[str, ...] | list[str], what: str, of: Quantity) -> None:
    for curve in curves:
        position, best = view.curves.index(curve), view.best(curve)
        drawn = [one for one in moments(best.results, of) if one.low > 0]
        if not drawn:
            continue
        with canvas.curve(axes, position):
            by_epoch(axes, drawn, plain(view.named(best)), {**view.looks[curve], "marker": ""})
        for one in spaced(drawn):
            text = f"{view.named(best)}, epoch {one.epoch}: {what} {one.mean:.3g}, {one.low:.3g} to {one.high:.3g}"
            canvas.spot(axes, one.epoch, one.mean, f"{text} ({seeds(best.results)})", position)
    if axes.lines:
        axes.set_yscale("log")
        plain_ticks(axes.yaxis)
    else:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center")
    axes.set_ylabel(what)
