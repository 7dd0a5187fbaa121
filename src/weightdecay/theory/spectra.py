"""A spectrum like a deep network's: a few large eigenvalues far above a bulk that reaches down to almost nothing."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from weightdecay.theory.numbers import positive, whole


def outliers_and_bulk(
    size: int, outliers: int = 10, largest: float = 10.0, edge: float = 0.1, smallest: float = 1e-6
) -> Tensor:
    """Return eigenvalues, ascending: the bulk even in its logarithm, the outliers too, above it.

    Outliers run from ten times the edge of the bulk to ``largest``; one alone lies there. This is a model: as many
    outliers as classes, and most directions flat, is what is measured (Sagun et al., arXiv:1706.04454; Ghorbani et al.,
    arXiv:1901.10159).

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


def _even(low: float, high: float, count: int) -> Tensor:
    return torch.logspace(math.log10(low), math.log10(high), count, dtype=torch.float64)
