"""Axes that a person can read: plain numbers on logarithmic scales, and a place for λ = 0 on one."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter


def decay_ticks(axes: Axes, positive: list[float], zero: float | None) -> None:
    """Label a logarithmic axis of λ; λ = 0 has its own place, at ``zero``, beyond a break."""
    ticks, minor = log_ticks(sorted(set(positive)))
    names = {tick: f"{tick:g}" for tick in ticks}
    if zero is not None:
        names[zero] = "0"
        if positive:  # where the axis is broken
            axes.axvline(zero * math.sqrt(5) * 1.1, color="#8c8c8c", linewidth=0.8, linestyle=(0, (2, 3)), zorder=0)
    places = sorted(names)
    axes.xaxis.set_major_locator(FixedLocator(places))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: nearest(value, names)))
    axes.xaxis.set_minor_locator(FixedLocator(minor))
    axes.xaxis.set_minor_formatter(NullFormatter())


def log_ticks(values: list[float]) -> tuple[list[float], list[float]]:
    """Return labelled and bare ticks: decades, or the values themselves where those span less than two."""
    if not values or values[-1] < 100 * values[0]:
        return values, []
    powers = range(math.floor(math.log10(values[0])), math.ceil(math.log10(values[-1])) + 1)
    # 0.7: a first value just above a decade still gets its label
    inside = [10.0**power for power in powers if 0.7 * values[0] <= 10.0**power <= values[-1] / 0.7]
    bare = [digit * 10.0**power for power in powers for digit in range(2, 10)]
    return inside, [tick for tick in bare if values[0] <= tick <= values[-1]]


def nearest(value: float, names: dict[float, str]) -> str:
    """Return the name of the tick at that value, or nothing."""
    return next((text for tick, text in names.items() if math.isclose(tick, value, rel_tol=1e-6)), "")


def error_scale(axes: Axes, values: Sequence[float]) -> None:
    """Use a logarithmic axis where some errors are many times others: 4 % and 90 % (guessing) are both seen."""
    low, high = min(values, default=1.0), max(values, default=1.0)
    if high <= 3 * low:
        return
    if low > 0:
        axes.set_yscale("log")
        axes.set_ylim(bottom=max(axes.get_ylim()[0], 0.6 * low))  # a bar that nearly reaches 0 is cut, not the rest
    else:
        axes.set_yscale("symlog", linthresh=1)
    plain_ticks(axes.yaxis)


def plain_ticks(axis: Axis) -> None:
    """Write 2, 5, 10, 20 and not 2 × 10⁰; on both sides of 0, where the axis has both."""
    low, high = axis.get_view_interval()
    ratio = high / low if low > 0 else max(-low, high)  # a scale with 0 is linear up to about 1
    digits = (1, 1.5, 2, 3, 4, 5, 6, 8) if ratio < 10 else (1, 2, 3, 5, 7) if ratio < 60 else (1, 2, 5)
    digits = digits if low > 0 else (1, 2, 5)
    if 1 < ratio < 2.5:  # too few of those fit
        axis.set_major_locator(MaxNLocator(4))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
        return
    values = [digit * 10.0**power for power in range(-9, 7) for digit in (digits if ratio < 1e4 else (1,))]
    if low <= 0:
        above = [value for value in values if value >= 1]
        values = [*(-value for value in reversed(above)), 0.0, *above]
    axis.set_major_locator(FixedLocator([value for value in values if low <= value <= high]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))
    axis.set_minor_formatter(NullFormatter())
