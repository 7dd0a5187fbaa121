r"""Norms and angles at which scale-invariant weights settle: decay shrinks them, gradients at right angles grow them.

The loss of weights before a normalisation layer does not depend on their norm: L(cw) = L(w). So the gradient is
orthogonal to w, and its norm is G/‖w‖ where G is that at ‖w‖ = 1. Let q = 1 − ηλ. For an optimizer whose updates u
have second moment E‖u‖² and correlation r_k = E⟨u_t, u_{t+k}⟩/E‖u‖², and with S = Σ_{k≥1} qᵏ r_k, a decoupled decay
w ← qw − ηu keeps

.. math:: \|w\|^2 = \frac{\eta^2\,\mathrm E\|u\|^2\,(1+2S)}{1-q^2}, \qquad
          \cos\angle(w_t, w_{t+1}) = q + \frac{S\,(1-q^2)}{q\,(1+2S)}

for ηλ below 2. (Between 1 and 2 a step turns the weights round before it adds to them. Where the cosine is 0 the norm
does not settle: without momentum each step undoes the one before.)

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

from weightdecay.theory.numbers import fraction, positive, whole


@dataclass(frozen=True)
class Equilibrium:
    """The balance that a tensor of scale-invariant weights settles in.

    Raises: ValueError, for a norm that left the range of floats.
    """

    norm: float
    """Euclidean, of all of the tensor."""
    turned: float
    """1 − the cosine of the angle between weights of one step and the next."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.norm):
            raise ValueError(
                f"norm={self.norm:g}: lr, weight_decay or the gradient's norm are too large or too small for a float. "
                "Check their units."
            )

    @property
    def cosine(self) -> float:
        """The cosine of the angle between the weights of one step and the next."""
        return 1 - self.turned

    @property
    def angle(self) -> float:
        """The angle by which the weights turn per step, in radians."""
        return 2 * math.asin(math.sqrt(min(1.0, self.turned / 2)))


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
    lr, weight_decay, grad_norm = _positive(lr, weight_decay, grad_norm)
    momentum = fraction("momentum", momentum)
    beta3 = 1 - fraction("dampening", dampening) if momentum else 1.0
    turned = lr * beta3 * weight_decay / (1 + momentum)
    if turned >= 2:
        raise ValueError(
            f"lr·weight_decay = {lr:g}·{weight_decay:g} = {lr * weight_decay:g} leaves no balance: the decay alone "
            f"diverges. It must be below {2 * (1 + momentum) / beta3:g}."
        )
    fourth = lr * beta3 / weight_decay / ((1 - momentum) * (2 - turned))  # of ‖w‖, at G = 1
    return Equilibrium(math.sqrt(grad_norm) * fourth**0.25, turned)


def sgdw(
    lr: float, weight_decay: float, grad_norm: float, momentum: float = 0.0, dampening: float = 0.0
) -> Equilibrium:
    r"""Return the equilibrium of SGD with decay decoupled from the gradient, q = 1 − ηλ.

    .. math:: \|w\|^4 = \frac{\eta^2\beta_3^2 G^2\,(1+q\beta_1)}{(1-\beta_1^2)(1-q\beta_1)(1-q^2)}, \qquad
              \cos\angle = \frac{q+\beta_1}{1+q\beta_1}

    Stable decay (SGDS) is this with λβ₃/(1−β₁) in place of λ: it then has the norm of :func:`sgd` to first order.

    Raises: ValueError, for numbers out of range, and for ηλ of 2 or more.
    Source: derived from the stationary second moments; Kosson et al., arXiv:2305.17212, to first order.

    >>> found = sgdw(lr=0.1, weight_decay=5e-3, grad_norm=1.0, momentum=0.9)
    >>> f"{found.norm:.4f} {found.angle:.6f}"
    '5.6171 0.007256'
    """
    lr, weight_decay, grad_norm = _positive(lr, weight_decay, grad_norm)
    momentum = fraction("momentum", momentum)
    beta3 = 1 - fraction("dampening", dampening) if momentum else 1.0
    pull = _pull(lr, weight_decay)
    update = 1 / (1 - momentum**2)  # E‖u‖²‖w‖² at β₃G = 1
    fourth, turned = _decoupled(pull, update, momentum / (1 - momentum * (1 - pull)))
    return Equilibrium(math.sqrt(lr * beta3) * math.sqrt(grad_norm) * fourth**0.25, turned)


def adamw(lr: float, weight_decay: float, size: int, beta1: float = 0.9) -> Equilibrium:
    r"""Return the equilibrium of AdamW: u is m̂/√v̂, whose size does not depend on the gradient's.

    .. math:: \|w\|^2 = \frac{n\,\eta^2}{1-q^2}\cdot\frac{1-\beta_1}{1+\beta_1}\cdot\frac{1+q\beta_1}{1-q\beta_1}
              \approx \frac{n\,\eta}{2\lambda}, \qquad \cos\angle = \frac{q+\beta_1}{1+q\beta_1}

    ``size`` n counts the tensor's elements. v̂ is taken for the mean square of the gradient: β₂ near 1, ε small, and all
    elements alike. Adam with L2 has no such form: its decay is divided by √v̂ as the gradient is.

    Raises: ValueError, for numbers out of range, and for ηλ of 2 or more.
    Source: Kosson et al., arXiv:2305.17212, to first order in ηλ; exact here.

    >>> found = adamw(lr=1e-3, weight_decay=0.1, size=10_000)
    >>> f"{found.norm:.4f} {found.angle:.6f}"
    '7.0679 0.003245'
    """
    lr, weight_decay, _ = _positive(lr, weight_decay)
    return Equilibrium(*_adaptive(lr, _pull(lr, weight_decay), _size(size), fraction("beta1", beta1)))


def adams(lr: float, weight_decay: float, size: int, grad_norm: float, beta1: float = 0.9) -> Equilibrium:
    r"""Return the equilibrium of AdamS: that of AdamW with the λ' which it makes itself, as √v̄ = G/(‖w‖√n).

    .. math:: \lambda' = \lambda\|w\|\sqrt n/G, \qquad \|w\|^3 \approx \frac{\eta\,G\sqrt n}{2\lambda}, \qquad
              \cos\angle = \frac{q'+\beta_1}{1+q'\beta_1}, \quad q' = 1-\eta\lambda'

    for a model whose elements all have the same mean square gradient, that of this tensor. The norm is the solution
    of :func:`adamw`'s exact form with q' in it, the one with a pull ηλ' below 1.

    Raises: ValueError, for numbers out of range, and where there is no balance with a pull from 1e-300 to 1.
    Source: derived here from :func:`adamw` and arXiv:2011.11152, Algorithm 2.

    >>> found = adams(lr=1e-3, weight_decay=5e-4, size=10_000, grad_norm=1.0)
    >>> f"{found.norm:.4f} {found.angle:.6f}"
    '4.6384 0.004941'
    """
    lr, weight_decay, grad_norm = _positive(lr, weight_decay, grad_norm)
    beta1, per_norm = fraction("beta1", beta1), lr * weight_decay * math.sqrt(_size(size)) / grad_norm

    def beyond(log_pull: float) -> bool:
        """Whether the norm that a pull leaves would make a smaller pull: it falls as the pull grows."""
        pull = math.exp(log_pull)
        return per_norm * _adaptive(lr, pull, size, beta1)[0] < pull

    low, high = math.log(1e-300), 0.0
    given = f"lr={lr:g}, weight_decay={weight_decay:g}, size={size}, grad_norm={grad_norm:g}"
    if not beyond(high):
        raise ValueError(
            f"{given}: at every pull below 1 weights are so large that Stable decay would pull harder. Lower lr or "
            "weight_decay."
        )
    if beyond(low):
        raise ValueError(f"{given}: the balance has a pull below 1e-300, too small for a float. Check their units.")
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if beyond(middle) else (middle, high)
    return Equilibrium(*_adaptive(lr, math.exp(high), size, beta1))


def lion(lr: float, weight_decay: float, size: int, beta1: float = 0.9, beta2: float = 0.99) -> Equilibrium:
    r"""Return the equilibrium of Lion: u = sign(c), c = β₁m + (1−β₁)g, then m ← β₂m + (1−β₂)g.

    ‖u‖² is n, always. For normal gradients signs correlate as :math:`r_k = \tfrac2\pi\arcsin(\kappa\beta_2^{k-1})`,

    .. math:: \kappa = \frac{\beta_1(1-\beta_1)(1-\beta_2) + \beta_1^2\beta_2\frac{1-\beta_2}{1+\beta_2}}
              {(1-\beta_1)^2 + \beta_1^2\frac{1-\beta_2}{1+\beta_2}}

    (correlation of c at lag 1), and norm and angle follow from S = Σ qᵏ r_k as above, summed power by power of arcsin:
    a geometric series each. With arcsin x ≈ x, small ηλ, and a memory so long that S is far above 1, it is
    :math:`\|w\|^2 \approx n\eta/(\pi\lambda)\,/\,[(1-\beta_1)^2+\beta_1^2\tfrac{1-\beta_2}{1+\beta_2}]`.

    Raises: ValueError, for numbers out of range, and for ηλ of 2 or more.
    Source: Chen et al., arXiv:2302.06675 (the update); Kosson et al., arXiv:2305.17212 (the approximation).

    >>> found = lion(lr=1e-4, weight_decay=1.0, size=10_000)
    >>> f"{found.norm:.4f} {found.angle:.6f}"
    '4.7690 0.002095'
    """
    lr, weight_decay, _ = _positive(lr, weight_decay)
    beta1, beta2, pull = fraction("beta1", beta1), fraction("beta2", beta2), _pull(lr, weight_decay)
    memory = beta1**2 * (1 - beta2) / (1 + beta2)
    kappa = (beta1 * (1 - beta1) * (1 - beta2) + beta2 * memory) / ((1 - beta1) ** 2 + memory)
    slope, power, coefficient, odd = 0.0, kappa, 2 / math.pi, 1  # arcsin x = Σ c x^odd
    while abs(term := coefficient * power / (1 - (1 - pull) * beta2**odd)) > 1e-17 * abs(slope):
        slope += term
        coefficient *= odd**2 / ((odd + 1) * (odd + 2))
        power, odd = power * kappa**2, odd + 2
    squared, turned = _decoupled(pull, _size(size), slope)
    return Equilibrium(lr * math.sqrt(squared), turned)


def _adaptive(lr: float, pull: float, size: int, beta1: float) -> tuple[float, float]:
    """Return the norm, and 1 − the cosine, of m̂/√v̂ under a pull."""
    update = size * (1 - beta1) / (1 + beta1)
    squared, turned = _decoupled(pull, update, beta1 / (1 - beta1 * (1 - pull)))
    return lr * math.sqrt(squared), turned


def _decoupled(pull: float, update: float, slope: float) -> tuple[float, float]:
    """Return E‖u‖²(1+2S)/(1−q²) and 1 − the cosine, from S/q, both with all digits of a small pull."""
    q, gap = 1 - pull, pull * (2 - pull)
    memory = 1 + 2 * q * slope
    return update * memory / gap, pull * (1 - slope * pull) / memory


def _pull(lr: float, weight_decay: float) -> float:
    """Return ηλ."""
    pull = lr * weight_decay
    if not 0 < pull < 2:
        why = (
            "from 2 on the decay alone makes the weights grow, and there is no balance. Lower one of them"
            if pull
            else "that is too small for a float. Check their units"
        )
        raise ValueError(f"lr·weight_decay = {lr:g}·{weight_decay:g} = {pull:g}: {why}.")
    return pull


def _positive(lr: float, weight_decay: float, grad_norm: float = 1.0) -> tuple[float, float, float]:
    return positive("lr", lr), positive("weight_decay", weight_decay), positive("grad_norm", grad_norm)


def _size(size: int) -> int:
    return whole("size", size, "the elements of the tensor")
