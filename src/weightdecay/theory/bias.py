"""The end of a training with decay, and its time: Corollaries 1 and 2; the moving end of adaptive methods (Eq. 9)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from weightdecay.theory.numbers import FLAT, Numbers, non_negative, positive, refuse, vector
from weightdecay.theory.product import log_abs_one_minus
from weightdecay.theory.quadratic import Quadratic, fixed


def bias(model: Quadratic, weight_decay: float) -> Tensor:
    r"""Return the distance of the regularised minimum from θ*, direction by direction.

    .. math:: \mu_i = -\frac{\lambda\,\theta^*_i}{H_i+\lambda}

    0 for λ = 0, where a direction with H_i = 0 has no minimum of its own and stays where it started.

    Raises: ValueError, for a negative λ, and where H_i + λ is not positive though λ is.
    Source: arXiv:2011.11152, Corollary 1.

    >>> bias(Quadratic([1.0, 0.0], minimum=2.0), weight_decay=1.0).tolist()
    [-1.0, -2.0]
    """
    fixed(model)
    weight_decay = non_negative("weight_decay", weight_decay)
    if weight_decay == 0:
        return model.to_given(torch.zeros_like(model.minimum))
    return model.to_given(-weight_decay / curvature(model.eigenvalues, weight_decay) * model.minimum)


def curvature(eigenvalues: Tensor, weight_decay: float, said: str = "") -> Tensor:
    """Return H + λ. Raises: ValueError, where it is not positive: there is no minimum then. ``said`` words λ there."""
    found = eigenvalues + weight_decay
    worst = int(found.argmin())
    if found[worst] <= 0:
        raise ValueError(
            f"direction {worst} has no regularised minimum: the sum of H = {eigenvalues[worst].item():g} "
            f"and {said or f'λ = {weight_decay:g}'} is not positive. Use a stronger decay, or {FLAT}."
        )
    return found


def share_decided_by_decay(eigenvalues: Numbers, weight_decay: float, factor: float = 10.0) -> float:
    r"""Return the share of directions with :math:`|H_i| \le \lambda/\text{factor}`.

    There λ alone sets both the time, 1/(ηλ), and the end, 0: each to within 1/(factor − 1), a ninth with the factor 10.
    Without decay there is none.

    Source: arXiv:2011.11152, after Corollary 2.

    >>> share_decided_by_decay([10.0, 1e-3, 1e-5, 0.0], weight_decay=5e-4)
    0.5
    """
    limit = non_negative("weight_decay", weight_decay) / positive("factor", factor)
    decided = vector("eigenvalues", eigenvalues).abs() <= limit
    return decided.double().mean().item() if limit else 0.0


def steps_to_converge(eigenvalues: Numbers, lr: float, weight_decay: float, factor: float = 1 / math.e) -> Tensor:
    r"""Return after how many steps the distance to the regularised minimum has shrunk to ``factor`` of itself.

    .. math:: t_i = \frac{\log \text{factor}}{\log|1-\eta(H_i+\lambda)|}

    Not rounded up. Infinite where H_i + λ is 0 or η(H_i+λ) is 2; 0 where one step arrives.

    Raises: ValueError, where a direction diverges, and for a factor outside (0, 1).
    Source: arXiv:2011.11152, Corollary 2 (which gives the order of it).

    >>> [f"{t:.4g}" for t in steps_to_converge([1.0, 0.0], lr=0.1, weight_decay=5e-4).tolist()]
    ['9.486', '2e+04']
    """
    found = vector("eigenvalues", eigenvalues)
    lr, weight_decay = positive("lr", lr), non_negative("weight_decay", weight_decay)
    refuse(found, weight_decay, lr)
    rate = log_abs_one_minus(lr * (found + weight_decay)).neg()
    return torch.where(rate > 0, -_log(factor) / rate, torch.inf)


def time_constant(eigenvalues: Numbers, lr: float, weight_decay: float) -> Tensor:
    r"""Return :math:`1/((H_i+\lambda)\eta)`: the steps to 1/e where they are many; 1/(λη) where H_i is 0.

    Source: arXiv:2011.11152, Corollary 2, Eq. 7.

    >>> [round(t) for t in time_constant([1.0, 0.0], lr=0.1, weight_decay=5e-4).tolist()]
    [10, 20000]
    """
    found = vector("eigenvalues", eigenvalues)
    lr, weight_decay = positive("lr", lr), non_negative("weight_decay", weight_decay)
    refuse(found, weight_decay, lr)
    return 1 / (lr * (found + weight_decay))


def decoupled_bias(model: Quadratic, weight_decay: float, second_moment: Numbers) -> Tensor:
    r"""Return the equilibrium of AdamW for a given v, relative to θ*; it moves when v does.

    .. math:: \theta^*_{\text{reg}} - \theta^* = -\lambda v^{1/2}\,(H+\lambda v^{1/2})^{-1}\theta^*

    v, the bias-corrected second moment, is one number or one per element, in the basis in which the Hessian was given.
    For a dense H and unequal v the two factors do not commute, and the equilibrium of the update, where
    H(θ − θ*)/√v + λθ = 0, is −(H + λ√v)⁻¹ λ√v θ*: that is returned.

    0 for λ = 0, as in :func:`bias`.

    Raises: ValueError, for a v that is not above 0, a negative λ, and where H + λ√v is not positive definite.
    Source: arXiv:2011.11152, Eq. 9.

    >>> [round(x, 4) for x in decoupled_bias(Quadratic([1.0, 0.01]), 0.5, 1e-4).tolist()]
    [-0.005, -0.3333]
    """
    return _bias(model, weight_decay, _roots(model, second_moment))


def stable_bias(model: Quadratic, weight_decay: float, second_moment: Numbers) -> Tensor:
    r"""Return the same for AdamS, whose pull is divided by the root of the mean v̄ of v.

    .. math:: \theta^*_{\text{reg}} - \theta^* = -\lambda D\,(H+\lambda D)^{-1}\theta^*, \qquad
              D = (v/\bar v)^{1/2}

    A common factor in v has no effect, which is what "stable" is to mean. A change of v between elements has: only
    element-wise stable decay has D = I, where this is :func:`bias`.

    Raises: as :func:`decoupled_bias`.
    Source: arXiv:2011.11152, Algorithm 2 put in the place of AdamW in Eq. 9.

    >>> model = Quadratic([1.0, 0.01])
    >>> [[round(x, 4) for x in stable_bias(model, 0.01, v).tolist()] for v in (1e-4, 1.0)]
    [[-0.0099, -0.5], [-0.0099, -0.5]]
    """
    roots = _roots(model, second_moment)
    return _bias(model, weight_decay, roots / roots.square().mean().sqrt())


def _log(factor: float) -> float:
    found = positive("factor", factor)
    if found >= 1:
        raise ValueError(f"factor={factor!r}: it must lie between 0 and 1, as 1/e or 0.01.")
    return math.log(found)


def _roots(model: Quadratic, second_moment: Numbers) -> Tensor:
    fixed(model)
    found = vector("second_moment", second_moment, model.size)
    if (found <= 0).any():
        where = int((found <= 0).nonzero()[0])
        raise ValueError(
            f"second_moment[{where}] = {found[where].item():g}: v must be above 0; leave elements out that never had a "
            "gradient."
        )
    return found.sqrt()


def _bias(model: Quadratic, weight_decay: float, roots: Tensor) -> Tensor:
    """Return −(H + S)⁻¹ S θ* for the diagonal S = λ·roots in the given basis."""
    weight_decay = non_negative("weight_decay", weight_decay)
    if weight_decay == 0:
        return model.to_given(torch.zeros_like(model.minimum))
    strengths = weight_decay * roots
    if model.basis is None:
        total = model.eigenvalues + strengths
        if (total <= 0).any():
            where = int((total <= 0).nonzero()[0])
            raise ValueError(
                f"direction {where} has no regularised minimum: H + λ√v = {model.eigenvalues[where].item():g} + "
                f"{strengths[where].item():g} is not positive. Take negative eigenvalues for flat."
            )
        return -strengths / total * model.minimum
    hessian = (model.basis * model.eigenvalues) @ model.basis.T
    factor, info = torch.linalg.cholesky_ex(hessian + strengths.diag())
    if info.item():
        raise ValueError("H + λ√v is not positive definite: there is no regularised minimum. Use a larger λ.")
    right = -strengths * model.to_given(model.minimum)
    return torch.cholesky_solve(right[:, None], factor).squeeze(1)
