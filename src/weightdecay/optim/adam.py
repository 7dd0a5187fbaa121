"""Adam, and with it everything that has two moments."""

from __future__ import annotations

from typing import ClassVar, Unpack

import torch
from torch import Tensor

from weightdecay.checks import FRACTION, NON_NEGATIVE, Ranges
from weightdecay.decay import L2, Decay, Number
from weightdecay.optim.base import Optimizer, Params
from weightdecay.optim.member import Group, State
from weightdecay.optim.options import Options


def correction(beta: float, state: State) -> Number:
    """1 − βᵗ, with the tensor's own step count."""
    corrected: Number = 1 - beta ** state["step"]
    return corrected


def inverse_power(mean_square: Number, power: float) -> Number:
    """v̄^(−power), and 0 for v̄ = 0: no gradient, no effective learning rate."""
    if isinstance(mean_square, Tensor):
        return torch.where(mean_square == 0, 0.0, mean_square**-power)
    return 0.0 if mean_square == 0 else mean_square**-power


class Adam(Optimizer):
    r"""Adam, with any decay.

    .. math::
        g_t &= \nabla L(\theta_{t-1}) \;(+ \lambda\theta_{t-1} \text{ with L2}) \\
        m_t &= \beta_1 m_{t-1} + (1-\beta_1) g_t, \qquad v_t = \beta_2 v_{t-1} + (1-\beta_2) g_t^2 \\
        \hat m_t &= m_t/(1-\beta_1^t), \qquad \hat v_t = v_t/(1-\beta_2^t) \\
        u_t &= \hat m_t/(\sqrt{\hat v_t} + \epsilon) \\
        \theta_t &= (1 - \text{pull}_t)\,\theta_{t-1} - \eta_t u_t

    Gain :math:`1/(\sqrt{\hat v_t}+\epsilon)` an element; isotropic :math:`\bar v_t^{-1/2}`, where
    :math:`\bar v_t` is the mean of all elements of :math:`\hat v_t` over every parameter of the model that has a
    gradient in this step, whatever its group; each tensor counts its own steps t.

    The default decay is L2, as in ``torch.optim.Adam``. AdamW is ``Adam(decay=Decoupled())``, AdamS is
    ``Adam(decay=Stable())``.

    Source: Kingma & Ba, arXiv:1412.6980; arXiv:2011.11152, Algorithms 1 and 2; ``torch.optim.Adam`` to 1e-12.
    """

    method: ClassVar[str] = "Adam"
    elementwise: ClassVar[bool] = True
    slots: ClassVar[tuple[str, ...]] = ("exp_avg", "exp_avg_sq")
    linear_in_squares: ClassVar[bool] = True
    ranges: ClassVar[Ranges] = {**Optimizer.ranges, "betas": (FRACTION, FRACTION), "eps": NON_NEGATIVE}

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        decay: Decay | str = L2(),
        **options: Unpack[Options],
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "decay": decay}
        super().__init__(params, defaults, **options)

    def start(self, weight: Tensor, group: Group) -> State:
        """m_0 = v_0 = 0."""
        return {slot: torch.zeros_like(weight) for slot in self.slots}

    def observe(self, state: State, grad: Tensor, group: Group) -> None:
        """m_t and v_t."""
        beta1, beta2 = group["betas"]
        state["exp_avg"].lerp_(grad, 1 - beta1)  # m_t = β₁ m_{t−1} + (1 − β₁) g_t
        state["exp_avg_sq"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)  # v_t = β₂ v_{t−1} + (1 − β₂) g_t²

    def second_moment(self, state: State, group: Group) -> Tensor:
        """v̂_t, in memory of its own."""
        v_hat: Tensor = state["exp_avg_sq"] / correction(group["betas"][1], state)
        return v_hat

    def multiplier(self, state: State, group: Group) -> Tensor:
        """1/(√v̂_t + ε): what every element of m̂ is multiplied by."""
        return self.second_moment(state, group).sqrt_().add_(group["eps"]).reciprocal_()

    def direction(self, state: State, grad: Tensor, group: Group, mean_square: Number) -> Tensor:
        """u_t = m̂_t/(√v̂_t + ε)."""
        m_hat: Tensor = state["exp_avg"] / correction(group["betas"][0], state)
        # With ε = 0 an element that never had a gradient would be 0/0.
        multiplier = self.multiplier if group["eps"] else self.gain
        return m_hat.mul_(multiplier(state, group))

    def gain(self, state: State, group: Group) -> Tensor:
        """1/(√v̂_t + ε); 0 for an element that never had a gradient."""
        return self.multiplier(state, group).masked_fill_(self.second_moment(state, group) == 0, 0)

    def mean_gain(self, state: State, group: Group, mean_square: Number) -> Number:
        """v̄_t^(−1/2); 0 where all gradients have been zero."""
        return inverse_power(mean_square, 0.5)

    def finite(self, grad: Tensor) -> bool:
        """The square must be finite too: v is made of it."""
        return super().finite(grad * grad)


class AMSGrad(Adam):
    r"""Adam with the maximum of all second moments so far, with any decay.

    .. math:: v^{\max}_t = \max(v_t, v^{\max}_{t-1}), \qquad \hat v_t = v^{\max}_t/(1-\beta_2^t)

    and the rest as in :class:`Adam`; :math:`\bar v_t` is the mean of this :math:`\hat v_t`. The maximum is of the raw
    v, as torch computes it and the paper uses it; Reddi et al. have no bias correction.

    Source: Reddi et al., arXiv:1904.09237; arXiv:2011.11152, Algorithms 5 and 6; ``torch.optim.Adam(amsgrad=True)``
            to 1e-12.
    """

    method: ClassVar[str] = "AMSGrad"
    elementwise: ClassVar[bool] = True
    slots: ClassVar[tuple[str, ...]] = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
    linear_in_squares: ClassVar[bool] = False  # a maximum

    def observe(self, state: State, grad: Tensor, group: Group) -> None:
        """m_t, v_t, and their maximum."""
        super().observe(state, grad, group)
        v_max = state["max_exp_avg_sq"]
        torch.maximum(v_max, state["exp_avg_sq"], out=v_max)

    def second_moment(self, state: State, group: Group) -> Tensor:
        """v̂_t, of the maximum, in memory of its own."""
        v_hat: Tensor = state["max_exp_avg_sq"] / correction(group["betas"][1], state)
        return v_hat
