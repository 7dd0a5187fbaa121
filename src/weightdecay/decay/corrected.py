"""pull = λ η_t²/η_max."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weightdecay.decay.base import Decay, Number, Step
from weightdecay.decay.independent import check_peak


@dataclass(frozen=True)
class Corrected(Decay):
    r"""Corrected for the schedule: the equilibrium norm of a normalised weight no longer moves with the lr.

    .. math:: \theta_t = \Big(1 - \lambda\,\frac{\eta_t^2}{\eta_{\max}}\Big)\,\theta_{t-1} - \eta_t u_t

    Meant for weights before a normalisation layer; others keep :class:`Decoupled`. Equals it where η_t = η_max.

    Units:  ηλ is a fraction per step, as in Decoupled.
    Raises: ValueError, where ``peak_lr`` is 0 or the lr rises above it.
    Source: AdamC, arXiv:2506.02285.
    """

    def pull(self, step: Step) -> Number:
        """Return λ η_t²/η_max."""
        return step.strength * step.lr * (step.lr / step.peak_lr)

    def check(self, group: Mapping[str, Any], where: str) -> None:
        """Refuse a group whose peak lr is 0 or below its lr."""
        check_peak(self, group, where)
