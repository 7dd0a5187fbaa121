"""pull = λ (η_t/η_max)/(1 + t/T)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weightdecay.checks import number
from weightdecay.decay.base import Decay, Number, Step
from weightdecay.decay.independent import check_peak


@dataclass(frozen=True)
class LogTime(Decay):
    r"""Falls as 1/t after ``horizon`` steps, so that the sum of the pulls grows as the logarithm of time.

    .. math:: \theta_t = \Big(1 - \lambda\,\frac{\eta_t/\eta_{\max}}{1 + t/T}\Big)\,\theta_{t-1} - \eta_t u_t

    Units:  λ is a fraction per step at t = 0; ``horizon`` T is in steps of the tensor, about a tenth of the run.
            ADANA takes λ = ω/T with ω ≈ 4. T → ∞ is :class:`Independent`.
    Raises: ValueError, for a horizon that is not above 0, where ``peak_lr`` is 0 or the lr rises above it.
    Source: ADANA, arXiv:2602.05298 (github.com/mlexpos/adana, ``src/optim/adamw_decaying_wd.py``).
    """

    needs = frozenset({"t"})
    horizon: float = 1000.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "horizon", float(number(self.horizon, "horizon", "LogTime()")))
        if not 0 < self.horizon < math.inf:
            raise ValueError(f"LogTime(horizon={self.horizon!r}): horizon must be a finite number of steps above 0.")

    def pull(self, step: Step) -> Number:
        """Return λ (η_t/η_max)/(1 + t/T)."""
        return step.strength * (step.lr / step.peak_lr) / (step.t / self.horizon + 1)

    def check(self, group: Mapping[str, Any], where: str) -> None:
        """Refuse a group whose peak lr is 0 or below its lr."""
        check_peak(self, group, where)
