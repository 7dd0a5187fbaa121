"""The two figures of a comparison: learning curves at each optimizer's best λ, and error against λ."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from weightdecay.lab.report.figures import DASHES, axis_title, columns_for, look, plain, styled
from weightdecay.lab.report.lines import by_epoch, mark_lr_drops, moments, moves, over_training, ring, with_bars
from weightdecay.lab.report.ticks import decay_ticks, error_scale, plain_ticks
from weightdecay.lab.study.statistics import Comparison


def looks(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """Return the look of every optimizer: by its place in the settings, so that it is the same in all figures."""
    names = dict.fromkeys(cell.point.curve for cell in comparison.cells)
    return {name: look(position) for position, name in enumerate(names)}


def learning_curves(comparison: Comparison) -> Figure:
    """Draw test error and training loss by epoch, at each optimizer's best λ: mean over seeds, min to max shaded."""
    with styled():
        rows = math.ceil(len(comparison.standings) / 3)
        over_time = moves(result.run for result in comparison.results)
        figure = Figure(figsize=(7.0, (8.2 if over_time else 6.9) + 0.22 * rows), layout="constrained")
        ratios = (3, 2, 1.2) if over_time else (3, 2)
        error_axes, loss_axes, *last = figure.subplots(len(ratios), 1, sharex=True, height_ratios=ratios)
        lines = looks(comparison)
        errors: list[float] = []
        for standing in comparison.standings:
            style = {**lines[standing.optimizer], "marker": ""}
            label = plain(f"{standing.title}  λ = {standing.best.point.weight_decay:.2g}")
            drawn = moments(standing.best.results, lambda epoch: epoch.test)
            errors += [one.mean for one in drawn]
            by_epoch(error_axes, drawn, label, style)
            by_epoch(loss_axes, moments(standing.best.results, lambda epoch: epoch.train_loss), label, style)
            for axes in last:
                over_training(axes, standing.best.results[0].run, style)
        error_scale(error_axes, errors)
        error_axes.set_ylabel(axis_title(comparison.metric.name, comparison.metric))
        error_axes.set_title("Learning curves, each optimizer at its best weight decay")
        handles, labels = error_axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=columns_for(labels))
        loss_axes.set_yscale("log")
        plain_ticks(loss_axes.yaxis)
        loss_axes.set_ylabel("training loss")
        bottom = last[0] if last else loss_axes
        bottom.set_xlabel("epoch")
        bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
        loss_axes.set_xlim(0, comparison.question.epochs + 0.5)
        mark_lr_drops(error_axes, loss_axes, [result.run for result in comparison.results])
        return figure


def error_against_decay(comparison: Comparison) -> Figure:
    """Draw last-epoch test error against λ, λ = 0 apart at the left; bars are one std, the best is ringed."""
    with styled():
        lines = looks(comparison)
        positive = [cell.drawn_at for cell in comparison.cells if cell.drawn_at > 0]
        # λ = 0 has no place on a logarithmic axis: it gets its own, most of a decade before the first.
        zero = min(positive, default=1.0) / 5
        has_zero = any(cell.point.weight_decay == 0 for cell in comparison.cells)
        lowest: list[float] = []
        lrs = {name: sorted({cell.point.lr for cell in comparison.cells_of(name)}) for name in lines}
        curves = [(name, lr) for name in lines for lr in lrs[name]]
        figure = Figure(figsize=(7.0, 4.6 + 0.22 * math.ceil(len(curves) / 2)), layout="constrained")
        axes = figure.subplots()
        step = min(0.04, 0.3 / len(curves))  # decades between the points at 0, so that shared ones are all seen
        for position, (name, lr) in enumerate(curves):
            cells = [cell for cell in comparison.cells_of(name) if cell.point.lr == lr and math.isfinite(cell.mean)]
            if not cells:
                continue
            standing = next(one for one in comparison.standings if one.optimizer == name)
            nudge = 10 ** (step * (position - (len(curves) - 1) / 2))
            style = dict(lines[name])
            if len(lrs[name]) > 1:
                style["linestyle"] = DASHES[lrs[name].index(lr) % len(DASHES)]
                style["alpha"] = 1.0 if lr == standing.best.point.lr else 0.6
            label = standing.title
            if len(lrs[name]) > 1:
                label += f", lr {lr:g}"
            if standing.method.decay == "decoupled":
                label += " (drawn at λ·η)"
            cells.sort(key=lambda cell: cell.drawn_at)
            means = [cell.mean for cell in cells]
            places = [cell.drawn_at or zero * nudge for cell in cells]
            bars = [cell.std or 0.0 for cell in cells]
            with_bars(axes, places, means, bars, plain(label), style, first=int(cells[0].drawn_at == 0))
            lowest += means
            if standing.best in cells:
                ring(axes, standing.best.drawn_at or zero * nudge, standing.best.mean, style["color"])
        axes.set_xscale("log")
        if not positive:
            axes.set_xlim(zero / 10, zero * 10)
        decay_ticks(axes, positive, zero if has_zero else None)
        error_scale(axes, lowest)
        axes.set_xlabel(
            "weight decay λ  (λ·η where the legend says so)" if _any_decoupled(comparison) else "weight decay λ"
        )
        axes.set_ylabel(axis_title(f"{comparison.metric.name} at the last epoch", comparison.metric))
        axes.set_title(f"{comparison.metric.name.capitalize()} against weight decay")
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=columns_for(labels))
        return figure


def _any_decoupled(comparison: Comparison) -> bool:
    return any(standing.method.decay == "decoupled" for standing in comparison.standings)
