"""Shapes drawn with Matplotlib, which is imported when a picture is asked for, and not before."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightdecay.schedule.parse import parse
from weightdecay.schedule.shape import Shape, length_of, rates_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, RATE = "#0072B2", "#8C8C8C"

LR = "warmup(0.05, cosine)"
"""The learning rate beside which the pictures of the documentation are drawn."""

SHOWN = (
    "constant",
    "linear(1, 0)",
    "cosine",
    "rise(0.1, 1)",
    "steps({0.4: 0.5, 0.8: 0.1})",
    "hold_drop(0.4, 0.65)",
    "sawtooth(0.65, 1, period=0.2)",
    "log_time(0.1)",
    "follow(2)",
    "anti_phase(0.65, 1)",
    "warmup(0.1, cosine)",
    "sequence(constant, linear(1, 0.65), sawtooth(0.65, 1.5, period=0.25), at=(0.4, 0.6))",
)


def draw(shape: Shape, to: Any, total_steps: int, lr: Any) -> Axes:
    """Draw one shape into a file (a path) or into Matplotlib's axes; return the axes."""
    total = length_of(total_steps)
    values, rates = shape.values(total, lr), rates_of(lr, total)
    path = Path(to) if isinstance(to, (str, os.PathLike)) else None
    figure = None
    if path is None:
        axes = to
    else:
        figure = _figure((5.0, 3.0))
        axes = figure.subplots()
    if rates is not None:
        axes.step(range(total), [rate / (max(rates) or 1.0) for rate in rates], "--", where="post", color=RATE, lw=1)
    axes.step(range(total), values, where="post", color=INK)
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, total)
    axes.set_title(str(shape), loc="left", fontsize="small")
    axes.set_xlabel("step")
    axes.set_ylabel("λ" if shape.replaces else "λ / λ of the group")
    if figure is not None:
        figure.savefig(path, dpi=150)
    return axes  # type: ignore[no-any-return]


def gallery(path: Any, shapes: tuple[str, ...] = SHOWN, lr: str = LR) -> None:
    """Draw several shapes into one file; those that read the lr with it, as a broken line."""
    columns = 3
    rows = -(-len(shapes) // columns)
    figure = _figure((3.4 * columns, 2.1 * rows))
    grid = figure.subplots(rows, columns, squeeze=False)
    for i, axes in enumerate(grid.flat):
        if i >= len(shapes):
            axes.set_axis_off()
            continue
        shape = parse(shapes[i])
        draw(shape, axes, 1000, lr if "lr" in shape.needs else None)
        axes.set_title(shapes[i].replace(", sawtooth", ",\nsawtooth"), loc="left", fontsize=8)
        axes.set(xlabel="step" if i // columns == rows - 1 else "", ylabel="λ/λ₀" if i % columns == 0 else "")
        axes.set_ylim(0, 1.6 if max(shape.values(1000, lr)) > 1.2 else 1.1)
    figure.savefig(path, dpi=110)


def _figure(size: tuple[float, float]) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            'a picture needs matplotlib, which is not installed. Install the extra: pip install "weightdecay[lab]".',
            name="matplotlib",
        ) from error
    return Figure(size, layout="constrained")
