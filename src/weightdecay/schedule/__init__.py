r"""λ over time: shapes as pure functions of the step, and a scheduler that writes them into any optimizer's groups.

.. math:: \lambda_t = \lambda\,f(t)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weightdecay.schedule.budget import Budget
from weightdecay.schedule.composed import Absolute, Product, Sequence, Warmup
from weightdecay.schedule.curves import Constant, Cosine, Linear, LogTime, Rise, Sawtooth
from weightdecay.schedule.following import AntiPhase, Follow, Following
from weightdecay.schedule.parse import parse
from weightdecay.schedule.plateau import Plateau
from weightdecay.schedule.shape import Function, Moment, Shape
from weightdecay.schedule.table import HoldDrop, Steps

if TYPE_CHECKING:
    from weightdecay.schedule.scheduler import Scheduler

__all__ = [
    "Absolute",
    "AntiPhase",
    "Budget",
    "Constant",
    "Cosine",
    "Follow",
    "Following",
    "Function",
    "HoldDrop",
    "Linear",
    "LogTime",
    "Moment",
    "Plateau",
    "Product",
    "Rise",
    "Sawtooth",
    "Scheduler",
    "Sequence",
    "Shape",
    "Steps",
    "Warmup",
    "parse",
]


def __getattr__(name: str) -> Any:
    """Import the scheduler when it is asked for: to read a shape from a text needs no torch."""
    if name != "Scheduler":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from weightdecay.schedule.scheduler import Scheduler

    return Scheduler
