"""Lanczos: a matrix as a few nodes and weights, seen from one vector."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from weightdecay.spectrum.base import Curvature


class Measure(NamedTuple):
    """The distribution of a vector's energy over eigenvalues. Shapes: both (m,), float64, on the CPU; nodes ascend.

    Σ weights = ‖v‖². Between ``nodes`` and eigenvalues: the extreme ones are eigenvalues soon, the others stand for
    their neighbourhood; every polynomial of degree below 2m is integrated exactly.
    """

    nodes: Tensor
    weights: Tensor


def measure(matrix: Curvature, vector: Tensor, steps: int) -> Measure:
    r"""Return the spectral measure of a vector: how much of it lies along which eigenvalues.

    .. math:: \sum_i \langle q_i, v\rangle^2\,\delta(h - h_i) \approx \sum_k w_k\,\delta(h - t_k)

    with :math:`(t_k)` the eigenvalues of the m × m matrix that Lanczos makes from v, and :math:`w_k` = ‖v‖² times the
    squared first entries of its eigenvectors: Gauss quadrature.

    Of the weights it tells the share that training data decides, of a gradient's noise where it pushes. A zero vector
    has no measure: one node at 0 of weight 0.
    Source: Golub & Meurant, Matrices, Moments and Quadrature, 2010.
    """
    squared = vector.double().square().sum().item()
    if squared == 0:
        return Measure(torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
    tridiagonal, _ = lanczos(matrix, vector, steps)
    nodes, vectors = torch.linalg.eigh(tridiagonal)
    return Measure(nodes, squared * vectors[0].square())


def lanczos(matrix: Curvature, start: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Return the tridiagonal matrix (m, m), float64 on the CPU, and the basis (m, n) of the Krylov space of ``start``.

    m is ``steps``, or less where the space is exhausted. Every new vector is made orthogonal to all before, twice: in
    finite precision plain Lanczos finds its first eigenvalues again and again. The basis is m·n numbers in the matrix's
    dtype. Raises: ValueError, for steps below 1 and a start of zeros.
    """
    if steps < 1:
        raise ValueError(f"steps={steps}: Lanczos takes one product per step, and at least one.")
    steps = min(steps, matrix.size)
    basis = torch.empty((steps, matrix.size), dtype=matrix.dtype, device=matrix.device)
    diagonal, beside = [], []
    direction = start.to(matrix.device, matrix.dtype)
    norm = torch.linalg.vector_norm(direction)
    if norm == 0:
        raise ValueError("the start of Lanczos is a vector of zeros: it has no direction.")
    direction = direction / norm
    largest = 0.0
    for step in range(steps):
        basis[step] = direction
        following = matrix @ direction
        diagonal.append(torch.dot(following, direction).item())
        known = basis[: step + 1]
        for _ in range(2):
            following = following - known.T @ (known @ following)
        length = torch.linalg.vector_norm(following).item()
        largest = max(largest, abs(diagonal[-1]), length)
        # What is left is rounding: the space is exhausted.
        if length <= 10 * torch.finfo(matrix.dtype).eps * largest:
            break
        beside.append(length)
        direction = following / length
    found = len(diagonal)
    off = torch.tensor(beside[: found - 1], dtype=torch.float64)
    tridiagonal = torch.diag(torch.tensor(diagonal, dtype=torch.float64)) + torch.diag(off, 1) + torch.diag(off, -1)
    return tridiagonal, basis[:found]


def probe(matrix: Curvature, generator: torch.Generator) -> Tensor:
    """Return a vector (n,) of random signs, drawn on the CPU so that it does not depend on the device."""
    signs = torch.randint(0, 2, (matrix.size,), generator=generator)
    return (2 * signs - 1).to(matrix.device, matrix.dtype)
