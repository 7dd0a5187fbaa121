"""What the formulas take: float64 vectors and finite numbers, refused by name where they are not."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

Numbers = float | Iterable[float] | Tensor
"""One number, or several."""

SHORT = reprlib.Repr()
SHORT.maxother = SHORT.maxstring = 80


def shown(value: object) -> str:
    """Return the value as a message shows it: in one line, the middle of what is long left out."""
    return " ".join(SHORT.repr(value).split())


def vector(name: str, value: Numbers, size: int | None = None) -> Tensor:
    """Return the value as a float64 vector on the CPU, one number repeated ``size`` times where that is known.

    Raises: ValueError, for another shape, an empty vector, and numbers that are not finite.
    """
    found = numbers(name, value)
    if found.ndim == 0 and size is not None:
        found = found.expand(size)
    if found.ndim != 1 or found.numel() == 0 or (size is not None and found.numel() != size):
        wanted = "a vector of one number or more" if size is None else f"one number or a vector of {size}"
        raise ValueError(f"{name} has shape {tuple(found.shape)}: it must be {wanted}.")
    bad = ~found.isfinite()
    if bad.any():
        where = int(bad.nonzero()[0])
        raise ValueError(f"{name}[{where}] = {found[where].item()}: every number must be finite.")
    return found


def numbers(name: str, value: Numbers) -> Tensor:
    """Return the value in float64 on the CPU, whatever its shape, and not a view of it.

    Raises: ValueError, for what are no real numbers.
    """
    if isinstance(value, Tensor):
        if value.is_complex():
            raise ValueError(f"{name} is complex: real numbers are needed. Pass its real part.")
        if value.is_meta or value.layout != torch.strided:
            kind = "on the meta device" if value.is_meta else f"of layout {value.layout}"
            raise ValueError(f"{name} is a tensor {kind}: a dense one with numbers is needed.")
        return value.detach().to("cpu", torch.float64, copy=True)
    if getattr(getattr(value, "dtype", None), "kind", "") == "c":
        raise ValueError(f"{name} is complex: real numbers are needed. Pass its real part.")
    if isinstance(value, Iterator):
        value = list(value)
    copy = getattr(value, "copy", None)  # of an array, which may run backwards or be read-only: torch takes neither
    try:
        return torch.as_tensor(copy() if callable(copy) else value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name}={shown(value)}: it must be a number, a sequence of numbers, or a tensor.") from None


def rounding(value: object) -> float:
    """Return the relative rounding of numbers as they were given: that of float64 for Python's and for whole ones."""
    dtype = getattr(value, "dtype", None)
    if isinstance(dtype, torch.dtype):
        return torch.finfo(dtype).eps if dtype.is_floating_point else torch.finfo(torch.float64).eps
    size = dtype.itemsize if dtype is not None and dtype.kind == "f" else 8  # of an array
    return {2: 2.0**-10, 4: 2.0**-23}.get(size, 2.0**-52)


def rates(lrs: Numbers) -> Tensor:
    """Return learning rates, one a step. Raises: ValueError, for none, and for a negative or infinite one."""
    if not isinstance(lrs, Iterable):
        lr = repr(lrs) if isinstance(lrs, int | float) else "0.1"
        raise ValueError(
            f"lrs={shown(lrs)}: learning rates are needed, one a step, as constant(steps, {lr}) or cosine(steps, {lr}) "
            "return them."
        )
    found = vector("lrs", lrs)
    if (found < 0).any():
        where = int((found < 0).nonzero()[0])
        raise ValueError(f"lrs[{where}] = {found[where].item()}: a learning rate is 0 or above.")
    return found


def non_negative(name: str, value: float) -> float:
    """Return the number. Raises: ValueError, where it is negative or not finite."""
    if not 0 <= (found := _number(name, value)) < math.inf:
        raise ValueError(f"{name}={value!r}: it must be a finite number, 0 or above.")
    return found


def positive(name: str, value: float) -> float:
    """Return the number. Raises: ValueError, where it is 0, negative or not finite."""
    if not 0 < (found := _number(name, value)) < math.inf:
        raise ValueError(f"{name}={value!r}: it must be a finite number above 0.")
    return found


def fraction(name: str, value: float) -> float:
    """Return the number. Raises: ValueError, outside [0, 1)."""
    if not 0 <= (found := _number(name, value)) < 1:
        raise ValueError(f"{name}={value!r}: it must be at least 0 and below 1.")
    return found


def whole(name: str, value: int, why: str, least: int = 1) -> int:
    """Return the number as an int, ``least`` or above. Raises: ValueError, for another one, and what is none."""
    found = _number(name, value)
    if not least <= found < math.inf or found != int(found):
        raise ValueError(f"{name}={value!r}: it must be a whole number, {least} or above: {why}.")
    return int(found)


def _number(name: str, value: float) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name}={shown(value)}: it must be one number.") from None
    except OverflowError:
        raise ValueError(f"{name}={shown(value)}: no float is so large. Check its unit.") from None
