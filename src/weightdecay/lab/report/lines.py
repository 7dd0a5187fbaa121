"""The lines that all figures share: by epoch with a band, and against a place on an axis with bars."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from weightdecay.lab.run import Epoch, Result, Run
from weightdecay.lab.training.schedule import lr_at, weight_decay_at

Quantity = Callable[[Epoch], float | None]


@dataclass(frozen=True)
class Moment:
    """A quantity at one epoch, over the seeds that reached it with a finite number."""

    epoch: int
    mean: float
    low: float
    high: float


def moments(results: Sequence[Result], quantity: Quantity) -> list[Moment]:
    """Return the quantity by epoch; epochs where no seed has a finite number are left out."""
    found: dict[int, list[float]] = {}
    for result in results:
        for epoch in result.epochs:
            value = quantity(epoch)
            if value is not None and math.isfinite(value):
                found.setdefault(epoch.epoch, []).append(value)
    return [
        Moment(epoch, sum(values) / len(values), min(values), max(values)) for epoch, values in sorted(found.items())
    ]


def by_epoch(axes: Axes, drawn: Sequence[Moment], label: str, style: dict[str, Any]) -> None:
    """Draw the mean as a line, and the band from the lowest to the highest where there is one."""
    epochs = [one.epoch for one in drawn]
    if len(drawn) == 1:
        style = {**style, "marker": "o"}  # a line through one point shows nothing
    axes.plot(epochs, [one.mean for one in drawn], label=label, **style)
    if any(one.low < one.high for one in drawn):
        low, high = [one.low for one in drawn], [one.high for one in drawn]
        axes.fill_between(epochs, low, high, color=style["color"], alpha=0.16, linewidth=0)


def with_bars(
    axes: Axes, places: Sequence[float], means: Sequence[float], bars: Sequence[float], label: str,
    style: dict[str, Any], first: int = 0,
) -> None:  # fmt: skip
    """Draw points with bars and a line through them; the ``first`` of them stands apart, at the end of dots."""
    # A bar that reaches 0 has no lower end on a logarithmic axis: end it at a tenth of the point.
    down = [min(bar, 0.9 * mean) for bar, mean in zip(bars, means, strict=True)]
    axes.errorbar(places, means, yerr=(down, bars), capsize=2.5, elinewidth=1.1, **{**style, "linestyle": "none"})
    axes.plot(places[first:], means[first:], label=label, **style)
    if first and len(places) > 1:
        thin = {**style, "marker": "", "linestyle": ":", "linewidth": 1.0}
        axes.plot(places[:2], means[:2], **thin)


def ring(axes: Axes, place: float, mean: float, colour: str) -> None:
    """Mark a point as the best of its curve."""
    axes.plot(
        place, mean, "o", markersize=13, markeredgewidth=1.6, markerfacecolor="none", markeredgecolor=colour, zorder=5
    )


def diverged(axes: Axes, place: float, colour: str) -> None:
    """Put a cross at the top of the axes: there is no finite number at that place."""
    axes.plot(
        place, 0.98, "x", color=colour, markersize=7, markeredgewidth=1.8,
        transform=axes.get_xaxis_transform(), clip_on=False,
    )  # fmt: skip


def mark_lr_drops(upper: Axes, lower: Axes, runs: Iterable[Run]) -> None:
    """Draw where the lr drops, if it does so at the same epochs in all runs."""
    shapes = {(run.schedule, run.milestones, run.lr_factor, run.epochs) for run in runs}
    schedule, milestones, factor, epochs = next(iter(shapes))
    if schedule != "step" or len(shapes) > 1:
        return
    for milestone in milestones:
        # The epoch whose steps are the first with the lower lr begins where this one ends.
        place = round(milestone * epochs) + 0.5
        if place >= epochs:
            continue
        for axes in dict.fromkeys((upper, lower)):
            axes.axvline(place, color="#8c8c8c", linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
        lower.annotate(
            f"lr × {factor:g}",
            (place, 1), (4, -3), xycoords=("data", "axes fraction"), textcoords="offset points",
            va="top", fontsize=9,
        )  # fmt: skip


POINTS = 50
"""Points of an epoch at which λ and lr are drawn."""


def moves(runs: Iterable[Run]) -> bool:
    """Whether λ changes during some of the runs, so that a figure has a place for it."""
    return any(run.weight_decay_schedule for run in runs)


def over_training(axes: Axes, run: Run, style: dict[str, Any]) -> None:
    """Draw λ of a run over its epochs, and the lr behind it, each as a share of its largest value."""
    steps = range(run.epochs * POINTS)
    epochs = [step / POINTS for step in steps]
    rates = _shares([lr_at(run, step, POINTS) for step in steps])
    strengths = _shares([weight_decay_at(run, step, POINTS) for step in steps])
    axes.step(epochs, rates, where="post", color="#8c8c8c", linewidth=0.9, linestyle=(0, (4, 3)), label="_lr", zorder=0)
    axes.step(epochs, strengths, where="post", label="_λ", **style)
    axes.set_ylim(0, 1.08)
    axes.set_ylabel("λ / largest λ\n(dashed: lr)")


def _shares(values: list[float]) -> list[float]:
    return [value / (max(values) or 1.0) for value in values]
