"""How all eigenvalues lie: the spectral density by stochastic Lanczos quadrature."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from weightdecay.spectrum.base import Curvature
from weightdecay.spectrum.lanczos import Measure, measure, probe
from weightdecay.spectrum.share import Share, within


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
