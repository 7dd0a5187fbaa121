"""The loss near a minimum: a quadratic with any spectrum, a start, and gradient noise."""

from __future__ import annotations

import torch
from torch import Tensor

from weightdecay.theory.numbers import Numbers, numbers, rounding, shown, vector


class Quadratic:
    r"""A quadratic loss, of which every direction is a problem of its own.

    .. math:: L(\theta) = L(\theta^*) + \tfrac12(\theta-\theta^*)^\top H\,(\theta-\theta^*), \qquad
              g_t = H(\theta_{t-1}-\theta^*) + \sigma\xi_t

    ``hessian`` is a vector of n eigenvalues (10⁷ are no problem: no matrix is made), or a symmetric n × n matrix, which
    is decomposed once. ``minimum`` θ* and ``start`` θ₀ are n numbers or one, in the basis in which the Hessian is
    given, and so are results. ``noise`` σ is the standard deviation of the gradient along each eigenvector, in the
    order of ``eigenvalues``; ξ has mean 0 and variance 1, independent between steps and directions.

    Negative eigenvalues are taken, since measured spectra have them. Along one, θ* is a saddle: the mean leaves it by
    1 − η(h + λ) a step unless λ > −h, and every formula that would hide this raises (see
    :func:`weightdecay.theory.numbers.refuse`). ``Quadratic(eigenvalues.clamp(min=0))`` takes them for flat.

    Raises: ValueError, for shapes that do not fit, a matrix not symmetric, numbers not finite, and negative noise.
    Source: arXiv:2011.11152, Assumption 1.

    >>> model = Quadratic([10.0, 0.1], minimum=1.0, start=0.0, noise=0.5)
    >>> model.size, model.noise.tolist()
    (2, [0.5, 0.5])
    """

    def __init__(self, hessian: Numbers, minimum: Numbers = 1.0, start: Numbers = 0.0, noise: Numbers = 0.0) -> None:
        given = numbers("hessian", hessian)
        self.basis: Tensor | None = None  # eigenvectors as columns; None where the Hessian is diagonal
        if given.ndim == 2:
            self.eigenvalues, self.basis = _decomposed(given, rounding(hessian))
        else:
            self.eigenvalues = vector("hessian", given)
        self.size = self.eigenvalues.numel()
        self.minimum = self.to_eigen(vector("minimum", minimum, self.size))
        self.start = self.to_eigen(vector("start", start, self.size))
        self.noise = vector("noise", noise, self.size)
        if (self.noise < 0).any():
            where = int((self.noise < 0).nonzero()[0])
            raise ValueError(f"noise[{where}] = {self.noise[where].item()}: a standard deviation is 0 or above.")

    def to_eigen(self, given: Tensor) -> Tensor:
        """Return vectors (…, n) in the basis of eigenvectors."""
        return given if self.basis is None else given @ self.basis

    def to_given(self, eigen: Tensor) -> Tensor:
        """Return vectors (…, n) in the basis in which the Hessian was given."""
        return eigen if self.basis is None else eigen @ self.basis.T

    def variance_to_given(self, eigen: Tensor) -> Tensor:
        """Return variances (…, n) along eigenvectors, uncorrelated, as variances of the given coordinates."""
        return eigen if self.basis is None else eigen @ self.basis.square().T

    def squared(self, left: Tensor, short: Tensor) -> Tensor:
        """Return (Pθ₀ + Sθ*)² along eigenvectors, for the factors P and S of each: what an expected loss adds up."""
        return (left * self.start + short * self.minimum).square()

    def __repr__(self) -> str:
        low, high = self.eigenvalues.min().item(), self.eigenvalues.max().item()
        return f"Quadratic({self.size} directions, eigenvalues {low:.3g} to {high:.3g})"


class Ensemble:
    """Quadratics of one spectrum whose minimum and start are drawn: independent, with mean 0, of these deviations.

    What is said about it is the mean over draws. That is the right question for choosing λ before training: where the
    minimum lies is not known, only how large weights are.

    Shapes: n eigenvalues; minimum, start and noise are standard deviations, n numbers or one.
    Raises: ValueError, as :class:`Quadratic` does, and for negative deviations.
    """

    def __init__(
        self, eigenvalues: Numbers, minimum: Numbers = 1.0, start: Numbers = 1.0, noise: Numbers = 0.0
    ) -> None:
        self.deviations = Quadratic(vector("eigenvalues", eigenvalues), minimum, start, noise)
        for name, value in (("minimum", self.deviations.minimum), ("start", self.deviations.start)):
            if (value < 0).any():
                raise ValueError(f"{name} has the negative deviation {value.min().item()}: it is 0 or above.")
        self.eigenvalues, self.noise, self.size = (
            self.deviations.eigenvalues,
            self.deviations.noise,
            self.deviations.size,
        )

    def squared(self, left: Tensor, short: Tensor) -> Tensor:
        """Return E(Pθ₀ + Sθ*)² = P² Eθ₀² + S² Eθ*² along eigenvectors: start and minimum are independent."""
        return (left * self.deviations.start).square() + (short * self.deviations.minimum).square()

    def draw(self, generator: torch.Generator) -> Quadratic:
        """Return one of them, normally distributed."""
        minimum, start = (
            deviation * torch.randn(self.size, dtype=torch.float64, generator=generator)
            for deviation in (self.deviations.minimum, self.deviations.start)
        )
        return Quadratic(self.eigenvalues, minimum, start, self.noise)


def modelled(model: object) -> None:
    """Refuse what is neither a quadratic nor an ensemble of them. Raises: ValueError."""
    if not isinstance(model, Quadratic | Ensemble):
        raise ValueError(
            f"model={shown(model)}: it must be a quadratic, which knows its minimum and its start. Pass "
            "Quadratic(hessian), where hessian is eigenvalues or a matrix."
        )


def fixed(model: Quadratic) -> None:
    """Refuse what is no single quadratic. Raises: ValueError."""
    modelled(model)
    if isinstance(model, Ensemble):
        raise ValueError(
            "model is an Ensemble, which has no one minimum and start: ask about model.draw(generator), or take "
            "excess_loss, which is the mean over draws."
        )


def _decomposed(hessian: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return eigenvalues and eigenvectors; a negative eigenvalue that rounding by ``eps`` may have made is 0."""
    rows, columns = hessian.shape
    if rows != columns or not rows:
        raise ValueError(f"hessian has shape ({rows}, {columns}): a matrix must be square, eigenvalues a vector.")
    if not hessian.isfinite().all():
        raise ValueError("hessian has entries that are not finite.")
    apart = (hessian - hessian.T).abs().max().item()
    if apart > max(1e-8, 100 * eps) * hessian.abs().max().item():
        raise ValueError(f"hessian differs from its transpose by {apart:.3g}: pass (H + Hᵀ)/2.")
    values, basis = torch.linalg.eigh((hessian + hessian.T) / 2)
    rounded = (values < 0) & (values >= -rows * eps * values.abs().max())
    return torch.where(rounded, 0.0, values), basis
