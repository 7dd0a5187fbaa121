"""Rounding to 16 bits without losing, on average or at all, what is too small for one step."""

from __future__ import annotations

import torch
from torch import Tensor

from weightdecay.decay import Number

MASK = 0xFFFFFFFF


def noise(like: Tensor, seed: int, stream: int, step: Number) -> Tensor:
    """Return numbers in [0, 1), a function of (seed, stream, step, element): the same in every engine and on resuming.

    A counter goes through a 32-bit mixing function; no generator is read, so that the step can be captured in a graph.

    Shapes: those of ``like``, float32, on its device.
    Source: the finaliser of MurmurHash3 (Appleby, public domain), twice.
    """
    key = (seed * 0x9E3779B1 + stream * 0x85EBCA77) & MASK
    t = step.to(torch.int64) if isinstance(step, Tensor) else int(step)
    element = torch.arange(like.numel(), device=like.device, dtype=torch.int64)
    bits = _mix(element + _mix_number((t * 0xC2B2AE3D + key) & MASK))
    return ((bits >> 8).to(torch.float32) * 2.0**-24).reshape(like.shape)


def _mix_number(x: int | Tensor) -> int | Tensor:
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x = ((x ^ (x >> shift)) * factor) & MASK
    return x ^ (x >> 16)


def _mix(x: Tensor) -> Tensor:
    mixed = _mix_number(x & MASK)
    assert isinstance(mixed, Tensor)
    return mixed


def stochastic_round(value: Tensor, dtype: torch.dtype, uniform: Tensor) -> Tensor:
    r"""Round to one of the two neighbours in ``dtype``, the nearer one more often, so that the mean is exact.

    .. math:: \mathbb E[\operatorname{round}(x)] = x

    bfloat16 near 1 has steps of 2⁻⁸ below and 2⁻⁷ above: rounding to nearest loses every pull under 0.2 %.

    Shapes: any; ``value`` is float32 (or wider), ``uniform`` holds numbers in [0, 1), the result has ``dtype``. What
    ``dtype`` holds exactly, infinities and NaN come back as they are; values beyond the largest finite one go to the
    nearest.
    Source: Gupta et al., arXiv:1502.02551, Eq. 4.

    >>> x = torch.full((10000,), 0.9995)
    >>> r = stochastic_round(x, torch.bfloat16, noise(x, seed=0, stream=0, step=1))
    >>> sorted(set(r.tolist())), abs(r.double().mean().item() - 0.9995) < 1e-4
    ([0.99609375, 1.0], True)
    """
    grid = spacing(value, dtype)
    rounded = torch.floor(value / grid + uniform) * grid
    nearest = value.to(dtype)
    usable = torch.isfinite(nearest) & torch.isfinite(rounded) & (rounded.abs() <= torch.finfo(dtype).max)
    return torch.where(usable, rounded.to(dtype), nearest)


def remainder(value: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what ``dtype`` cannot hold of the value, x − nearest(x); 0 where that is not finite.

    Without a cast there and back, which a compiler takes the liberty to leave out, and the remainder with it.

    >>> remainder(torch.tensor([1.0, 1.001, -3.3]), torch.bfloat16)
    tensor([ 0.0000,  0.0010, -0.0031])
    """
    grid = spacing(value, dtype)
    rest = value - torch.round(value / grid) * grid
    return torch.where(torch.isfinite(rest) & (value.abs() <= torch.finfo(dtype).max), rest, 0.0)


def spacing(value: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the distance between neighbours in ``dtype`` at each value, in the precision of the value."""
    info = torch.finfo(dtype)
    _, exponent = torch.frexp(value)  # |x| = mantissa · 2^exponent with mantissa in [½, 1)
    # eps · 2^(exponent − 1) for normal numbers, that of the smallest normal below them.
    return torch.ldexp(torch.full_like(value, info.eps), exponent - 1).clamp(min=info.tiny * info.eps)
