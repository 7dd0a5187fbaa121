"""Adam whose first steps wait for the second moment."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from weightdecay.decay import Number
from weightdecay.optim.adam import Adam, correction, inverse_power
from weightdecay.optim.member import Group, State
from weightdecay.optim.scalars import choose, clip


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
    elementwise: ClassVar[bool] = True

    def multiplier(self, state: State, group: Group) -> Tensor:
        """r_t √(1−β₂ᵗ)/(√v_t + ε), or 1."""
        beta2 = group["betas"][1]
        rectified, factor = rectification(beta2, state)
        scale = choose(rectified, factor * correction(beta2, state) ** 0.5, 1.0)
        on = choose(rectified, 1.0, 0.0)
        multiplier: Tensor = scale / ((state["exp_avg_sq"].sqrt() + group["eps"]) * on + (1 - on))
        return multiplier

    def mean_gain(self, state: State, group: Group, mean_square: Number) -> Number:
        """r_t v̄_t^(−1/2), or 1."""
        rectified, factor = rectification(group["betas"][1], state)
        return choose(rectified, factor * inverse_power(mean_square, 0.5), 1.0)


def rectification(beta2: float, state: State) -> tuple[bool | Tensor, Number]:
    """Whether the variance of the second moment is tractable (ρ_t > 5), and r_t where it is."""
    t = state["step"]
    longest = 2 / (1 - beta2) - 1  # ρ∞
    if longest <= 5:
        return False, 1.0
    length = longest - 2 * t * beta2**t / (1 - beta2**t)  # ρ_t
    rectified = length > 5
    length = clip(length, 5.0, longest)  # where r_t is defined
    factor = ((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)) ** 0.5
    return rectified, factor
