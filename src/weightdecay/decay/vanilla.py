"""pull = λ₀."""

from __future__ import annotations

from dataclasses import dataclass

from weightdecay.decay.base import Decay, Number, Step


@dataclass(frozen=True)
class Vanilla(Decay):
    r"""The weight decay of Hanson & Pratt: a fixed fraction per step, whatever the learning rate does.

    .. math:: \theta_t = (1 - \lambda_0)\,\theta_{t-1} - \eta_t u_t

    The loss being minimised is :math:`L + \frac{\lambda_0}{2\eta_t}\|\theta\|^2`: it moves when the lr does (the
    paper's Theorem 1). At a constant lr, λ₀ = ηλ is :class:`Decoupled` with λ.

    Units:  λ₀ is a fraction per step, without dimension.
    Source: Hanson & Pratt 1989; arXiv:2011.11152, Eq. 1.
    """

    def pull(self, step: Step) -> Number:
        """Return λ₀."""
        return step.strength
