"""Test error and training loss by epoch, each curve at its best λ."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from weightdecay.lab.report.drawn.canvas import Canvas, Picture
from weightdecay.lab.report.drawn.overlay import paper_numbers
from weightdecay.lab.report.drawn.view import View, seeds
from weightdecay.lab.report.figures import axis_title, plain, styled
from weightdecay.lab.report.lines import Moment, by_epoch, mark_lr_drops, moments, moves, over_training
from weightdecay.lab.report.ticks import error_scale, plain_ticks

READ = 20
"""At most so many epochs of a curve can be pointed at, the last among them."""


def draw(view: View) -> Picture:
    """Draw the mean over seeds, lowest to highest shaded; the training loss on a logarithmic axis."""
    with styled():
        runs = [result.run for result in view.answer.results]
        over_time = moves(runs)
        canvas = Canvas(Figure(figsize=(7.0, 8.2 if over_time else 6.9), layout="constrained"))
        ratios = (3, 2, 1.2) if over_time else (3, 2)
        upper, lower, *last = canvas.figure.subplots(len(ratios), 1, sharex=True, height_ratios=ratios)
        means: list[float] = []
        for position, curve in enumerate(view.curves):
            best = view.best(curve)
            style = {**view.looks[curve], "marker": ""}
            tests = moments(best.results, lambda epoch: epoch.test)
            losses = moments(best.results, lambda epoch: epoch.train_loss)
            with canvas.curve(upper, position):
                by_epoch(upper, tests, plain(view.named(best)), style)
            with canvas.curve(lower, position):
                by_epoch(lower, losses, plain(view.named(best)), style)
            means += [one.mean for one in tests]
            for one in spaced(tests):
                text = f"{view.named(best)}, epoch {one.epoch}: {view.metric.name} {view.say.exact(one.mean)}"
                text += f"{view.say.unit}, {view.say.exact(one.low)} to {view.say.exact(one.high)}"
                canvas.spot(upper, one.epoch, one.mean, f"{text} ({seeds(best.results)})", position)
            for one in spaced(losses):
                text = f"{view.named(best)}, epoch {one.epoch}: training loss {one.mean:.4g}"
                text += f", {one.low:.4g} to {one.high:.4g} ({seeds(best.results)})"
                canvas.spot(lower, one.epoch, one.mean, text, position)
        paper = paper_numbers(canvas, upper, view)
        error_scale(upper, means)
        upper.set_ylabel(axis_title(view.metric.name, view.metric))
        title = view.heading("learning curves, each at its best λ")
        upper.set_title(title)
        lower.set_yscale("log")
        plain_ticks(lower.yaxis)
        lower.set_ylabel("training loss")
        for axes in last:
            for position, curve in enumerate(view.curves):
                with canvas.curve(axes, position):
                    over_training(axes, view.best(curve).results[0].run, {**view.looks[curve], "marker": ""})
        bottom = last[0] if last else lower
        bottom.set_xlabel("epoch")
        bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
        lower.set_xlim(0, max(run.epochs for run in runs) + 0.5)
        mark_lr_drops(upper, lower, runs)
        canvas.legend(upper, *paper)
        return canvas.done(
            title,
            "Each curve at the λ that is best for it; mean over seeds, the band from the lowest to the highest. The "
            "training loss is the running mean of each epoch, against the labels as given.",
        )


def spaced(drawn: list[Moment]) -> list[Moment]:
    """Return every so manieth epoch, counted from the last."""
    step = -(-len(drawn) // READ) or 1
    return drawn[::-1][::step][::-1]
