"""pull = ηλ."""

from __future__ import annotations

from dataclasses import dataclass

from weightdecay.decay.base import Decay, Number, Step


@dataclass(frozen=True)
class Decoupled(Decay):
    r"""Decoupled from the gradient, still coupled to the learning rate: what AdamW and SGDW do.

    .. math:: \theta_t = (1 - \eta_t\lambda)\,\theta_{t-1} - \eta_t u_t

    Units:  ηλ is a fraction per step. λ does not mean what L2's λ means: SGD with momentum 0.9 wants ten times
            as much, Adam at lr 1e-3 about a thousand times (``docs/naming.md``).
    Source: Loshchilov & Hutter, arXiv:1711.05101; arXiv:2011.11152, Eq. 2 and 8.
    """

    def pull(self, step: Step) -> Number:
        """Return ηλ."""
        return step.lr * step.strength
