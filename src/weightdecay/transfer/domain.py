"""Which numbers a rule can take, and what is said when it cannot."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable

WAYS_OUT = {
    "momentum": "SGD's usual one is 0.9; plain SGD has 0",
    "dampening": "torch's default is 0",
    "beta1": "Adam's default is 0.9",
    "beta2": "Adam's default is 0.999",
}


def number(name: str, value: float) -> float:
    """Return the value as a float. Raises: TypeError, for what is not a number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}={value!r} is not a number: rules take Python floats (of a tensor, its item()).")
    return float(value)


def positive(**values: float) -> None:
    """Refuse, with a ValueError, whatever is not a finite number above 0."""
    for name, value in values.items():
        if not 0 < number(name, value) < math.inf:
            raise ValueError(f"{name}={value:g}: the rules multiply and divide by it. Pass a finite number above 0.")


def non_negative(**values: float) -> None:
    """Refuse, with a ValueError, whatever is not a finite number, 0 or above."""
    for name, value in values.items():
        if not 0 <= number(name, value) < math.inf:
            raise ValueError(f"{name}={value:g} makes no sense as a strength. Pass a finite number, 0 or above.")


def below_one(**values: float) -> None:
    """Refuse, with a ValueError, whatever is not in [0, 1): a moving average with it would never forget."""
    for name, value in values.items():
        if not 0 <= number(name, value) < 1:
            hint = f" ({WAYS_OUT[name]})" if name in WAYS_OUT else ""
            raise ValueError(f"{name}={value:g} is outside [0, 1): from 1 on nothing is ever forgotten{hint}.")


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the message for a name that is not among the known ones, with the nearest that is."""
    known = sorted(known)
    near = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"no {kind} is called {name!r}.{hint} Known: {', '.join(known)}."
