"""The sum of all eigenvalues."""

from __future__ import annotations

from typing import NamedTuple

import torch

from weightdecay.spectrum.base import Curvature
from weightdecay.spectrum.lanczos import probe


class Trace(NamedTuple):
    """An estimate and its standard error, of ``products`` products."""

    value: float
    error: float
    products: int


def trace(matrix: Curvature, products: int = 48, *, seed: int = 0) -> Trace:
    r"""Return the trace by Hutch++: exactly on a random subspace, by random signs on what is left.

    .. math:: \operatorname{tr} H = \operatorname{tr}(Q^\top H Q)
              + \mathrm E_z\big[z^\top (I-QQ^\top)\,H\,(I-QQ^\top)\,z\big], \qquad Q = \operatorname{orth}(HS)

    A third of the products each goes into S, into Q and into z. Few large eigenvalues, as networks have, are caught by
    Q, and no error is left of them. The estimate is unbiased; ``error`` is the standard error over the z alone, for the
    Q at hand.

    Deterministic in ``seed``. Raises: ValueError, for fewer than 6 products.
    Source: Meyer et al. 2021, arXiv:2010.09649, Algorithm 1 with random signs; Hutchinson 1990.
    """
    third = products // 3
    if third < 2:
        raise ValueError(f"products={products}: Hutch++ needs 6 at least, two for each of its three parts.")
    generator = torch.Generator().manual_seed(seed)
    third = min(third, matrix.size)
    sketch = torch.stack([matrix @ probe(matrix, generator) for _ in range(third)])
    basis = _orthonormal(sketch)
    inside = sum(torch.dot(q, matrix @ q).item() for q in basis)
    samples = []
    for _ in range(third):
        z = probe(matrix, generator)
        z = z - basis.T @ (basis @ z)
        z = z - basis.T @ (basis @ z)
        samples.append(torch.dot(z, matrix @ z).item())
    outside = torch.tensor(samples, dtype=torch.float64)
    error = 0.0 if len(basis) == matrix.size else (outside.std() / third**0.5).item()  # all of it was inside
    return Trace(inside + outside.mean().item(), error, 2 * third + len(basis))


def _orthonormal(rows: torch.Tensor) -> torch.Tensor:
    """Return an orthonormal basis (r, n) of the rows' span; directions that are rounding only are left out."""
    _, singular, basis = torch.linalg.svd(rows, full_matrices=False)
    keep = singular > singular[0] * torch.finfo(rows.dtype).eps * max(rows.shape)
    found: torch.Tensor = basis[keep]
    return found
