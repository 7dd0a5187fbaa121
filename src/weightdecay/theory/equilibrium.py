r"""Norms and angles at which scale-invariant weights settle: decay shrinks them, gradients at right angles grow them.

The loss of weights before a normalisation layer does not depend on their norm: L(cw) = L(w). So the gradient is
orthogonal to w, and its norm is G/‖w‖ where G is that at ‖w‖ = 1. Let q = 1 − ηλ. For an optimizer whose updates u
have second moment E‖u‖² and correlation r_k = E⟨u_t, u_{t+k}⟩/E‖u‖², and with S = Σ_{k≥1} qᵏ r_k, a decoupled decay
w ← qw − ηu keeps

.. math:: \|w\|^2 = \frac{\eta^2\,\mathrm E\|u\|^2\,(1+2S)}{1-q^2}, \qquad
          \cos\angle(w_t, w_{t+1}) = q + \frac{S\,(1-q^2)}{q\,(1+2S)}

What is assumed: gradients of different steps are independent; there are so many weights that norms and angles are near
their means; a learning rate that does not change for about 1/(ηλ) steps. A gradient that points the same way for many
steps moves the weights further than this.

Sources: van Laarhoven, arXiv:1706.05350 (the balance); Wan et al., arXiv:2006.08419 (SGD with momentum, L2); Kosson et
al., arXiv:2305.17212 (AdamW, Lion, and √(2ηλ) for all), to first order in ηλ. The forms here are exact in ηλ and were
derived from the stationary second moments; they are tested against simulation and the first-order forms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from weightdecay.theory.numbers import fraction, positive


@dataclass(frozen=True)
class Equilibrium:
    """The balance that a tensor of scale-invariant weights settles in."""

    norm: float
    """Euclidean, of all of the tensor."""
    cosine: float
    """Of the angle between weights of one step and the next."""

    @property
    def angle(self) -> float:
        """Radians that the weights turn a step."""
        return math.acos(max(-1.0, min(1.0, self.cosine)))


def sgd(lr: float, weight_decay: float, grad_norm: float, momentum: float = 0.0, dampening: float = 0.0) -> Equilibrium:
    r"""Return the equilibrium of SGD with L2, the decay going through the momentum buffer.

    .. math:: \|w\|^4 = \frac{\eta\beta_3 G^2}{\lambda(1-\beta_1)\,\big(2-\frac{\eta\beta_3\lambda}{1+\beta_1}\big)},
              \qquad \cos\angle = 1 - \frac{\eta\beta_3\lambda}{1+\beta_1}

    ``grad_norm`` G is the gradient's norm at ‖w‖ = 1, root mean square; β₃ = 1 − dampening (1 without momentum).

    Raises: ValueError, for numbers out of range, and where ηβ₃λ is too large for a balance (2(1+β₁) or more).
    Source: Wan et al., arXiv:2006.08419, with β₃ = 1; van Laarhoven, arXiv:1706.05350, without momentum.

    >>> found = sgd(lr=0.1, weight_decay=5e-4, grad_norm=1.0, momentum=0.9)
    >>> f"{found.norm:.4f} {found.angle:.6f}"
    '5.6234 0.007255'
    """
    _ranges(lr, weight_decay, grad_norm)
    beta3 = 1 - fraction("dampening", dampening) if fraction("momentum", momentum) else 1.0
    turned = lr * beta3 * weight_decay / (1 + momentum)
    if turned >= 2:
        raise ValueError(f"lr·weight_decay = {lr * weight_decay:g} leaves no balance: the decay alone diverges.")
    fourth = lr * beta3 * grad_norm**2 / (weight_decay * (1 - momentum) * (2 - turned))
    return Equilibrium(fourth**0.25, 1 - turned)


def sgdw(
    lr: float, weight_decay: float, grad_norm: float, momentum: float = 0.0, dampening: float = 0.0
) -> Equilibrium:
    r"""Return the equilibrium of SGD with decay decoupled from the gradient, q = 1 − ηλ.

    .. math:: \|w\|^4 = \frac{\eta^2\beta_3^2 G^2\,(1+q\beta_1)}{(1-\beta_1^2)(1-q\beta_1)(1-q^2)}, \qquad
              \cos\angle = \frac{q+\beta_1}{1+q\beta_1}

    Stable decay (SGDS) is this with λβ₃/(1−β₁) in place of λ: it then has the norm of :func:`sgd` to first order.

    Raises: ValueError, for numbers out of range, and for ηλ of 1 or more.
    Source: derived from the stationary second moments; Kosson et al., arXiv:2305.17212, to first order.

    >>> found = sgdw(lr=0.1, weight_decay=5e-3, grad_norm=1.0, momentum=0.9)
    >>> f"{found.norm:.4f} {found.angle:.6f}"
    '5.6171 0.007256'
    """
    _ranges(lr, weight_decay, grad_norm)
    beta3 = 1 - fraction("dampening", dampening) if fraction("momentum", momentum) else 1.0
    q = _kept(lr, weight_decay)
    update = (beta3 * grad_norm) ** 2 / (1 - momentum**2)  # E‖u‖²‖w‖²
    squared, cosine = _decoupled(lr, q, update, momentum * q / (1 - momentum * q))
    return Equilibrium(squared**0.25, cosine)


def adamw(lr: float, weight_decay: float, size: int, beta1: float = 0.9) -> Equilibrium:
    r"""Return the equilibrium of AdamW: u is m̂/√v̂, whose size does not depend on the gradient's.

    .. math:: \|w\|^2 = \frac{n\,\eta^2}{1-q^2}\cdot\frac{1-\beta_1}{1+\beta_1}\cdot\frac{1+q\beta_1}{1-q\beta_1}
              \approx \frac{n\,\eta}{2\lambda}, \qquad \cos\angle = \frac{q+\beta_1}{1+q\beta_1}

    ``size`` n counts the tensor's elements. v̂ is taken for the mean square of the gradient: β₂ near 1, ε small, and all
    elements alike. Adam with L2 has no such form: its decay is divided by √v̂ as the gradient is.

    Raises: ValueError, for numbers out of range, and for ηλ of 1 or more.
    Source: Kosson et al., arXiv:2305.17212, to first order in ηλ; exact here.

    >>> found = adamw(lr=1e-3, weight_decay=0.1, size=10_000)
    >>> f"{found.norm:.4f} {found.angle:.6f}"
    '7.0679 0.003245'
    """
    _ranges(lr, weight_decay, 1.0)
    q = _kept(lr, weight_decay)
    update = _size(size) * (1 - fraction("beta1", beta1)) / (1 + beta1)
    squared, cosine = _decoupled(lr, q, update, beta1 * q / (1 - beta1 * q))
    return Equilibrium(squared**0.5, cosine)


def adams(lr: float, weight_decay: float, size: int, grad_norm: float, beta1: float = 0.9) -> Equilibrium:
    r"""Return the equilibrium of AdamS: that of AdamW with the λ' which it makes itself, as √v̄ = G/(‖w‖√n).

    .. math:: \lambda' = \lambda\|w\|\sqrt n/G, \qquad \|w\|^3 \approx \frac{\eta\,G\sqrt n}{2\lambda}, \qquad
              \cos\angle = \frac{q'+\beta_1}{1+q'\beta_1}, \quad q' = 1-\eta\lambda'

    for a model whose elements all have the same mean square gradient, that of this tensor. The norm is the solution
    of :func:`adamw`'s exact form with q' in it.

    Raises: ValueError, for numbers out of range, and where the pull ηλ' comes out as 1 or more.
    Source: derived here from :func:`adamw` and arXiv:2011.11152, Algorithm 2.

    >>> found = adams(lr=1e-3, weight_decay=5e-4, size=10_000, grad_norm=1.0)
    >>> f"{found.norm:.4f} {found.angle:.6f}"
    '4.6384 0.004941'
    """
    _ranges(lr, weight_decay, grad_norm)
    fraction("beta1", beta1)
    norm = (lr * grad_norm * math.sqrt(_size(size)) / (2 * weight_decay)) ** (1 / 3)
    for _ in range(60):
        balance = adamw(lr, weight_decay * norm * math.sqrt(size) / grad_norm, size, beta1)
        norm *= (balance.norm / norm) ** (2 / 3)  # adamw's norm falls as ‖w‖^(−1/2): Newton's step in the logarithm
    return Equilibrium(norm, balance.cosine)


def lion(lr: float, weight_decay: float, size: int, beta1: float = 0.9, beta2: float = 0.99) -> Equilibrium:
    r"""Return the equilibrium of Lion: u = sign(c), c = β₁m + (1−β₁)g, then m ← β₂m + (1−β₂)g.

    ‖u‖² is n, always. For normal gradients signs correlate as :math:`r_k = \tfrac2\pi\arcsin(\kappa\beta_2^{k-1})`,

    .. math:: \kappa = \frac{\beta_1(1-\beta_1)(1-\beta_2) + \beta_1^2\beta_2\frac{1-\beta_2}{1+\beta_2}}
              {(1-\beta_1)^2 + \beta_1^2\frac{1-\beta_2}{1+\beta_2}}

    (correlation of c at lag 1), and norm and angle follow from S = Σ qᵏ r_k as above. With arcsin x ≈ x and small ηλ
    it is :math:`\|w\|^2 \approx n\eta/(\pi\lambda)\,/\,[(1-\beta_1)^2+\beta_1^2\tfrac{1-\beta_2}{1+\beta_2}]`.

    Raises: ValueError, for numbers out of range, and for ηλ of 1 or more.
    Source: Chen et al., arXiv:2302.06675 (the update); Kosson et al., arXiv:2305.17212 (the approximation).

    >>> found = lion(lr=1e-4, weight_decay=1.0, size=10_000)
    >>> f"{found.norm:.4f} {found.angle:.6f}"
    '4.7690 0.002095'
    """
    _ranges(lr, weight_decay, 1.0)
    fraction("beta1", beta1)
    fraction("beta2", beta2)
    q = _kept(lr, weight_decay)
    memory = beta1**2 * (1 - beta2) / (1 + beta2)
    kappa = (beta1 * (1 - beta1) * (1 - beta2) + beta2 * memory) / ((1 - beta1) ** 2 + memory)
    total, factor, correlation = 0.0, q, kappa
    while correlation * factor > 1e-17:
        total += factor * 2 / math.pi * math.asin(correlation)
        factor, correlation = factor * q, correlation * beta2
    squared, cosine = _decoupled(lr, q, _size(size), total)
    return Equilibrium(squared**0.5, cosine)


def _decoupled(lr: float, q: float, update: float, total: float) -> tuple[float, float]:
    """Return η²E‖u‖²(1+2S)/(1−q²) and the cosine, from S."""
    gap = (1 - q) * (1 + q)
    return lr**2 * update * (1 + 2 * total) / gap, q + total * gap / (q * (1 + 2 * total))


def _kept(lr: float, weight_decay: float) -> float:
    """Return q. The form 1 − ηλ is what the step computes; its rounding is that of the step."""
    if lr * weight_decay >= 1:
        raise ValueError(
            f"lr·weight_decay = {lr:g}·{weight_decay:g} = {lr * weight_decay:g}: from 1 on a step leaves nothing of "
            "the weights. Lower one of them."
        )
    return 1 - lr * weight_decay


def _ranges(lr: float, weight_decay: float, grad_norm: float) -> None:
    positive("lr", lr)
    positive("weight_decay", weight_decay)
    positive("grad_norm", grad_norm)


def _size(size: int) -> int:
    if size < 1:
        raise ValueError(f"size={size}: a tensor of weights has at least one element.")
    return size
