"""pull = λ η ḡ: decay in proportion to the effective learning rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

from weightdecay.checks import number
from weightdecay.decay.base import Decay, Number, Step


@dataclass(frozen=True)
class Stable(Decay):
    r"""Pull in proportion to the effective learning rate, so that the regularised minimum stays put.

    .. math:: \theta_t = (1 - \lambda\,\eta_t\,\bar g_t^{\,2p})\,\theta_{t-1} - \eta_t u_t

    :math:`\bar g_t` is the optimizer's isotropic gain: :math:`\bar v_t^{-1/2}` for Adam, where :math:`\bar v_t` is
    the mean of all elements of :math:`\hat v_t` over the model, so that the factor is the paper's
    :math:`\bar v_t^{-p}`; :math:`\beta_3/(1-\beta_1)` for SGD with momentum; 1 for Adai. Power 0.5 is Stable Weight
    Decay; power 0 is :class:`Decoupled`.

    ``eps`` is added to :math:`\bar v`, as the paper suggests (1e-8) for full-batch training, where the gradient can
    vanish; 0 by default, as in its algorithms. Gradients that are exactly zero everywhere decay nothing.

    Shapes: pull is one number per tensor; the mean is over every element of the model that has a gradient.
    Units:  with power 0.5, λ is in loss/weight², as in L2: scale the loss by c and λ by c and the path is the same.
    Raises: ValueError, for a power or eps that is negative or not finite.
    Source: arXiv:2011.11152, Eq. 11 and 22, Algorithms 2, 6 and 8.

    >>> from weightdecay.decay import Step
    >>> step = Step(strength=5e-4, lr=0.1, peak_lr=0.1, mean_gain=lambda: 10.0, gain=lambda: 10.0)
    >>> print(f"{Stable().pull(step):g} {Stable(power=0).pull(step):g}")
    0.0005 5e-05
    """

    power: float = 0.5
    eps: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("power", self.power), ("eps", self.eps)):
            object.__setattr__(self, name, float(number(value, name, "Stable()")))  # its repr is its name
            if not 0 <= value < math.inf:
                raise ValueError(f"Stable({name}={value!r}): {name} must be a finite number, 0 or above.")

    def pull(self, step: Step) -> Number:
        """Return λ η (v̄ + eps)^(−p), written with the gain v̄^(−1/2)."""
        if not self.power:
            return step.lr * step.strength
        gain = step.mean_gain()
        adapted = gain ** (2 * self.power)
        if self.eps:
            adapted = adapted * (1 + self.eps * gain * gain) ** -self.power
        return step.lr * step.strength * adapted

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """The isotropic gain; with power 0 nothing, and so no reduction over the model."""
        return frozenset({"mean_gain"} if self.power else ())
