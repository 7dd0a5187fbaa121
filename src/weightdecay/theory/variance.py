"""How far gradient noise scatters the weights."""

from __future__ import annotations

import torch
from torch import Tensor

from weightdecay.theory.bias import curvature
from weightdecay.theory.diverging import refuse
from weightdecay.theory.numbers import Numbers, non_negative, positive
from weightdecay.theory.quadratic import Quadratic, fixed
from weightdecay.theory.shrinkage import Responses, Shrinkage


def variance(model: Quadratic, lrs: Numbers, decay: Shrinkage, at: tuple[int, ...] | None = None) -> Tensor:
    r"""Return Var[θ_t], from a fixed start, after all steps or after each of ``at`` steps.

    .. math::
        \mathrm{Var}_t = (1-\eta_t(H+\lambda))^2\,\mathrm{Var}_{t-1} + \eta_t^2\sigma^2
        \quad\Rightarrow\quad
        \mathrm{Var}_t = \sigma^2\sum_k\eta_k^2\prod_{j>k}(1-\eta_j(H+\lambda))^2

    (1 − λ₀ − η_tH in place of 1 − η_t(H+λ) under Vanilla.)

    What it costs, and its error, are in :mod:`weightdecay.theory.accumulated`.

    Shapes: (n,), or (times, n): of the coordinates in which the Hessian was given.
    Raises: ValueError, where a direction diverges.
    Source: the recursion of θ_t with independent noise; Mandt, Hoffman & Blei, arXiv:1704.04289, for constant lr.

    >>> from weightdecay.theory import Coupled, Quadratic
    >>> round(variance(Quadratic([1.0], noise=1.0), [0.1] * 1000, Coupled(0.0)).item(), 6)
    0.052632
    """
    fixed(model)
    found = model.variance_to_given(Responses(lrs, at).variance(model.eigenvalues, decay) * model.noise.square())
    return found if at is not None else found[0]


def stationary_variance(model: Quadratic, lr: float, weight_decay: float) -> Tensor:
    r"""Return the variance after infinitely many steps of equal lr.

    .. math:: \mathrm{Var}_\infty = \frac{\eta\,\sigma^2}{s\,(2-\eta s)}, \qquad s = H+\lambda

    Raises: ValueError, where a direction diverges or has no minimum. Source: as :func:`variance`.
    """
    fixed(model)
    lr, weight_decay = positive("lr", lr), non_negative("weight_decay", weight_decay)
    refuse(model.eigenvalues, weight_decay, lr)
    s = curvature(model.eigenvalues, weight_decay)
    limit = torch.where(model.noise > 0, lr * model.noise.square() / (s * (2 - lr * s)), 0.0)
    return model.variance_to_given(limit)
