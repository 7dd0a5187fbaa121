"""The numbers and names that a rule accepts, and the errors for all others."""

from __future__ import annotations

import difflib
import math
import reprlib
from collections.abc import Collection

WAYS_OUT = {
    "momentum": "SGD's usual one is 0.9; plain SGD has 0",
    "new_momentum": "SGD's usual one is 0.9; plain SGD has 0",
    "dampening": "torch's default is 0; torch accepts any number, but no rule holds below 0 and from 1 on",
    "beta1": "Adam's default is 0.9",
    "beta2": "Adam's default is 0.999",
}


def shown(value: object) -> str:
    """Return the value as a message shows it: in one line, the middle of what is long left out."""
    return " ".join(reprlib.repr(value).split())


def number(name: str, value: float) -> float:
    """Return the value as a Python float, be it of Python, NumPy or a 0-d tensor.

    Raises: ValueError, for anything else, and for what no float holds.

    >>> number("lr", 1)
    1.0
    """
    convertible = hasattr(value, "__float__") or hasattr(value, "__index__")
    if isinstance(value, bool) or not convertible or getattr(value, "ndim", None):
        raise ValueError(
            f"{name}={shown(value)} is not a number: rules take floats (use item() for a tensor and float() for a "
            "text)."
        )
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name}={shown(value)} is beyond what a float holds. Check its unit.") from None


def positive(**values: float) -> tuple[float, ...]:
    """Return the values as floats. Raises: ValueError, for whatever is not a finite number above 0."""
    floats = {name: number(name, value) for name, value in values.items()}
    for name, value in floats.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name}={value:g}: the rules multiply and divide by it. Pass a finite number above 0.")
    return tuple(floats.values())


def non_negative(**values: float) -> tuple[float, ...]:
    """Return the values as floats. Raises: ValueError, for whatever is not a finite number, 0 or above."""
    floats = {name: number(name, value) for name, value in values.items()}
    for name, value in floats.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name}={value:g} is not a strength. Pass a finite number of at least 0.")
    return tuple(floats.values())


def below_one(**values: float) -> tuple[float, ...]:
    """Return the values as floats. Raises: ValueError, for whatever is not in [0, 1), with what would go wrong."""
    floats = {name: number(name, value) for name, value in values.items()}
    for name, value in floats.items():
        if not 0 <= value < 1:
            hint = f" ({WAYS_OUT[name]})" if name in WAYS_OUT else ""
            raise ValueError(f"{name}={value:g} is outside [0, 1): {_trouble(name, value)}{hint}.")
    return tuple(floats.values())


def _trouble(name: str, value: float) -> str:
    if math.isnan(value):
        return "it is not a number"
    if name == "dampening":
        return "gradients would be amplified" if value < 0 else "steps would stop or turn round"
    return "the memory would change its sign at every step" if value < 0 else "nothing would ever be forgotten"


def finite(**values: float) -> tuple[float, ...]:
    """Return the values as floats. Raises: ValueError, for infinities and what is not a number."""
    floats = {name: number(name, value) for name, value in values.items()}
    for name, value in floats.items():
        if not math.isfinite(value):
            raise ValueError(f"{name}={value:g} is not finite. Pass a finite number.")
    return tuple(floats.values())


def computed(name: str, value: float) -> float:
    """Return what a rule computed, above 0. Raises: ValueError, where it left the range of floats at either end."""
    if not 0 < value < math.inf:
        raise ValueError(
            f"the result {name} is {value:g}: the numbers are too large or too small for a float. Check their units."
        )
    return value


def scaled(name: str, value: float, factor: float) -> float:
    """Return the product, computed; 0 stays 0."""
    return computed(name, value * factor) if value else 0.0


def known(kind: str, name: str, names: Collection[str]) -> str:
    """Return the name in small letters. Raises: ValueError, for no text, and for a name that is not there.

    >>> known("decay", "L2", ("l2", "stable"))
    'l2'
    """
    listed = ", ".join(sorted(names))
    if not isinstance(name, str):
        raise ValueError(f"{kind}: {shown(name)} is not a name. Known: {listed}.")
    if name.lower() in names:
        return name.lower()
    if kind == "decay" and name.lower() == "elementwise":
        raise ValueError(
            f"decay {name!r} shrinks every element at a rate of its own, and no rule covers it. Use {listed}."
        )
    near = difflib.get_close_matches(name.lower(), sorted(names), n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"no {kind} is called {name!r}.{hint} Known: {listed}.")
