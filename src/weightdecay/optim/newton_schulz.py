"""The orthogonal matrix next to a matrix, nearly: five products of small matrices instead of a decomposition."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

ADJUSTMENTS: dict[str, Callable[[int, int], float]] = {
    "original": lambda rows, columns: math.sqrt(max(1, rows / columns)),
    "match_rms_adamw": lambda rows, columns: 0.2 * math.sqrt(max(rows, columns)),
    "spectral_unclamped": lambda rows, columns: math.sqrt(rows / columns),
}
"""By what the orthogonal matrix is multiplied, for its number of rows (outputs) and columns (inputs)."""


class Polynomial(NamedTuple):
    """One step of the iteration, X ← aX + (bA + cA²)X with A = XXᵀ, how often it is taken, and in which type."""

    coefficients: tuple[float, float, float]
    steps: int
    eps: float
    dtype: torch.dtype


def stacks(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Mark a function of (…, rows, columns) that treats each matrix by itself: an engine may call it once for many."""

    @functools.wraps(function)
    def call(x: Any, *others: Any) -> Any:
        if has_torch_function_unary(x):
            return handle_torch_function(call, (x,), x, *others)
        return function(x, *others)

    call.stacks = True  # type: ignore[attr-defined]
    return call


@stacks
def orthogonal(x: Tensor, polynomial: Polynomial, adjustment: str) -> Tensor:
    r"""Return :math:`\rho\,\mathrm{NS}(X)`: X with all singular values brought near 1, times a number of its shape.

    .. math:: X \leftarrow X/\|X\|_F, \qquad X \leftarrow aX + (bA + cA^2)X, \quad A = XX^\top

    with the transpose of a tall matrix in the place of X, and ρ of :data:`ADJUSTMENTS`. With the usual coefficients the
    singular values end between 0.7 and 1.2, not at 1. A matrix of zeros stays one.

    Every product is rounded to ``polynomial.dtype``, bfloat16 as a rule, as in torch. See :func:`multiplied_in`.

    Shapes: (…, rows, columns) to the same, in the type of x.
    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/; the operations of ``torch.optim.Muon``.
    """
    a, b, c = polynomial.coefficients
    rows, columns = x.shape[-2:]
    y = x.to(polynomial.dtype, copy=True)
    y = y.mT if rows > columns else y
    norm = y.norm() if y.dim() == 2 else y.norm(dim=(-2, -1), keepdim=True)
    y.div_(norm.clamp(min=polynomial.eps))
    shape = y.shape
    y = y if y.dim() < 4 else y.flatten(0, -3)
    add = torch.addmm if y.dim() == 2 else torch.baddbmm
    wide = multiplied_in(x.device, polynomial.dtype)
    rounded = functools.partial(_rounded, dtype=polynomial.dtype)
    y = y.to(wide)
    for _ in range(polynomial.steps):
        gram = rounded(y @ y.mT)
        gram = rounded(add(gram, gram, gram, beta=b, alpha=c))
        y = rounded(add(y, gram, y, beta=a))
    y = y.reshape(shape)
    found: Tensor = (y.mT if rows > columns else y).to(x.dtype, copy=True)
    return found.mul_(ADJUSTMENTS[adjustment](rows, columns))


def _rounded(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x if x.dtype == dtype else x.copy_(x.to(dtype))


def multiplied_in(device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """Return the type in which matrices of that type are multiplied: float32 for bfloat16 on a CPU without such a unit.

    float32 holds a product of two bfloat16 exactly, and sums are kept in it anyway: only their order is another. On a
    CPU that has no instruction for it, torch takes up to seventy times as long in bfloat16.
    """
    slow = dtype == torch.bfloat16 and device.type == "cpu" and not multiplies_bfloat16()
    return torch.float32 if slow else dtype


@functools.cache
def multiplies_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 by an instruction of its own."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
