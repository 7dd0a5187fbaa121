"""The result of a training with decay: the mean of the weights (Theorem 2), their variance, and the expected loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from weightdecay.theory.bias import curvature as regularised
from weightdecay.theory.numbers import Numbers, non_negative, positive, refuse, vector
from weightdecay.theory.quadratic import Ensemble, Quadratic, fixed, modelled
from weightdecay.theory.shrinkage import Responses, Shrinkage


def expected(model: Quadratic, lrs: Numbers, decay: Shrinkage, at: tuple[int, ...] | None = None) -> Tensor:
    r"""Return E[θ_t] of gradient descent with weight decay, after all steps or after each of ``at`` steps.

    .. math::
        \mathrm E[\theta_t-\theta^*] = \prod_{k\le t}[I-\eta_k(H+\lambda I)]\,(\theta_0 - H(H+\lambda I)^{-1}\theta^*)
        - \lambda(H+\lambda I)^{-1}\theta^*

    under :class:`~weightdecay.theory.Coupled`. Under :class:`~weightdecay.theory.Vanilla`, whose minimum moves with η,

    .. math::
        \mathrm E[\theta_t] = \prod_{k\le t}[(1-\lambda_0)I-\eta_k H]\,\theta_0
        + \sum_k \eta_k \prod_{j>k}[(1-\lambda_0)I-\eta_j H]\,H\theta^*

    Noise of mean 0 does not enter. A direction with H + λ = 0 moves by Ση Hθ*: not at all where both are 0.

    It costs O(n) once 32·T logarithms an interval of eigenvalues are known, not n·T; the error bound is in
    :mod:`weightdecay.theory.product`, and under Vanilla also in :mod:`weightdecay.theory.accumulated`.

    Shapes: (n,), or (times, n); in the basis in which the Hessian was given.
    Raises: ValueError, where η(H+λ) > 2 or H + λ < 0: it names the direction and its growth per step.
    Source: arXiv:2011.11152, Theorem 2 (Eq. 20 and 21 lose the last θ*).

    >>> from weightdecay.theory import Coupled
    >>> model = Quadratic([1.0, 0.0], minimum=2.0, start=1.0)
    >>> [round(x, 4) for x in expected(model, [0.5, 0.5, 0.1], Coupled(0.25)).tolist()]
    [1.5262, 0.7465]
    """
    fixed(model)
    left, reached, _ = Responses(lrs, at).mean(model.eigenvalues, decay)
    found = model.to_given(left * model.start + reached * model.minimum)
    return found if at is not None else found[0]


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

    >>> from weightdecay.theory import Coupled
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
    s = regularised(model.eigenvalues, weight_decay)
    limit = torch.where(model.noise > 0, lr * model.noise.square() / (s * (2 - lr * s)), 0.0)
    return model.variance_to_given(limit)


@dataclass(frozen=True)
class Excess:
    """Expected loss above the minimum's, in three parts that add up to it."""

    bias: float
    """The loss that would be left after infinitely many steps without noise."""
    mean: float
    """What is left without noise."""
    variance: float
    """What noise adds; never negative."""

    @property
    def unconverged(self) -> float:
        """The part from the unfinished mean; negative if this mean is nearer to θ* than the final one."""
        return self.mean - self.bias

    @property
    def total(self) -> float:
        """Bias, unconverged and variance together."""
        return self.mean + self.variance


def excess_loss(
    model: Quadratic | Ensemble,
    lrs: Numbers | Responses,
    decay: Shrinkage,
    curvature: Numbers | None = None,
) -> Excess:
    r"""Return E[L(θ_T)] − L(θ*) after all steps.

    .. math::
        \tfrac12\sum_i w_i\Big[\mu_i^2 + \big((\mathrm E\,\theta_{T,i}-\theta^*_i)^2-\mu_i^2\big)
        + \mathrm{Var}\,\theta_{T,i}\Big]

    ``curvature`` w is that of the loss which is asked about. By default the Hessian itself, so that this is the
    training loss, without the decay's own term. Another w ≥ 0 asks about a test loss with the same minimum that also
    bends where the training loss is flat. For an :class:`~weightdecay.theory.Ensemble` it is the mean over its draws.
    Under :class:`~weightdecay.theory.Vanilla` the bias is that of the last learning rate used.

    A :class:`~weightdecay.theory.Responses` in place of ``lrs`` is used again, not made anew: for many λ.

    Raises: ValueError, where a direction diverges or has no regularised minimum, and for a negative curvature.
    Source: Assumption 1 and Theorem 2 of arXiv:2011.11152, and :func:`variance`.

    >>> from weightdecay.theory import Coupled
    >>> found = excess_loss(Quadratic([1.0], minimum=1.0, start=0.0, noise=0.1), [0.1] * 200, Coupled(0.1))
    >>> f"{found.bias:.6f} {found.unconverged:.6f} {found.variance:.6f}"
    '0.004132 0.000000 0.000241'
    """
    modelled(model)
    answers = lrs if isinstance(lrs, Responses) else Responses(lrs)
    weights = _curvature(model, curvature)
    left, _, short = (row[-1] for row in answers.mean(model.eigenvalues, decay))
    end = model.squared(torch.zeros_like(short), _end(model.eigenvalues, decay, answers.last))
    now = model.squared(left, short)
    spread = torch.zeros(())
    if (model.noise > 0).any():
        spread = answers.variance(model.eigenvalues, decay)[-1] * model.noise.square()
    return Excess(*(0.5 * (weights * part).sum().item() for part in (end, now, spread)))


def _end(eigenvalues: Tensor, decay: Shrinkage, lr: Tensor) -> Tensor:
    """Return μ/θ* = −λ/(H+λ) of the regularised loss at an lr; 0 where neither pulls, and θ stays as it is."""
    strength = decay.strength(lr)
    if 0 < strength < torch.inf:
        regularised(eigenvalues, strength.item(), decay.said(lr.item()))
    return torch.where(strength.isinf(), -1.0, torch.where(strength == 0, 0.0, -strength / (eigenvalues + strength)))


def _curvature(model: Quadratic | Ensemble, given: Numbers | None) -> Tensor:
    name = "the Hessian" if given is None else "curvature"
    found = model.eigenvalues if given is None else vector("curvature", given, model.size)
    if (found < 0).any():
        where = int((found < 0).nonzero()[0])
        raise ValueError(
            f"{name} has {found[where].item():g} in direction {where}: a loss that bends down has no excess over its "
            "minimum. Take it for flat: clamp(min=0)."
        )
    return found
