"""E[θ_t] for any sequence of learning rates: Theorem 2 in closed form."""

from __future__ import annotations

from torch import Tensor

from weightdecay.theory.numbers import Numbers
from weightdecay.theory.quadratic import Quadratic, fixed
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
    Raises: ValueError, where η(H+λ) > 2 or H + λ < 0: it names the direction and its growth a step.
    Source: arXiv:2011.11152, Theorem 2 (Eq. 20 and 21 lose the last θ*).

    >>> from weightdecay.theory import Coupled, Quadratic
    >>> model = Quadratic([1.0, 0.0], minimum=2.0, start=1.0)
    >>> [round(x, 4) for x in expected(model, [0.5, 0.5, 0.1], Coupled(0.25)).tolist()]
    [1.5262, 0.7465]
    """
    fixed(model)
    left, reached, _ = Responses(lrs, at).mean(model.eigenvalues, decay)
    found = model.to_given(left * model.start + reached * model.minimum)
    return found if at is not None else found[0]
