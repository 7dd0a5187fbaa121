"""The inputs of the formulas: float64 vectors, finite numbers, directions that do not grow. Others are refused."""

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

FLAT = "take negative eigenvalues for flat: eigenvalues.clamp(min=0)"


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
    """Return learning rates, one per step. Raises: ValueError, for none, and for a negative or infinite one."""
    if not isinstance(lrs, Iterable):
        lr = repr(lrs) if isinstance(lrs, int | float) else "0.1"
        raise ValueError(
            f"lrs={shown(lrs)}: learning rates are needed, one per step, as constant(steps, {lr}) or "
            f"cosine(steps, {lr}) return them."
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


def refuse(eigenvalues: Tensor, strength: float, lr: float) -> None:
    r"""Raise where the factor :math:`|1 - \eta(h + \lambda)|` of Eq. 2 is above 1 in a direction.

    ``lr`` is the largest one. The mean of such a direction grows without bound while that lr lasts.

    Raises: ValueError, which names the direction, the factor per step, and what to change.
    """
    curvature = eigenvalues + strength
    low, high = int(curvature.argmin()), int(curvature.argmax())
    if (moved := lr * curvature[high].item()) > 2:
        raise ValueError(
            f"direction {high} diverges: lr·(H+λ) = {lr:g}·({eigenvalues[high].item():g} + {strength:g}) = "
            f"{moved:.4g} is above 2, so it grows by {moved - 1:.4g} per step and changes sign. "
            f"Use an lr of at most {2 / curvature[high].item():.4g}."
        )
    if (moved := lr * curvature[low].item()) < 0:
        h = eigenvalues[low].item()
        raise ValueError(
            f"direction {low} diverges: H+λ = {h:g} + {strength:g} is negative, a saddle, so it grows by "
            f"1 + {-moved:.4g} per step at lr {lr:g}. Use a λ of at least {-h:.4g}, or {FLAT}."
        )


def refuse_vanilla(eigenvalues: Tensor, shrink: float, lr: float) -> None:
    r"""Raise where the factor :math:`|1 - \lambda_0 - \eta h|` of Eq. 1 is above 1 in a direction.

    The largest lr bounds both ends: towards lr 0 the factor goes to 1 − λ₀.

    Raises: as :func:`refuse`.
    """
    low, high = int(eigenvalues.argmin()), int(eigenvalues.argmax())
    if (moved := lr * (h := eigenvalues[high].item())) > 2 - shrink:
        raise ValueError(
            f"direction {high} diverges: with λ₀ = {shrink:g}, lr·H = {lr:g}·{h:g} = {moved:.4g} is above "
            f"{2 - shrink:g}, so it grows by {moved - 1 + shrink:.4g} per step and changes sign. "
            f"Use an lr of at most {(2 - shrink) / h:.4g}."
        )
    if shrink + (moved := lr * (h := eigenvalues[low].item())) < 0:
        enough = f"a λ₀ of at least {-moved:.4g}" if moved > -1 else f"a smaller lr, with a λ₀ of at least {-h:.4g}·lr"
        raise ValueError(
            f"direction {low} diverges: λ₀ + lr·H = {shrink:g} + {lr:g}·({h:g}) is negative, a saddle, so it grows by "
            f"1 + {-shrink - moved:.4g} per step. Use {enough}, or {FLAT}."
        )


def _number(name: str, value: float) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name}={shown(value)}: it must be one number.") from None
    except OverflowError:
        raise ValueError(f"{name}={shown(value)}: no float is so large. Check its unit.") from None
