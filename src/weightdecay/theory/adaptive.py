"""Where adaptive optimizers with decay settle, and how that drifts with their second moments: Eq. 9."""

from __future__ import annotations

import torch
from torch import Tensor

from weightdecay.theory.numbers import Numbers, non_negative, vector
from weightdecay.theory.quadratic import Quadratic, fixed


def decoupled_bias(model: Quadratic, weight_decay: float, second_moment: Numbers) -> Tensor:
    r"""Return where AdamW is in equilibrium while v is as given, relative to θ*: it moves as v does.

    .. math:: \theta^*_{\text{reg}} - \theta^* = -\lambda v^{1/2}\,(H+\lambda v^{1/2})^{-1}\theta^*

    v, the bias-corrected second moment, is one number or one an element, in the basis in which the Hessian was given.
    For a dense H and unequal v the two factors do not commute, and the equilibrium of the update, where
    H(θ − θ*)/√v + λθ = 0, is −(H + λ√v)⁻¹ λ√v θ*: that is returned.

    0 for λ = 0, as in :func:`weightdecay.theory.bias`.

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
    element-wise stable decay has D = I, where this is :func:`weightdecay.theory.bias`.

    Raises: as :func:`decoupled_bias`.
    Source: arXiv:2011.11152, Algorithm 2 put in the place of AdamW in Eq. 9.

    >>> model = Quadratic([1.0, 0.01])
    >>> [[round(x, 4) for x in stable_bias(model, 0.01, v).tolist()] for v in (1e-4, 1.0)]
    [[-0.0099, -0.5], [-0.0099, -0.5]]
    """
    roots = _roots(model, second_moment)
    return _bias(model, weight_decay, roots / roots.square().mean().sqrt())


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
