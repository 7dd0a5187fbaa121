"""pull = λ η_t/η_max."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weightdecay.decay.base import Decay, Number, Step


@dataclass(frozen=True)
class Independent(Decay):
    r"""Follows the schedule of the learning rate but not its peak, so that lr and λ can be tuned one at a time.

    .. math:: \theta_t = \Big(1 - \lambda\,\frac{\eta_t}{\eta_{\max}}\Big)\,\theta_{t-1} - \eta_t u_t

    :math:`\eta_{\max}` is ``group["peak_lr"]``: the lr the group was built with, unless given. Independent with
    η_max·λ is :class:`Decoupled` with λ under any schedule.

    Units:  λ is a fraction per step at the peak of the schedule, without dimension.
    Raises: ValueError, where ``peak_lr`` is 0 or the lr rises above it.
    Source: Loshchilov & Hutter, arXiv:1711.05101, where η_t is the schedule multiplier and λ is not multiplied
            by the lr; the form with λ tuned apart from the lr is Wortsman et al., arXiv:2309.14322.
    """

    def pull(self, step: Step) -> Number:
        """Return λ η_t/η_max."""
        return step.strength * (step.lr / step.peak_lr)

    def check(self, group: Mapping[str, Any], where: str) -> None:
        """Refuse a group whose peak lr is 0 or below its lr."""
        check_peak(self, group, where)


def check_peak(decay: Decay, group: Mapping[str, Any], where: str) -> None:
    """Refuse a group whose peak lr is 0 or below its lr, for a decay that divides by the peak."""
    peak = group["peak_lr"]
    if peak == 0:
        raise ValueError(
            f"peak_lr=0 in {where}; {decay!r} divides by peak_lr. "
            "Build the group with the highest lr of its schedule, or set peak_lr."
        )
    # A relative 1e-6 lets a schedule return to its peak through float32 arithmetic.
    if group["lr"] > peak * (1 + 1e-6):
        raise ValueError(
            f"lr={float(group['lr']):g} exceeds peak_lr={peak:g} in {where}; {decay!r} divides by peak_lr. "
            "Set peak_lr to the highest lr of the schedule when building the group."
        )
