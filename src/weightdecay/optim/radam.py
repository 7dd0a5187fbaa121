"""Adam that waits for its second moment."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from weightdecay.decay import Number
from weightdecay.optim.adam import Adam, correction, inverse_power
from weightdecay.optim.base import Group, MeanSquare, State


class RAdam(Adam):
    r"""Rectified Adam, with any decay.

    .. math::
        \rho_\infty &= 2/(1-\beta_2) - 1, \qquad \rho_t = \rho_\infty - 2t\beta_2^t/(1-\beta_2^t) \\
        u_t &= \hat m_t\, r_t \sqrt{1-\beta_2^t}/(\sqrt{v_t}+\epsilon) \quad (\rho_t > 5), \qquad
        u_t = \hat m_t \quad \text{(else)} \\
        r_t &= \sqrt{\frac{(\rho_t-4)(\rho_t-2)\rho_\infty}{(\rho_\infty-4)(\rho_\infty-2)\rho_t}}

    Isotropic gain :math:`r_t \bar v_t^{-1/2}`, and 1 while the step is not rectified.

    Paper and code differ: the paper rectifies from ρ_t > 4 and has no ε; the authors' code from ρ_t ≥ 5, with ε beside
    the uncorrected √v, and in one version leaves the early steps out. The default is what people run,
    ``torch.optim.RAdam``: ρ_t > 5, early steps taken along m̂.

    Source: Liu et al., arXiv:1908.03265, Algorithm 2; ``torch.optim.RAdam`` to 1e-12.
    """

    method: ClassVar[str] = "RAdam"

    def multiplier(self, state: State, group: Group) -> Tensor:
        """r_t √(1−β₂ᵗ)/(√v_t + ε), or 1."""
        v, factor = state["exp_avg_sq"], rectification(group["betas"][1], state)
        if factor is None:
            return torch.ones_like(v)
        root = math.sqrt(correction(group["betas"][1], state))
        multiplier: Tensor = factor * root / (v.sqrt() + group["eps"])
        return multiplier

    def mean_gain(self, state: State, group: Group, mean_square: MeanSquare) -> Number:
        """r_t v̄_t^(−1/2), or 1."""
        factor = rectification(group["betas"][1], state)
        return 1.0 if factor is None else factor * inverse_power(mean_square(), 0.5)


def rectification(beta2: float, state: State) -> float | None:
    """r_t; None while the variance of the second moment is not tractable (ρ_t ≤ 5)."""
    t = state["step"].item()
    longest = 2 / (1 - beta2) - 1  # ρ∞
    length = longest - 2 * t * beta2**t / (1 - beta2**t)  # ρ_t
    if length <= 5:
        return None
    return math.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
