"""A tensor in about one byte an element: blocks of 32 integers, each with a power of two of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

BLOCK, LARGEST = 32, 127
SMALLEST = -126
"""The exponent below which float32 has no normal power of two."""


def pack(value: Tensor) -> Tensor:
    r"""Return the tensor as int8: its n elements, row by row, and then the exponent e of each block of 32.

    .. math:: q_i = \operatorname{round}(x_i / 2^e), \qquad 2^{e-1} < \tfrac{1}{127}\max_{\text{block}} |x| \le 2^e

    An element moves by at most half of 2^e, so by less than 1/127 of the largest of its block. To pack what was
    unpacked changes nothing. The numbers are whole and below 128: every floating type holds them, should somebody who
    loads a checkpoint cast them.

    Shapes: any → one dimension of n + ⌈n/32⌉.
    Source: the blocks of OCP's Microscaling formats (MXINT8), version 1.0.

    >>> packed = pack(torch.tensor([1.0, 0.5, -0.25]))
    >>> packed
    tensor([ 64,  32, -16,  -6], dtype=torch.int8)
    >>> unpack(packed, (3,), torch.float32)
    tensor([ 1.0000,  0.5000, -0.2500])
    """
    flat = value.detach().reshape(-1)
    flat = flat.float() if flat.element_size() < 4 else flat
    rows = torch.nn.functional.pad(flat, (0, -flat.numel() % BLOCK)).view(-1, BLOCK)
    mantissa, exponent = torch.frexp(rows.abs().amax(1) / LARGEST)
    exponent = (exponent - (mantissa == 0.5).to(exponent.dtype)).clamp(SMALLEST, LARGEST)
    whole = torch.ldexp(rows, -exponent[:, None]).round().clamp(-LARGEST, LARGEST)
    return torch.cat([whole.reshape(-1)[: flat.numel()].to(torch.int8), exponent.to(torch.int8)])


def unpack(packed: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Return the tensor of that shape, in that type, which :func:`pack` packed."""
    n = packed.numel() - -(-packed.numel() // (BLOCK + 1))
    whole, exponent = packed[:n].to(dtype), packed[n:].to(torch.int32)
    return torch.ldexp(whole, exponent.repeat_interleave(BLOCK)[:n]).reshape(shape)


def is_packed(tensor: Tensor, weight: Tensor) -> bool:
    """Whether this is what :func:`pack` made of a tensor of the weight's shape."""
    n = weight.numel()
    return n > 0 and tensor.shape == (n + -(-n // BLOCK),)
