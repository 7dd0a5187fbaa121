r"""∏ₖ(1 − q − ηₖx): what is left of a start after many steps, for millions of directions at once.

For n directions and T steps the product has n·T factors: 10¹¹ for a million directions and a hundred thousand steps.
But it is one function of one number x, and its logarithm is smooth. With :math:`u = x\,\eta_{\max}/(1-q)` and
:math:`r_k = \eta_k/\eta_{\max}`,

.. math:: \log\prod_k (1-q-\eta_k x) = T\log(1-q) - u\,G(u), \qquad G(u) = \sum_k \frac{-\log(1-r_k u)}{u}

G is analytic except for u ≥ 1. On the intervals :math:`[1-2^e,\,1-2^{e-1}]`, e = 0, −1, …, whose ellipses with ρ = 5
end a fifth of their length before 1, G is at most 41 times its smallest value on the interval, so 32 nodes give it
with a relative error below 41·5⁻³² < 2e-21, and rounding is all that is left.
Rounding is relative to the logarithm, so the product has a relative error of about 1e-15·|log product|: below 1e-11
for all products that float64 can hold (tested against the naive product).

The nodes are Chebyshev's. On [a, b] a function is written as :math:`\sum_{j<N} c_j T_j(y)`, y running over [−1, 1]. If
it is analytic and at most M in the ellipse with foci a, b whose half axes add up to ρ(b−a)/2, the error is at most
:math:`4M\rho^{-N}/(\rho-1)` (Trefethen, Approximation Theory and Approximation Practice, Theorem 8.2, with N = n + 1).

Three kinds of direction are taken as they are: all of them where few learning rates differ (a power each), those with
u above 1 − 2⁻⁸ (the factors change sign there), and of these only those whose product does not vanish: factors are at
most as large as at the ends of an interval of u, and where that bound is below e⁻⁷⁴⁶ the product is 0 in float64, as
it is for the naive one.

Cost: 32·T logarithms an interval that holds a direction (at most 9), and about 100 operations a direction; for
directions with u near or above 1 that do not vanish, as many logarithms as there are different learning rates.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

VANISHED = -746.0
"""Below this the exponential is 0 in float64."""

ROUGH = 2.0**-8
"""Directions with 1 − u below this are not interpolated."""

BLOCK = 1 << 18
"""Logarithms taken together."""

NODES = 32
"""Points an interval. All intervals used here have ρ ≥ 5, so that ρ^(−N) is below 5e-23."""

CHUNK = 32_768
"""Points evaluated together: three vectors of them stay in the cache."""


class Product:
    """The product after each of the numbers of steps in ``at``, as a function of x.

    Every factor must be within [−1, 1] (:func:`weightdecay.theory.numbers.refuse` sees to it), and 0 ≤ shrink < 1.
    """

    def __init__(self, lrs: Tensor, at: tuple[int, ...], shrink: float = 0.0) -> None:
        ends = (0, *at)
        self.peak = lrs[: at[-1]].max().item() / (1 - shrink) if at[-1] else 0.0
        # The order of factors is of no account: of each stretch the different lrs and how often they occur.
        self.stretches = [
            torch.unique(lrs[a:b] / (1 - shrink), return_counts=True) for a, b in zip(ends, at, strict=False)
        ]
        self.base = torch.tensor(at, dtype=torch.float64) * math.log1p(-shrink)  # T log(1 − q)
        self.distinct = sum(rates.numel() for rates, _ in self.stretches)
        self.pieces: dict[int, Tensor] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """Return the products, (times, n)."""
        log, negative = self.logarithm(x)
        return torch.where(negative, -log.exp(), log.exp())

    def logarithm(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return log|product|, −∞ where it vanishes, and whether the product is negative; (times, n) each."""
        if self.distinct <= NODES or x.numel() <= NODES:
            return self.exact(x)
        found = torch.empty(len(self.stretches), x.numel(), dtype=torch.float64)
        negative = torch.zeros_like(found, dtype=torch.bool)
        u = x * self.peak
        exponent = torch.frexp(1 - u).exponent.masked_fill_(u == 0, 0)  # 1 − u in [2^(e−1), 2^e)
        smooth = 1 - u > ROUGH
        exponent.masked_fill_(~smooth, torch.iinfo(torch.int32).max)
        for e in torch.unique(exponent).tolist():
            here = (exponent == e).nonzero().squeeze(1)
            if e == torch.iinfo(torch.int32).max:
                found[:, here], negative[:, here] = self.vanishing(x[here])
            else:
                found[:, here] = self.interpolated(u[here], e)
        return found, negative

    def interpolated(self, u: Tensor, e: int) -> Tensor:
        """Return T log(1−q) − u G(u) for u in [1 − 2^e, 1 − 2^(e−1)]."""
        low, high = 1 - 2.0**e, 1 - 2.0 ** (e - 1)
        if e not in self.pieces:
            self.pieces[e] = coefficients(self.slopes(nodes(low, high)))
        rows = [
            evaluate(c, low, high, u).mul_(u).neg_().add_(base)
            for c, base in zip(self.pieces[e], self.base.tolist(), strict=True)
        ]
        return torch.stack(rows)

    def slopes(self, u: Tensor) -> Tensor:
        """Return G(u), (times, nodes)."""
        total = torch.zeros_like(u)
        rows = []
        for rates, counts in self.stretches:
            r = rates / self.peak
            for part in range(0, r.numel(), BLOCK // u.numel()):
                block = slice(part, part + BLOCK // u.numel())
                total -= counts[block].double() @ torch.log1p(-r[block, None] * u)
            rows.append(total / u)
        return torch.stack(rows)

    def exact(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the same from every factor: a logarithm and a sign a different learning rate."""
        found = torch.empty(len(self.stretches), x.numel(), dtype=torch.float64)
        odd = torch.zeros_like(found, dtype=torch.bool)
        widest = max(rates.numel() for rates, _ in self.stretches)
        for part in _parts(x.numel(), max(1, BLOCK // max(1, min(widest, BLOCK)))):
            log, negative = torch.zeros_like(x[part]), torch.zeros_like(x[part], dtype=torch.int64)
            for row, (rates, counts) in enumerate(self.stretches):
                for block in _parts(rates.numel(), BLOCK):
                    g = rates[block, None] * x[part]
                    log += (counts[block, None] * log_abs_one_minus(g)).sum(0)
                    negative += ((g > 1) * counts[block, None]).sum(0)
                found[row, part], odd[row, part] = log + self.base[row], negative % 2 == 1
        return found, odd

    def vanishing(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the same for directions with u near or above 1: 0 where the bound says so, else from factors."""
        found = torch.full((len(self.stretches), x.numel()), -torch.inf, dtype=torch.float64)
        negative = torch.zeros_like(found, dtype=torch.bool)
        bins = (x * self.peak * 32).floor().to(torch.int64)
        for one in torch.unique(bins).tolist():
            here = (bins == one).nonzero().squeeze(1)
            ends = torch.stack([x[here].min(), x[here].max()])
            bounds = self.base + torch.stack(
                [(counts * log_abs_one_minus(rates[:, None] * ends).amax(1)).sum() for rates, counts in self.stretches]
            ).cumsum(0)
            if (bounds > VANISHED).any():
                found[:, here], negative[:, here] = self.exact(x[here])
        return found, negative


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


def log_abs_one_minus(g: Tensor) -> Tensor:
    """Return log|1 − g|, with all digits also where g is small."""
    return torch.where(g < 0.5, torch.log1p(-g), (1 - g).abs().log())


def _parts(size: int, step: int) -> Iterator[slice]:
    for start in range(0, size, step):
        yield slice(start, min(size, start + step))
