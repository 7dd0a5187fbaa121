r"""Sums that a training leaves behind: every step's contribution, shrunk by all steps after it.

.. math:: R(x) = \sum_k \eta_k \prod_{j>k}(1-q-\eta_j x), \qquad Q(x) = \sum_k \eta_k^2 \prod_{j>k}(1-q-\eta_j x)^2

R·h multiplies the minimum in E[θ_t] under Eq. 1; Q·σ² is the variance. Steps of equal learning rate are one geometric
series, so that piecewise constant schedules cost (stretches × n). Where more learning rates differ than there are
nodes, R and Q are interpolated over :math:`u = x\,\eta_{\max}/(1-q)` in intervals that halve towards 0 and towards 2
until they are as short as :math:`\eta_{\max}/\sum\eta`. All factors are at most 1 in the disc |u − 1| ≤ 1, which holds
the ellipses with ρ = 5 of these intervals, so that R and Q have there no more than their value at the near end: the
error is below 5⁻³² = 4e-23 of that, and rounding is all that is left (tested against the recursion to 1e-11). Outside
of it, which with q > 0 no factor beyond [−1, 1] needs to be, directions are summed on their own.

Cost: 2·32·log₂(Σηₖ/η_max)·T multiplications at the nodes, and about 100 operations a direction.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from weightdecay.theory.product import NODES, coefficients, evaluate, log_abs_one_minus, nodes

SHORT = 16
"""Stretches of equal lr that are shorter than this on the mean are cheaper step by step than as a geometric series."""

WIDE = 1 << 18
"""Numbers held together while stepping."""

ON_ITS_OWN = 1 << 30
"""The label of directions that are not interpolated."""


class Accumulated:
    """R (``power`` 1) or Q (``power`` 2) after each of the numbers of steps in ``at``, as a function of x.

    Every factor must be within [−1, 1], and 0 ≤ shrink < 1.
    """

    def __init__(self, lrs: Tensor, at: tuple[int, ...], power: int, shrink: float = 0.0) -> None:
        ends = (0, *at)
        self.power, self.shrink = power, shrink
        self.stretches = [
            torch.unique_consecutive(lrs[a:b], return_counts=True) for a, b in zip(ends, at, strict=False)
        ]
        used = lrs[: at[-1]]
        self.peak = used.max().item() / (1 - shrink) if at[-1] else 0.0
        total = used.sum().item() / (1 - shrink)
        self.shortest = math.floor(math.log2(self.peak / total)) if total else 0
        self.pieces: dict[tuple[int, bool], Tensor] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """Return the sums, (times, n)."""
        runs = sum(rates.numel() for rates, _ in self.stretches)
        if min(runs, x.numel() / 8) <= NODES:
            return self.exact(x)
        u = x * self.peak
        beyond = u > 1  # measured from 2
        depth = torch.where(beyond, 2 - u, u)
        exponent = torch.where(depth == 0, self.shortest, torch.frexp(depth).exponent.clamp(min=self.shortest))
        label = torch.where((u < 0) | (u > 2), ON_ITS_OWN, 2 * exponent + beyond)
        found = torch.empty(len(self.stretches), x.numel(), dtype=torch.float64)
        for one in torch.unique(label).tolist():
            here = (label == one).nonzero().squeeze(1)
            found[:, here] = self.exact(x[here]) if one == ON_ITS_OWN else self.interpolated(u[here], *divmod(one, 2))
        return found

    def interpolated(self, u: Tensor, e: int, beyond: int) -> Tensor:
        """Return the sums for u in [2^(e−1), 2^e], or for 2 − u in it."""
        near, far = (0.0 if e == self.shortest else 2.0 ** (e - 1)), 2.0**e
        low, high = (2 - far, 2 - near) if beyond else (near, far)
        key = (e, bool(beyond))
        if key not in self.pieces:
            self.pieces[key] = coefficients(self.exact(nodes(low, high) / self.peak))
        return torch.stack([evaluate(c, low, high, u) for c in self.pieces[key]])

    def exact(self, x: Tensor) -> Tensor:
        """Return the sums from every stretch of equal learning rates."""
        value, rows = torch.zeros_like(x), []
        for rates, counts in self.stretches:
            steps = int(counts.sum())
            if steps <= SHORT * rates.numel():
                value = self.one_by_one(rates.repeat_interleave(counts), value, x)
            else:
                value = self.series(rates, counts, value, x)
            rows.append(value)
        return torch.stack(rows)

    def series(self, rates: Tensor, counts: Tensor, value: Tensor, x: Tensor) -> Tensor:
        """Return the value after stretches of steps: after c equal ones, f^c value + η^p (1 − f^c)/(1 − f)."""
        for lr, count in zip(rates.tolist(), counts.tolist(), strict=True):
            g = self.shrink + lr * x
            log = self.power * count * log_abs_one_minus(g)
            odd = self.power == 1 and count % 2 == 1
            factor = torch.where((g > 1) & odd, -log.exp(), log.exp())
            short = g if self.power == 1 else g * (2 - g)  # 1 − f
            grown = torch.where((g > 1) & odd, 1 - factor, -torch.expm1(log))
            value = factor * value + lr**self.power * torch.where(short == 0, float(count), grown / short)
        return value

    def one_by_one(self, rates: Tensor, value: Tensor, x: Tensor) -> Tensor:
        """Return the value after single steps: blocks of √T steps side by side, then one block after the other."""
        blocks = max(1, math.isqrt(rates.numel()))
        length = rates.numel() // blocks
        side = rates[: blocks * length].reshape(blocks, length)
        found = torch.empty_like(value)
        for start in range(0, x.numel(), WIDE // blocks):
            part = slice(start, start + WIDE // blocks)
            now = value[part]
            factor = torch.ones(blocks, now.numel(), dtype=torch.float64)
            source = torch.zeros_like(factor)
            for lrs in side.unbind(1):
                f = self.factor(lrs[:, None], x[part])
                source.mul_(f).add_(lrs[:, None] ** self.power)
                factor.mul_(f)
            for f, b in zip(factor, source, strict=True):
                now = f * now + b
            for lr in rates[blocks * length :]:
                now = self.factor(lr, x[part]) * now + lr**self.power
            found[part] = now
        return found

    def factor(self, lr: Tensor, x: Tensor) -> Tensor:
        """Return (1 − q − ηx)^p."""
        f = (1 - self.shrink) - lr * x
        return f * f if self.power == 2 else f
