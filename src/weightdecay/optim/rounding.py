"""Rounding a weight to its low precision without losing, on average, an update too small for one step."""

from __future__ import annotations

import torch
from torch import Tensor


def stochastic_round(value: Tensor, dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    r"""Round to one of the two neighbours in ``dtype``, the nearer one more often, so that the mean is exact.

    .. math:: \mathbb E[\operatorname{round}(x)] = x

    bfloat16 near 1 has steps of 2⁻⁸ below and 2⁻⁷ above: rounding to nearest loses every pull under 0.2 %.

    Shapes: any; ``value`` is float32 (or wider), the result has its shape and ``dtype``. What ``dtype`` holds
    exactly, infinities and NaN come back as they are; values beyond the largest finite one go to the nearest.
    Source: Gupta et al., arXiv:1502.02551, Eq. 4.

    >>> x = torch.full((10000,), 0.9995)
    >>> r = stochastic_round(x, torch.bfloat16, torch.Generator().manual_seed(0))
    >>> sorted(set(r.tolist())), abs(r.double().mean().item() - 0.9995) < 1e-4
    ([0.99609375, 1.0], True)
    """
    info = torch.finfo(dtype)
    _, exponent = torch.frexp(value)  # |x| = mantissa · 2^exponent with mantissa in [½, 1)
    # The spacing at x: eps · 2^(exponent − 1) for normal numbers, that of the smallest normal below them.
    spacing = torch.ldexp(torch.full_like(value, info.eps), exponent - 1).clamp(min=info.tiny * info.eps)
    noise = torch.rand(value.shape, generator=generator, device=value.device, dtype=value.dtype)
    rounded = torch.floor(value / spacing + noise) * spacing
    nearest = value.to(dtype)
    usable = torch.isfinite(nearest) & torch.isfinite(rounded) & (rounded.abs() <= info.max)
    return torch.where(usable, rounded.to(dtype), nearest)
