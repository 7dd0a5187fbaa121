"""A line chart as inline SVG: narrow enough to be read on a phone, in the page's own colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 52, 8, 8, 30
COLOURS = 8


@dataclass(frozen=True)
class Line:
    """Points (step, value); NaN and values that an axis cannot show leave a gap. ``dashed``: a prediction."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: int = 0
    dashed: bool = False


def chart(lines: Sequence[Line], label: str, log: bool = True) -> str:
    """Return the SVG. ``label`` says to a screen reader what is drawn."""
    shown = [(line, [(x, y) for x, y in line.points if math.isfinite(y) and (y > 0 or not log)]) for line in lines]
    shown = [(line, points) for line, points in shown if points]
    if not shown:
        return ""
    xs = [x for _, points in shown for x, _ in points]
    ys = [math.log10(y) if log else y for _, points in shown for _, y in points]
    left, right, low, high = min(xs), max(xs), min(ys), max(ys)
    pad = (high - low) * 0.06 or (0.15 if log else abs(high) * 0.1 or 1.0)
    low, high, right = low - pad, high + pad, right if right > left else left + 1

    def place(x: float, y: float) -> tuple[float, float]:
        up = ((math.log10(y) if log else y) - low) / (high - low)
        along = (x - left) / (right - left)
        return LEFT + along * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">']
    for value in ticks(low, high, log):
        _, y = place(left, value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{tick(value)}</text>')
    for x, anchor in ((left, "start"), (right, "end")):
        at, _ = place(x, 10**low if log else low)
        text = f"step {x:,.0f}" if anchor == "start" else f"{x:,.0f}"
        parts.append(f'<text x="{at:.1f}" y="{HEIGHT - 10}" text-anchor="{anchor}">{text}</text>')
    for line, points in shown:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
        kind = f"c{line.colour % COLOURS}" + (" dashed" if line.dashed else "")
        curve = f'class="{kind}" data-curve="{line.colour}"'
        if len(points) == 1:
            x, y = place(*points[0])
            parts.append(f'<circle {curve} cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
        parts.append(f'<polyline {curve} points="{path}"><title>{escape(line.name)}</title></polyline>')
    return "".join([*parts, "</svg>"])


def ticks(low: float, high: float, log: bool) -> list[float]:
    """Return three to six round values between the ends (of log10, on a logarithmic axis)."""
    if log:
        for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.2, 1.5, 2, 3, 5, 7)):
            found = [
                s * 10.0**e for e in range(math.floor(low), math.ceil(high) + 1) for s in steps
                if low <= math.log10(s) + e <= high
            ]  # fmt: skip
            if len(found) >= 3:
                return found[:: -(-len(found) // 6)]
        low, high = 10**low, 10**high
    raw = (high - low) / 4
    scale = 10.0 ** math.floor(math.log10(raw))
    step = next(s * scale for s in (1, 2, 5, 10) if s * scale >= raw)
    first = math.ceil(low / step)
    return [i * step for i in range(first, math.floor(high / step) + 1)]


def tick(value: float) -> str:
    """Return a short text of a tick."""
    return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e").replace("-", "−")
