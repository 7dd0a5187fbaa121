r"""The equilibrium of scale-invariant weights under the later decays of Adam, and the λ that corresponds to an angle.

What is assumed is what :mod:`weightdecay.theory.equilibrium` assumes; each is its :func:`adamw` with another pull.
LogTime has no equilibrium: its pull falls as fast as the norm could follow. Toward, TouchedRows and RadialBrake settle
where the anchor, the rows that are touched and the brake put them, which no form of n, η and λ knows. Cautious decay
has no form here: halving λ, as if the signs of u and w were independent, misses simulation by over 15 % at ηλ = 0.01.
"""

from __future__ import annotations

import math

from weightdecay.theory.equilibrium import Equilibrium, adamw
from weightdecay.theory.numbers import fraction, positive


def corrected(lr: float, peak_lr: float, weight_decay: float, size: int, beta1: float = 0.9) -> Equilibrium:
    r"""Return the equilibrium of Adam with corrected decay: the norm is that at the peak, whatever the lr is now.

    .. math:: \|w\|^2 \approx \frac{n\,\eta_{\max}}{2\lambda}, \qquad \angle \propto \eta_t

    and exactly :func:`adamw`'s with λη/η_max. AdamW's own norm falls as √η, and the angle with it.

    Raises: ValueError, for numbers out of range.
    Source: arXiv:2506.02285 to first order; derived from :func:`adamw` here.

    >>> [round(corrected(lr, 1e-3, 0.1, size=10_000).norm, 3) for lr in (1e-3, 1e-4)]
    [7.068, 7.071]
    """
    ratio = positive("lr", lr) / positive("peak_lr", peak_lr)
    return adamw(lr, positive("weight_decay", weight_decay) * ratio, size, beta1)


def independent(lr: float, peak_lr: float, weight_decay: float, size: int, beta1: float = 0.9) -> Equilibrium:
    r"""Return the equilibrium of Adam with independent decay: that of AdamW with λ/η_max.

    Raises: ValueError, for numbers out of range.

    >>> independent(1e-3, 1e-3, 1e-4, size=10_000) == adamw(1e-3, 0.1, size=10_000)
    True
    """
    return adamw(lr, positive("weight_decay", weight_decay) / positive("peak_lr", peak_lr), size, beta1)


def norm_target(lr: float, weight_decay: float, radius: float, size: int, beta1: float = 0.9) -> Equilibrium:
    r"""Return the equilibrium of AdamW with its decay towards a radius R: above it, by what the steps add.

    .. math:: \|w\|^2 - R\,\|w\| \approx \frac{n\,\eta}{2\lambda}, \qquad
              \|w\| \approx \tfrac12\Big(R + \sqrt{R^2 + 2n\eta/\lambda}\Big)

    The angle is that of a pull ηλ(1 − R/‖w‖). First order in ηλ.

    Raises: ValueError, for numbers out of range.
    Source: derived here; tested against simulation.

    >>> round(norm_target(1e-3, 0.1, radius=5.0, size=10_000).norm, 3)
    9.997
    """
    radius, weight_decay = positive("radius", radius), positive("weight_decay", weight_decay)
    free = adamw(lr, weight_decay, size, beta1)
    norm = (radius + math.sqrt(radius**2 + 4 * free.norm**2)) / 2
    return Equilibrium(norm, adamw(lr, weight_decay * (1 - radius / norm), size, beta1).turned)


def hyperball_lr(found: Equilibrium) -> float:
    r"""Return the lr with which Hyperball turns the weights as much in a step as this equilibrium does: tan ∠.

    Its radius is the norm that the weights begin with; ``found.norm`` is where they would have settled. With momentum
    an update is not at right angles to the weights, and Hyperball turns by √(1 − (β₁∠/(1−β₁))²) of its lr: at β₁ = 0.9
    0.04 % less at an angle of 0.003, and 4 % less at 0.03.

    >>> round(hyperball_lr(adamw(1e-3, 0.1, size=10_000)), 6)
    0.003245
    """
    return math.tan(found.angle)


def hyperball_weight_decay(angle_lr: float, lr: float, beta1: float = 0.9) -> float:
    r"""Return the λ with which AdamW at the lr η settles at the angle that Hyperball takes at its lr: the inverse.

    .. math:: \lambda = \frac{1-q}{\eta}, \qquad q = \frac{\cos\angle - \beta_1}{1 - \beta_1\cos\angle}, \quad
              \tan\angle = \eta_{\text{Hyperball}}

    Raises: ValueError, for numbers out of range, and for an angle that no λ with ηλ below 1 reaches.

    >>> round(hyperball_weight_decay(hyperball_lr(adamw(1e-3, 0.1, size=10_000)), 1e-3), 9)
    0.1
    """
    angle, lr, beta1 = math.atan(positive("angle_lr", angle_lr)), positive("lr", lr), fraction("beta1", beta1)
    turned = 2 * math.sin(angle / 2) ** 2  # 1 − cos, with all digits of a small angle
    pull = turned * (1 + beta1) / (1 - beta1 + beta1 * turned)
    if not 0 < pull < 1:
        raise ValueError(
            f"angle_lr={angle_lr:g} with beta1={beta1:g}: no decay turns the weights by {angle:.3g} radians per step. "
            "Lower angle_lr."
        )
    return pull / lr
