"""Shapes that jump: a table of steps, and the hold with one drop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from weightdecay.checks import NON_NEGATIVE, checked
from weightdecay.schedule.shape import Moment, Number, Shape, Time, time_of


@dataclass(frozen=True)
class Steps(Shape):
    """A table: from each time on the factor beside it, and 1 before the first.

    Units: times, as everywhere: ``{0.4: 0.65, 0.8: 0.1}`` counts in fractions of the training, ``{4000: 0.65}`` in
    steps; fractions are rounded to whole steps. Of two entries that have come, the later in time holds.

    >>> Steps({0.5: 0.1}).values(4)
    [1.0, 1.0, 0.1, 0.1]
    """

    table: Any

    def __post_init__(self) -> None:
        where, table = type(self).__name__, self.table
        try:
            pairs = list(table.items() if isinstance(table, Mapping) else table)
            rows = tuple(
                (time_of(at, "a time", where), checked("a factor", to, NON_NEGATIVE, where)) for at, to in pairs
            )
        except (TypeError, ValueError) as error:
            raise type(error)(f"Steps takes a table of time: factor, as in {{0.4: 0.65, 0.8: 0.1}}. {error}") from error
        object.__setattr__(self, "table", rows)

    @property
    def needs(self) -> frozenset[str]:
        """The length of the training, where a time is a fraction."""
        return frozenset({"total_steps"} if any(isinstance(at, float) for at, _ in self.table) else ())

    def multiplier(self, now: Moment) -> Number:
        """Return the factor of the last entry that has come."""
        come = [(now.steps(at), i, to) for i, (at, to) in enumerate(self.table) if now.step >= now.steps(at)]
        return max(come)[2] if come else 1.0

    def __repr__(self) -> str:
        return f"Steps({dict(self.table)!r})"

    def __str__(self) -> str:
        return f"steps({dict(self.table)!r})"


@dataclass(frozen=True)
class HoldDrop(Shape):
    """1 until ``at``, ``to`` from then on."""

    at: Time
    to: float

    ranges: ClassVar = {"to": NON_NEGATIVE}
    times = ("at",)

    def multiplier(self, now: Moment) -> Number:
        """Return 1 or ``to``."""
        return self.to if now.step >= now.steps(self.at) else 1.0
