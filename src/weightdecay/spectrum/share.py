"""How much of a measure lies below a value: what quadrature can promise, and what it guesses."""

from __future__ import annotations

from typing import NamedTuple

import torch

from weightdecay.spectrum.lanczos import Measure


class Share(NamedTuple):
    """A share of the whole, from 0 to 1.

    ``low`` and ``high`` hold for certain for the vectors that were used, however few steps were taken; ``guess`` lies
    between. ``error`` is the standard error of the guess over vectors (NaN for one).
    """

    guess: float
    low: float
    high: float
    error: float


def below(found: Measure, value: float) -> tuple[float, float, float]:
    r"""Return guess, lower and upper bound of the share of a measure's weight that lies below a value.

    Between two nodes :math:`t_k < x \le t_{k+1}` Gauss quadrature knows, by the inequalities of Chebyshev, Markov and
    Stieltjes,

    .. math:: \sum_{j<k} w_j \;\le\; \mu\big((-\infty, x)\big) \;\le\; \sum_{j\le k+1} w_j,

    so a node's own weight may lie to either side of it. The guess is the quadrature's: the weight of the nodes below,
    and half of that of a node at x.

    Source: Golub & Meurant, Matrices, Moments and Quadrature, 2010; Szegő, Orthogonal Polynomials, Section 3.41.

    >>> found = Measure(torch.tensor([0.0, 1.0]).double(), torch.tensor([0.6, 0.4]).double())
    >>> [round(share, 6) for share in below(found, 0.5)]
    [0.6, 0.0, 1.0]
    """
    weights = found.weights / found.weights.sum()
    sums = torch.cat([torch.zeros(1, dtype=weights.dtype), weights.cumsum(0)])  # sums[k]: of the first k nodes
    count = len(weights)
    k = int((found.nodes < value).sum())
    low, high = sums[max(k - 1, 0)].item(), sums[min(k + 1, count)].item()
    return (sums[k] + weights[found.nodes == value].sum() / 2).item(), low, high


def within(found: Measure, value: float) -> tuple[float, float, float]:
    """Return guess, lower and upper bound of the share of a measure's weight at absolute values below this.

    Raises: ValueError, for a negative value and for NaN.
    """
    if not value >= 0:
        raise ValueError(f"value={value:g}: no absolute value is below it. Pass 0 or more.")
    if value == 0:
        return 0.0, 0.0, 0.0
    guess, low, high = below(found, value)
    other, other_low, other_high = below(found, -value)
    return max(0.0, guess - other), max(0.0, low - other_high), high - other_low
