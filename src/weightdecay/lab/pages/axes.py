"""Logarithmic axes that write their numbers as they are typed: no formula is drawn in this house's figures."""

from __future__ import annotations

from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter


def decades(axis: Axis, most: int = 8, between: bool = False) -> None:
    """Label at most that many powers of ten as 0.01, 1 and 1e-05; with ``between``, two and five of each too."""
    axis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0) if between else (1.0,), numticks=most))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if value < 1e3 else f"{value:,.0f}"))
    axis.set_minor_formatter(NullFormatter())
