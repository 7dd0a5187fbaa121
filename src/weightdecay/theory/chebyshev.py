r"""A smooth function of one number, known at a few points, at millions of others.

On [a, b] a function is written as :math:`\sum_{j<N} c_j T_j(y)`, y running over [−1, 1]. If it is analytic and at most
M in the ellipse with foci a, b whose half axes add up to ρ(b−a)/2, the error is at most
:math:`4M\rho^{-N}/(\rho-1)` (Trefethen, Approximation Theory and Approximation Practice, Theorem 8.2, with N = n + 1).
"""

from __future__ import annotations

import torch
from torch import Tensor

NODES = 32
"""Points an interval. All intervals used here have ρ ≥ 5, so that ρ^(−N) is below 5e-23."""

CHUNK = 32_768
"""Points evaluated together: three vectors of them stay in the cache."""


def nodes(low: float, high: float) -> Tensor:
    """Return the points of [low, high] at which the function has to be known."""
    angles = (torch.arange(NODES, dtype=torch.float64) + 0.5) * (torch.pi / NODES)
    return 0.5 * (low + high) + 0.5 * (high - low) * angles.cos()


def coefficients(values: Tensor) -> Tensor:
    """Return c from the values (…, N) at the nodes."""
    index = torch.arange(NODES, dtype=torch.float64)
    transform = torch.cos(index[:, None] * (index[None, :] + 0.5) * (torch.pi / NODES)) * (2.0 / NODES)
    transform[0] /= 2
    return values @ transform.T


def evaluate(c: Tensor, low: float, high: float, x: Tensor) -> Tensor:
    """Return the function at points x of [low, high], by Clenshaw's recurrence."""
    found = torch.empty_like(x)
    terms = c.tolist()
    for start in range(0, x.numel(), CHUNK):
        y = (x[start : start + CHUNK] - 0.5 * (low + high)).mul_(2 / (high - low))
        twice = 2 * y
        after, now = torch.zeros_like(y), torch.full_like(y, terms[-1])
        for term in reversed(terms[1:-1]):
            after.neg_().addcmul_(twice, now).add_(term)  # b_j = 2y b_{j+1} − b_{j+2} + c_j
            after, now = now, after
        found[start : start + CHUNK] = after.neg_().addcmul_(y, now).add_(terms[0])
    return found
