"""Inputs of the theory: learning rates over a training, and the spectrum of a deep network."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from weightdecay.theory.numbers import Numbers, non_negative, numbers, positive, shown, whole


def constant(steps: int, lr: float) -> Tensor:
    """Return ``steps`` times lr."""
    return torch.full((_steps(steps),), non_negative("lr", lr), dtype=torch.float64)


def cosine(steps: int, lr: float, final: float = 0.0) -> Tensor:
    r"""Return :math:`\eta_t = \eta_T + \tfrac12(\eta_0-\eta_T)(1+\cos\tfrac{\pi t}{T})` for t = 0 … T−1.

    >>> [round(x, 4) for x in cosine(4, 1.0).tolist()]
    [1.0, 0.8536, 0.5, 0.1464]
    """
    steps = _steps(steps)
    phase = torch.arange(steps, dtype=torch.float64) * (torch.pi / steps)
    lr, final = non_negative("lr", lr), non_negative("final", final)
    return final + 0.5 * (lr - final) * (1 + phase.cos())


def drops(steps: int, lr: float, at: Numbers = (0.4, 0.8), factor: float = 0.1) -> Tensor:
    """Return lr, multiplied by ``factor`` at these shares of the training: the step schedule.

    Raises: ValueError, for a share outside [0, 1], and for what are no such numbers.

    >>> drops(5, 1.0).tolist()
    [1.0, 1.0, 0.1, 0.1, 0.010000000000000002]
    """
    steps, shares = _steps(steps), numbers("at", at).flatten().tolist()
    done = torch.arange(steps, dtype=torch.float64) / steps
    for share in shares:
        if not 0 <= share <= 1:
            raise ValueError(
                f"at={shown(at)}: {share:g} is not a share of the training, from 0 to 1; divide by the steps."
            )
    passed = sum(((done >= share - 1e-12).double() for share in shares), torch.zeros_like(done))
    return non_negative("lr", lr) * non_negative("factor", factor) ** passed


def outliers_and_bulk(
    size: int, outliers: int = 10, largest: float = 10.0, edge: float = 0.1, smallest: float = 1e-6
) -> Tensor:
    """Return a spectrum like a deep network's, ascending: a few large eigenvalues above a bulk that nearly reaches 0.

    The bulk is even in its logarithm, and so are the outliers, which run from ten times the edge of the bulk to
    ``largest``; one alone lies there. This is a model: as many outliers as classes, and most directions flat, is what
    is measured (Sagun et al., arXiv:1706.04454; Ghorbani et al., arXiv:1901.10159).

    Raises: ValueError, for numbers that are not in this order.

    >>> [f"{x:.1g}" for x in outliers_and_bulk(5, outliers=2, largest=10.0, edge=0.1, smallest=1e-3).tolist()]
    ['0.001', '0.01', '0.1', '1', '1e+01']
    """
    size = whole("size", size, "it counts the eigenvalues")
    outliers = whole("outliers", outliers, "they are some of the eigenvalues", least=0)
    if outliers >= size:
        raise ValueError(
            f"outliers={outliers} of size={size}: the bulk needs at least one direction. Use fewer of them, or a "
            "larger size."
        )
    smallest, edge, largest = positive("smallest", smallest), positive("edge", edge), positive("largest", largest)
    if smallest > edge or 10 * edge > largest:
        raise ValueError(
            f"smallest={smallest:g}, edge={edge:g}, largest={largest:g}: the bulk runs from smallest to edge, the "
            "outliers from 10 × edge to largest. Put them in this order."
        )
    above = _even(largest, 10 * edge, outliers).flip(0)  # of one, logspace returns the first end
    return torch.cat([_even(smallest, edge, size - outliers), above])


def _steps(steps: int) -> int:
    return whole("steps", steps, "a training has at least one")


def _even(low: float, high: float, count: int) -> Tensor:
    return torch.logspace(math.log10(low), math.log10(high), count, dtype=torch.float64)
