"""Which values a hyper-parameter may take, and what is said when it does not."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Interval:
    """Numbers from low to high; NaN is in no interval. The upper end is always open, so infinity is never inside."""

    low: float
    high: float = math.inf
    open_low: bool = False

    def __contains__(self, value: float) -> bool:
        return (self.low < value if self.open_low else self.low <= value) and value < self.high

    def __str__(self) -> str:
        return f"{'(' if self.open_low else '['}{self.low:g}, {self.high:g})"


NON_NEGATIVE = Interval(0)
POSITIVE = Interval(0, open_low=True)
FRACTION = Interval(0, 1)

Ranges = Mapping[str, Interval | tuple[Interval, ...]]


def check_ranges(group: Mapping[str, Any], ranges: Ranges, where: str) -> None:
    """Raise ValueError (TypeError for what is not a number) for the first hyper-parameter outside its range."""
    for name, allowed in ranges.items():
        if isinstance(allowed, Interval):
            _check(name, group[name], allowed, where)
            continue
        values = group[name]
        if not isinstance(values, (tuple, list)) or len(values) != len(allowed):
            raise ValueError(f"{name}={values!r} in {where}: expected {len(allowed)} numbers.")
        for i, (value, interval) in enumerate(zip(values, allowed, strict=True)):
            _check(f"{name}[{i}]", value, interval, where)


def _check(name: str, value: Any, allowed: Interval, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float, Tensor)):
        raise TypeError(f"{name}={value!r} in {where} is not a number.")
    if isinstance(value, Tensor) and value.numel() != 1:
        raise ValueError(f"{name} in {where} is a tensor of {value.numel()} elements; one is expected.")
    if float(value) not in allowed:
        raise ValueError(f"{name}={float(value):g} in {where} is outside {allowed}.")


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the message for a name that is not among the known ones, with the nearest that is."""
    known = sorted(known)
    near = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"no {kind} is called {name!r}.{hint} Known: {', '.join(known)}."
