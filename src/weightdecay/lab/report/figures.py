"""The two figures of a comparison, as matplotlib figures, as files, and as SVG to be inlined in a page."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter

from weightdecay.lab.run import Metric, Result
from weightdecay.lab.statistics import Cell, Comparison

INK = "#1b1f24"
"""Text and axes. The inlined SVG draws this colour as ``currentColor``, so that it follows the page, dark or light."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C")
"""Okabe and Ito's colours without yellow and black, which one of the two backgrounds would hide; and a grey."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", (0, (5, 2)), (0, (1, 1.4)))

STYLE: dict[Any, Any] = {
    "text.usetex": False,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "font.size": 10.5,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#8c8c8c",
    "grid.alpha": 0.25,
    "grid.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "legend.handlelength": 2.8,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.5,
    "svg.fonttype": "path",  # the same letters on every machine, and none to fetch
    "svg.hashsalt": "weightdecay",  # the same numbers give the same file
    "figure.dpi": 100,
}


@contextmanager
def styled() -> Iterator[None]:
    """Draw in the style of all figures here: inside this, and when saving."""
    with mpl.rc_context(STYLE):
        yield


def look(position: int) -> dict[str, Any]:
    """Return colour, marker and dash of the optimizer at that position: no two alike among 21."""
    turn, place = divmod(position, len(COLOURS))
    marker = MARKERS[(place + 3 * turn) % len(MARKERS)]
    return {"color": COLOURS[place], "marker": marker, "linestyle": DASHES[turn % len(DASHES)]}


def looks(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """Return the look of every optimizer: by its place in the settings, so that it is the same in all figures."""
    names = dict.fromkeys(cell.point.curve for cell in comparison.cells)
    return {name: look(position) for position, name in enumerate(names)}


def learning_curves(comparison: Comparison) -> Figure:
    """Draw test error and training loss by epoch, at each optimizer's best λ: mean over seeds, min to max shaded."""
    with styled():
        rows = math.ceil(len(comparison.standings) / 3)
        figure = Figure(figsize=(7.0, 6.9 + 0.22 * rows), layout="constrained")
        error_axes, loss_axes = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        lines = looks(comparison)
        errors: list[float] = []
        for standing in comparison.standings:
            style = {**lines[standing.optimizer], "marker": ""}
            label = _plain(f"{standing.title}  λ = {standing.best.point.weight_decay:.2g}")
            errors += _curve(error_axes, standing.best.results, "test", label, style)
            _curve(loss_axes, standing.best.results, "train_loss", label, style)
        _error_scale(error_axes, errors)
        error_axes.set_ylabel(axis_title(comparison.metric.name, comparison.metric))
        error_axes.set_title("Learning curves, each optimizer at its best weight decay")
        handles, labels = error_axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=columns_for(labels))
        loss_axes.set_yscale("log")
        _plain_ticks(loss_axes.yaxis)
        loss_axes.set_ylabel("training loss")
        loss_axes.set_xlabel("epoch")
        loss_axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        loss_axes.set_xlim(0, comparison.question.epochs + 0.5)
        _mark_lr_drops(error_axes, loss_axes, comparison)
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
            _decay_curve(axes, cells, zero * nudge, _plain(label), style)
            lowest += [cell.mean for cell in cells]
            if standing.best in cells:
                best = standing.best
                axes.plot(
                    best.drawn_at or zero * nudge, best.mean, "o", markersize=13, markeredgewidth=1.6,
                    markerfacecolor="none", markeredgecolor=style["color"], zorder=5,
                )  # fmt: skip
        axes.set_xscale("log")
        if not positive:
            axes.set_xlim(zero / 10, zero * 10)
        _decay_ticks(axes, positive, zero if has_zero else None)
        _error_scale(axes, lowest)
        axes.set_xlabel(
            "weight decay λ  (λ·η where the legend says so)" if _any_decoupled(comparison) else "weight decay λ"
        )
        axes.set_ylabel(axis_title(f"{comparison.metric.name} at the last epoch", comparison.metric))
        axes.set_title(f"{comparison.metric.name.capitalize()} against weight decay")
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=columns_for(labels))
        return figure


def columns_for(labels: Sequence[str]) -> int:
    """Return how many columns of a legend fit below a figure of seven inches."""
    longest = max(map(len, labels), default=0)
    return next((columns for columns, most in ((3, 22), (2, 40)) if longest <= most), 1)


def axis_title(text: str, metric: Metric) -> str:
    """Return the text with the metric's unit behind it."""
    return f"{text}, {metric.unit}" if metric.unit else text


def save(figure: Figure, folder: Path, name: str) -> tuple[Path, Path]:
    """Write ``name.png`` and ``name.svg`` into the folder, on white; return both paths."""
    png, svg = folder / f"{name}.png", folder / f"{name}.svg"
    with styled():
        figure.savefig(png, dpi=160, facecolor="white", metadata={"Software": None})
    svg.write_text(_svg(figure, facecolor="white"), encoding="utf-8")
    return png, svg


def inline(figure: Figure, name: str) -> str:
    """Return the figure as an ``<svg>`` element that follows the page's colour and width, without its title.

    ``name`` is put before every id, because several figures share one page.
    """
    for axes in figure.axes:
        axes.set_title("", loc="left")  # the page has its own headings
        axes.patch.set_visible(False)
    text = _svg(figure, facecolor="none")
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r'\b(id|clip-path|(?:xlink:)?href)="(url\()?(#?)', rf'\1="\2\3{name}-', text)
    text = re.sub(r"url\(#(?!" + re.escape(name) + "-)", f"url(#{name}-", text)
    # The width and height in points would win over the page's style; the viewBox keeps the shape.
    return re.sub(r'(<svg\b[^>]*?)\s+height="[^"]*"|(<svg\b[^>]*?)\s+width="[^"]*"', r"\1\2", text, count=1)


def _svg(figure: Figure, facecolor: str) -> str:
    """Return the file's text without the doctype and the metadata: they name addresses, and a figure needs none."""
    buffer = io.StringIO()
    with styled():
        figure.savefig(
            buffer,
            format="svg",
            facecolor=facecolor,
            metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")),
        )
    text = re.sub(r"<!DOCTYPE.*?>\s*", "", buffer.getvalue(), flags=re.DOTALL)
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    return re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)


def _curve(axes: Axes, results: Sequence[Result], quantity: str, label: str, style: dict[str, Any]) -> list[float]:
    """Draw mean and min–max over the seeds that reached each epoch; return the means."""
    by_epoch: dict[int, list[float]] = {}
    for result in results:
        for epoch in result.epochs:
            value = getattr(epoch, quantity)
            if value is not None and math.isfinite(value):
                by_epoch.setdefault(epoch.epoch, []).append(value)
    epochs = sorted(by_epoch)
    means = [sum(by_epoch[epoch]) / len(by_epoch[epoch]) for epoch in epochs]
    axes.plot(epochs, means, label=label, **style)
    if len(results) > 1:
        low = [min(by_epoch[epoch]) for epoch in epochs]
        high = [max(by_epoch[epoch]) for epoch in epochs]
        axes.fill_between(epochs, low, high, color=style["color"], alpha=0.16, linewidth=0)
    return means


def _decay_curve(axes: Axes, cells: list[Cell], zero: float, label: str, style: dict[str, Any]) -> None:
    cells = sorted(cells, key=lambda cell: cell.drawn_at)
    places = [cell.drawn_at or zero for cell in cells]
    bars = [cell.std or 0.0 for cell in cells]
    first = 1 if cells[0].point.weight_decay == 0 else 0
    # A bar that reaches 0 has no lower end on a logarithmic axis: end it at a tenth of the point.
    down = [min(bar, 0.9 * cell.mean) for bar, cell in zip(bars, cells, strict=True)]
    axes.errorbar(
        places,
        [cell.mean for cell in cells],
        yerr=(down, bars),
        capsize=2.5,
        elinewidth=1.1,
        **{**style, "linestyle": "none"},
    )
    axes.plot(places[first:], [cell.mean for cell in cells[first:]], label=label, **style)
    if first and len(cells) > 1:
        thin = {**style, "marker": "", "linestyle": ":", "linewidth": 1.0}
        axes.plot(places[:2], [cell.mean for cell in cells[:2]], **thin)


def _decay_ticks(axes: Axes, positive: list[float], zero: float | None) -> None:
    ticks, minor = _log_ticks(sorted(set(positive)))
    names = {tick: f"{tick:g}" for tick in ticks}
    if zero is not None:
        names[zero] = "0"
        if positive:  # where the axis is broken
            axes.axvline(zero * math.sqrt(5) * 1.1, color="#8c8c8c", linewidth=0.8, linestyle=(0, (2, 3)), zorder=0)
    places = sorted(names)
    axes.xaxis.set_major_locator(FixedLocator(places))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _nearest(value, names)))
    axes.xaxis.set_minor_locator(FixedLocator(minor))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _log_ticks(values: list[float]) -> tuple[list[float], list[float]]:
    """Return labelled and bare ticks: decades, or the values themselves where those span less than two."""
    if not values or values[-1] < 100 * values[0]:
        return values, []
    powers = range(math.floor(math.log10(values[0])), math.ceil(math.log10(values[-1])) + 1)
    # 0.7: a first value just above a decade still gets its label
    inside = [10.0**power for power in powers if 0.7 * values[0] <= 10.0**power <= values[-1] / 0.7]
    bare = [digit * 10.0**power for power in powers for digit in range(2, 10)]
    return inside, [tick for tick in bare if values[0] <= tick <= values[-1]]


def _nearest(value: float, names: dict[float, str]) -> str:
    return next((text for tick, text in names.items() if math.isclose(tick, value, rel_tol=1e-6)), "")


def _error_scale(axes: Axes, values: Sequence[float]) -> None:
    """Use a logarithmic axis where some errors are many times others: 4 % and 90 % (guessing) are both seen."""
    low, high = min(values, default=1.0), max(values, default=1.0)
    if high <= 3 * low:
        return
    if low > 0:
        axes.set_yscale("log")
        axes.set_ylim(bottom=max(axes.get_ylim()[0], 0.6 * low))  # a bar that nearly reaches 0 is cut, not the rest
    else:
        axes.set_yscale("symlog", linthresh=1)
    _plain_ticks(axes.yaxis)


def _plain_ticks(axis: Axis) -> None:
    """Write 2, 5, 10, 20 and not 2 × 10⁰."""
    low, high = axis.get_view_interval()
    ratio = high / low if low > 0 else math.inf
    digits = (1, 1.5, 2, 3, 4, 5, 6, 8) if ratio < 10 else (1, 2, 3, 5, 7) if ratio < 60 else (1, 2, 5)
    if 1 < ratio < 2.5:  # too few of those fit
        axis.set_major_locator(MaxNLocator(4))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
        return
    values = [digit * 10.0**power for power in range(-9, 7) for digit in (digits if ratio < 1e4 else (1,))]
    if low <= 0:
        values = [0.0, *(value for value in values if value >= 1)]
    axis.set_major_locator(FixedLocator([value for value in values if low <= value <= high]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _mark_lr_drops(upper: Axes, lower: Axes, comparison: Comparison) -> None:
    run, *others = [result.run for result in comparison.results]
    shape = (run.schedule, run.milestones, run.lr_factor, run.epochs)
    if run.schedule != "step" or any((o.schedule, o.milestones, o.lr_factor, o.epochs) != shape for o in others):
        return
    for milestone in run.milestones:
        # The epoch whose steps are the first with the lower lr begins where this one ends.
        place = round(milestone * run.epochs) + 0.5
        if place >= run.epochs:
            continue
        for axes in (upper, lower):
            axes.axvline(place, color="#8c8c8c", linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
        lower.annotate(
            f"lr × {run.lr_factor:g}",
            (place, 1), (4, -3), xycoords=("data", "axes fraction"), textcoords="offset points",
            va="top", fontsize=9,
        )  # fmt: skip


def _any_decoupled(comparison: Comparison) -> bool:
    return any(standing.method.decay == "decoupled" for standing in comparison.standings)


def _plain(label: str) -> str:
    """Return the label as a legend shows it: one that begins with an underscore would be left out."""
    return label.lstrip("_")
