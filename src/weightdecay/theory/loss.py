"""What training with decay costs in expected loss, and why: bias, what has not converged, and noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from weightdecay.theory.bias import curvature as regularised
from weightdecay.theory.numbers import Numbers, vector
from weightdecay.theory.quadratic import Ensemble, Quadratic, modelled
from weightdecay.theory.shrinkage import Responses, Shrinkage


@dataclass(frozen=True)
class Excess:
    """Expected loss above the minimum's, in three parts that add up to it."""

    bias: float
    """What would be left after infinitely many steps without noise."""
    mean: float
    """What is left without noise."""
    variance: float
    """What noise adds; never negative."""

    @property
    def unconverged(self) -> float:
        """What the mean still has to go; negative where the unfinished mean is nearer to θ* than the finished one."""
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
    Source: Assumption 1 and Theorem 2 of arXiv:2011.11152, and :func:`weightdecay.theory.variance`.

    >>> from weightdecay.theory import Coupled, Quadratic
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
