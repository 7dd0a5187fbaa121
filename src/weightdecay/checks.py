"""What a user may pass: numbers and their ranges, modes, and the nearest name to one that is not known. No torch."""

from __future__ import annotations

import difflib
import functools
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

# ---------------------------------------------------------------- names


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'adams'?"``, or nothing where no known name is near."""
    near = difflib.get_close_matches(str(name).lower(), sorted(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the message for a name that is not among the known ones, with the nearest that is.

    >>> unknown("optimizer", "adms", ["adam", "adams", "sgd"])
    "no optimizer is called 'adms'. Did you mean 'adams'? Known: adam, adams, sgd."
    """
    known = sorted(known)
    return f"no {kind} is called {name!r}.{nearest(name, known)} Known: {', '.join(known)}."


@functools.lru_cache(maxsize=4096)
def slip(name: str, options: tuple[str, ...]) -> str | None:
    """Return the option that ``name`` looks like a misspelling of: one or two edits away, or in another case.

    Short names have too many neighbours: up to three letters only the case may differ, up to five one edit.

    >>> slip("weight_decy", ("lr", "weight_decay")), slip("no_weight_decay", ("lr", "weight_decay"))
    ('weight_decay', None)
    """
    for option in options:
        allowed = 0 if len(option) <= 3 else 1 if len(option) <= 5 else 2
        if name != option and _edits(name.lower(), option) <= allowed:
            return option
    return None


def _edits(one: str, other: str) -> int:
    """How many letters must be added, removed, replaced or swapped with their neighbour (optimal string alignment)."""
    if abs(len(one) - len(other)) > 2:
        return 3
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, start=1):
        older, before, row = before, row, [i]
        for j, b in enumerate(other, start=1):
            least = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                least = min(least, older[j - 2] + 1)
            row.append(least)
    return row[-1]


def check_mode(option: str, value: str, known: Iterable[str]) -> None:
    """Raise ValueError for a mode that does not exist."""
    if value not in known:
        raise ValueError(f"{option}={value!r}: {unknown(f'{option} mode', str(value), known)}")


# ---------------------------------------------------------------- numbers


def is_tensor(value: Any) -> bool:
    """Whether it is a tensor of torch; false without a question where torch was never imported."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def plain(value: Any) -> Any:
    """Return NumPy's scalars (and arrays of one element) as Python's numbers, also inside lists, tuples and dicts.

    Everything else is returned as it is, tensors among it: a checkpoint loads them with ``weights_only=True``.
    """
    kind = type(value)
    if kind in (int, float, bool, str) or value is None or is_tensor(value):
        return value
    if kind in (list, tuple):
        return kind(map(plain, value))
    if kind is dict:
        return {plain(name): plain(each) for name, each in value.items()}
    if kind.__module__.partition(".")[0] == "numpy" and hasattr(value, "item") and getattr(value, "size", 0) == 1:
        return value.item()
    if isinstance(value, bool):
        return bool(value)
    if isinstance(value, int):
        return int(value)
    return float(value) if isinstance(value, float) else value


def number(value: Any, name: str, where: str) -> float | Tensor:
    """Return a number as a Python float; a tensor of one element as it is.

    Numbers are Python's and NumPy's integers and floats, fractions, and arrays and tensors of one element.

    Raises: TypeError, for what is no number (a bool, a text, a complex number, None); ValueError, for a vector.
    """
    if is_tensor(value):
        if value.numel() != 1:
            raise ValueError(f"{name} in {where} is a tensor of {value.numel()} elements; one is expected.")
        if value.is_complex() or str(value.dtype) == "torch.bool":
            raise TypeError(f"{name}={value!r} in {where} is not a number, but {value.dtype}.")
        return value  # type: ignore[no-any-return]
    value = plain(value)
    if getattr(value, "size", 1) != 1:
        raise ValueError(f"{name} in {where} is an array of {value.size} elements; one is expected.")
    if isinstance(value, (bool, complex, str)) or not hasattr(value, "__float__"):
        raise TypeError(f"{name}={value!r} in {where} is not a number.")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name}={value!r} in {where} is too large for a number of 64 bits.") from None
    except (TypeError, ValueError):
        raise TypeError(f"{name}={value!r} in {where} is not a number.") from None


def whole(value: Any, name: str, where: str) -> int:
    """Return a whole number as a Python int. Raises: TypeError, for anything else."""
    given = value.item() if is_tensor(value) and value.numel() == 1 else plain(value)
    if isinstance(given, bool) or not isinstance(given, int):
        raise TypeError(f"{name}={value!r} in {where} is not a whole number.")
    return given


def flag(value: Any, name: str, where: str) -> bool:
    """Return True or False, given as such or as 0 or 1. Raises: TypeError, for anything else."""
    given = plain(value)
    if not isinstance(given, (bool, int)) or given not in (0, 1):
        raise TypeError(f"{name}={value!r} in {where} must be True or False.")
    return bool(given)


# ---------------------------------------------------------------- ranges


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

MAY_BE_TENSORS = ("lr", "weight_decay")
"""Hyper-parameters that a user may keep as a tensor, to change them in a captured graph."""


def check_ranges(group: Mapping[str, Any], ranges: Ranges, where: str) -> None:
    """Raise ValueError (TypeError for what is not a number) for the first hyper-parameter outside its range."""
    for name, allowed in ranges.items():
        checked(name, group[name], allowed, where)


def checked(name: str, value: Any, allowed: Interval | tuple[Interval, ...], where: str) -> Any:
    """Return the value as plain numbers: a float, or a tuple of floats; λ and lr given as tensors stay tensors.

    Raises: TypeError, for what is not a number; ValueError, for a number outside its range, or too few or too many.
    """
    if isinstance(allowed, Interval):
        return _checked(name, value, allowed, where)
    try:
        if isinstance(value, (str, dict, set)):
            raise TypeError
        values = list(value)
    except TypeError:  # also of a tensor or an array without dimensions
        values = []
    if len(values) != len(allowed):
        raise ValueError(f"{name}={value!r} in {where}: expected {len(allowed)} numbers.")
    pairs = enumerate(zip(values, allowed, strict=True))
    return tuple(_checked(f"{name}[{i}]", each, interval, where) for i, (each, interval) in pairs)


def _checked(name: str, value: Any, allowed: Interval, where: str) -> Any:
    given = number(value, name, where)
    if (size := float(given)) not in allowed:
        raise ValueError(f"{name}={size:g} in {where} is outside {allowed}.")
    return given if name in MAY_BE_TENSORS else size


def at_least(setting: str, value: Any, least: float, hint: str) -> None:
    """Refuse a setting that is no finite number of at least ``least``. Raises: ValueError, which ends with the hint."""
    if type(value) not in (int, float) or not least <= value < math.inf:
        raise ValueError(f"{_as_written(setting, value)}: must be a number of at least {least:g}. {hint}")


def whole_at_least(setting: str, value: Any, least: int, hint: str) -> None:
    """Refuse a setting that is no whole number of at least ``least``, as :func:`at_least` does."""
    if type(value) is not int or value < least:  # not isinstance: True is an int
        raise ValueError(f"{_as_written(setting, value)}: must be an integer of at least {least}. {hint}")


def some_text(setting: str, value: Any, hint: str) -> None:
    """Refuse a setting that is no string with something in it. Raises: ValueError, which ends with the hint."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"{_as_written(setting, value)}: must be a text. {hint}")


def _as_written(setting: str, value: Any) -> str:
    """As on a command line, or as in Python."""
    return f"{setting} {value}" if setting.startswith("--") else f"{setting}={value!r}"


def softly(value: Any, allowed: Interval | tuple[Interval, ...], name: str = "") -> Any:
    """Return what :func:`checked` would make of a value in range; the value itself where it is no number."""
    anything = Interval(-math.inf)
    wide = anything if isinstance(allowed, Interval) else (anything,) * len(allowed)
    try:
        return checked(name, value, wide, "")
    except (TypeError, ValueError):
        return value
