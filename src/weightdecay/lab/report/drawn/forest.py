"""Differences to a reference, an arm a line, with the intervals that decide."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from weightdecay.lab.referee.answer import Answer, Standing
from weightdecay.lab.report.drawn.canvas import Canvas, Picture
from weightdecay.lab.report.figures import COLOURS, INK, styled

LOOKS = {
    "better": COLOURS[2],
    "worse": COLOURS[1],
    "practically equal": COLOURS[0],
    "undecided": COLOURS[6],
}


def draw(answer: Answer) -> Picture:
    """Draw each arm that has a ruling: its difference to the reference with the interval, and the margin as a band."""
    shown = [(one, one.ruling, interval) for one in answer.standings if one.ruling and (interval := _finite(one))]
    with styled():
        canvas = Canvas(Figure(figsize=(7.0, 1.3 + 0.32 * max(len(shown), 1)), layout="constrained"))
        axes = canvas.figure.subplots()
        axes.axvspan(-answer.margin, answer.margin, color="#8c8c8c", alpha=0.18, lw=0)
        axes.axvline(0, color=INK, lw=0.8)
        for place, (one, ruling, (low, high)) in enumerate(shown):
            colour = LOOKS[ruling.verdict]
            axes.plot([low, high], [place, place], color=colour, lw=2.2, solid_capstyle="butt")
            axes.plot([ruling.mean], [place], "o", color=colour, ms=6)
            said = f"{one.arm.title}: {ruling.mean:+.2f} [{low:+.2f}, {high:+.2f}], {ruling.verdict}"
            canvas.spot(axes, ruling.mean, place, said.replace("-", "−"), place)
        axes.set_yticks(range(len(shown)), [one.arm.title for one, *_ in shown])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        unit = "perplexity, %" if answer.task.of_text else "test error, points"
        axes.set_xlabel(f"{unit}, minus that of decoupled decay")
        title = f"{answer.task.name}: each decay at its best lr and λ, against decoupled decay"
        axes.set_title(title)
        seeds = len(answer.standings[0].judged) if answer.standings else 0
        return canvas.done(
            title,
            f"Mean difference over {seeds} seeds and its interval; left of 0 is better. The grey band holds the "
            "differences that do not matter.",
        )


def _finite(one: Standing) -> tuple[float, float] | None:
    """Return the interval of an arm that has one, with ends that can be drawn."""
    interval = one.ruling.interval if one.ruling else None
    return interval if interval and all(map(math.isfinite, interval)) else None
