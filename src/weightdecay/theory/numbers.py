"""What the formulas take: float64 vectors and finite numbers, refused by name where they are not."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

Numbers = float | Sequence[float] | Tensor
"""One number, or several."""


def vector(name: str, value: Numbers, size: int | None = None) -> Tensor:
    """Return the value as a float64 vector on the CPU, one number repeated ``size`` times where that is known.

    Raises: ValueError, for another shape, an empty vector, and numbers that are not finite.
    """
    found = torch.as_tensor(value, dtype=torch.float64).detach().cpu()
    if found.ndim == 0 and size is not None:
        found = found.expand(size)
    if found.ndim != 1 or found.numel() == 0 or (size is not None and found.numel() != size):
        wanted = "a vector" if size is None else f"one number or a vector of {size}"
        raise ValueError(f"{name} has shape {tuple(found.shape)}: it must be {wanted}.")
    bad = ~found.isfinite()
    if bad.any():
        where = int(bad.nonzero()[0])
        raise ValueError(f"{name}[{where}] = {found[where].item()}: every number must be finite.")
    return found


def rates(lrs: Numbers) -> Tensor:
    """Return learning rates, one a step. Raises: ValueError, for none, and for a negative or infinite one."""
    found = vector("lrs", lrs)
    if (found < 0).any():
        where = int((found < 0).nonzero()[0])
        raise ValueError(f"lrs[{where}] = {found[where].item()}: a learning rate is 0 or above.")
    return found


def non_negative(name: str, value: float) -> float:
    """Return the number. Raises: ValueError, where it is negative or not finite."""
    if not 0 <= value < math.inf:
        raise ValueError(f"{name}={value!r}: it must be a finite number, 0 or above.")
    return float(value)


def positive(name: str, value: float) -> float:
    """Return the number. Raises: ValueError, where it is 0, negative or not finite."""
    if not 0 < value < math.inf:
        raise ValueError(f"{name}={value!r}: it must be a finite number above 0.")
    return float(value)


def fraction(name: str, value: float) -> float:
    """Return the number. Raises: ValueError, outside [0, 1)."""
    if not 0 <= value < 1:
        raise ValueError(f"{name}={value!r}: it must be at least 0 and below 1.")
    return float(value)
