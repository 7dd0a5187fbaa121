"""The distribution of all eigenvalues: the density by stochastic Lanczos quadrature, and shares below a value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from weightdecay.spectrum.base import Curvature
from weightdecay.spectrum.lanczos import Measure, measure, probe


class Share(NamedTuple):
    """A share of the whole, from 0 to 1.

    ``low`` and ``high`` hold for certain for the vectors that were used, however few steps were taken; ``guess`` lies
    between. ``error`` is the standard error of the guess over vectors (NaN for one).
    """

    guess: float
    low: float
    high: float
    error: float


@dataclass(frozen=True)
class Density:
    """A measure for each probe, all of weight 1; ``size`` is n, the number of eigenvalues that the density is of."""

    probes: tuple[Measure, ...]
    size: int

    def share_within(self, value: float) -> Share:
        """Return the share of eigenvalues of an absolute value below this: for λ, what decay alone decides.

        Bounds that are far apart say that ``steps`` of Lanczos do not resolve the eigenvalues near 0 that finely.
        """
        found = torch.tensor([within(one, value) for one in self.probes], dtype=torch.float64)
        guess, low, high = found.mean(0).tolist()
        error = (found[:, 0].std() / math.sqrt(len(found))).item() if len(found) > 1 else math.nan
        return Share(guess, low, high, error)

    @property
    def moments(self) -> tuple[float, float]:
        """Mean of the eigenvalues and of their squares; times n they estimate the trace and ‖H‖²."""
        first, second = (
            sum((one.weights * one.nodes**power).sum().item() for one in self.probes) / len(self.probes)
            for power in (1, 2)
        )
        return first, second

    def spectrum(self) -> tuple[Tensor, Tensor]:
        """Return all nodes, ascending, and how many eigenvalues each stands for. Shapes: (M,) both; Σ counts = n."""
        nodes = torch.cat([one.nodes for one in self.probes])
        weights = torch.cat([one.weights for one in self.probes]) / len(self.probes)
        order = nodes.argsort()
        return nodes[order], weights[order] * self.size

    def at(self, points: Tensor, width: float) -> Tensor:
        """Return the density at points, each node spread by a normal distribution of standard deviation ``width``.

        Its integral is 1. Units: 1/curvature. Raises: ValueError, for a width that is not above 0.
        """
        if not 0 < width < math.inf:
            raise ValueError(f"width={width!r}: a standard deviation is a finite number above 0.")
        nodes, counts = self.spectrum()
        away = (points.double().unsqueeze(-1) - nodes) / width
        bell = torch.exp(-0.5 * away.square()) / (width * math.sqrt(2 * math.pi))
        return bell @ (counts / self.size)


def density(matrix: Curvature, *, probes: int = 4, steps: int = 80, seed: int = 0) -> Density:
    r"""Return the spectral density, seen by random vectors.

    .. math:: \frac1n\sum_i \delta(h-h_i) \approx
              \frac1{n_z}\sum_{z}\frac1{\|z\|^2}\sum_k w_k(z)\,\delta\big(h - t_k(z)\big)

    ``probes`` vectors of random signs, ``steps`` of Lanczos with each: probes·steps products, steps·n numbers to hold.
    Deterministic in ``seed``. Raises: ValueError, for probes or steps below 1.
    Source: Ghorbani, Krishnan & Xiao 2019, arXiv:1901.10159; Ubaru, Chen & Saad 2017.
    """
    if probes < 1:
        raise ValueError(f"probes={probes}: at least one random vector is needed; their spread is the error.")
    generator = torch.Generator().manual_seed(seed)
    found = [measure(matrix, probe(matrix, generator), steps) for _ in range(probes)]
    return Density(tuple(Measure(m.nodes, m.weights / matrix.size) for m in found), matrix.size)


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
