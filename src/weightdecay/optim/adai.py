"""Adaptive inertia: adapt the momentum of each element, not its learning rate."""

from __future__ import annotations

from typing import ClassVar, Unpack

import torch
from torch import Tensor

from weightdecay.checks import FRACTION, NON_NEGATIVE, POSITIVE, Interval, Ranges
from weightdecay.decay import L2, Decay, Number
from weightdecay.optim.adam import correction, inverse_power
from weightdecay.optim.base import Optimizer, Params
from weightdecay.optim.member import Group, State
from weightdecay.optim.options import Options


class Adai(Optimizer):
    r"""Adai, with any decay.

    .. math::
        v_t &= \beta_2 v_{t-1} + (1-\beta_2) g_t^2, \qquad \hat v_t = v_t/(1-\beta_2^t), \qquad
        \bar v_t = \operatorname{mean}(\hat v_t) \\
        \beta_{1,t} &= \operatorname{clip}(1 - \beta_0 \hat v_t/\bar v_t,\; 0,\; 1-\epsilon) \\
        m_t &= \beta_{1,t} m_{t-1} + (1-\beta_{1,t}) g_t, \qquad
        u_t = \hat m_t = m_t \Big/ \Big(1 - \prod_{k\le t}\beta_{1,k}\Big)

    ``betas`` are (β₀, β₂). The direction itself couples all tensors through v̄, the mean over the model. Gain 1: m̂ is
    a weighted mean of gradients, so that stable and lr-coupled decay are the same (AdaiS = AdaiW).

    Source: Xie et al., arXiv:2006.15815; arXiv:2011.11152, Algorithm 4.
    """

    method: ClassVar[str] = "Adai"
    elementwise: ClassVar[bool] = True
    slots: ClassVar[tuple[str, ...]] = ("exp_avg", "exp_avg_sq", "beta1_prod")
    linear_in_squares: ClassVar[bool] = True
    ranges: ClassVar[Ranges] = {
        **Optimizer.ranges,
        "betas": (NON_NEGATIVE, FRACTION),
        # With ε = 0 an element without gradients would have β₁ = 1 for ever, and m̂ = 0/0.
        "eps": Interval(POSITIVE.low, 1, open_low=True),
    }

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1.0,
        betas: tuple[float, float] = (0.1, 0.99),
        eps: float = 1e-3,
        weight_decay: float = 0.0,
        *,
        decay: Decay | str = L2(),
        **options: Unpack[Options],
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "decay": decay}
        super().__init__(params, defaults, **options)

    def start(self, weight: Tensor, group: Group) -> State:
        """m_0 = v_0 = 0, and the empty product."""
        return {
            "exp_avg": torch.zeros_like(weight),
            "exp_avg_sq": torch.zeros_like(weight),
            "beta1_prod": torch.ones_like(weight),
        }

    def observe(self, state: State, grad: Tensor, group: Group) -> None:
        """v_t. The first moment waits for the mean over the model."""
        beta2 = group["betas"][1]
        state["exp_avg_sq"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)

    def second_moment(self, state: State, group: Group) -> Tensor:
        """v̂_t."""
        v_hat: Tensor = state["exp_avg_sq"] / correction(group["betas"][1], state)
        return v_hat

    def direction(self, state: State, grad: Tensor, group: Group, mean_square: Number) -> Tensor:
        """m̂_t; moves m and the product, once per step."""
        m, product = state["exp_avg"], state["beta1_prod"]
        share = self.second_moment(state, group).mul_(inverse_power(mean_square, 1))  # v̂/v̄
        beta1 = (1 - group["betas"][0] * share).clamp(0, 1 - group["eps"])
        product.mul_(beta1)
        m.mul_(beta1).addcmul_(1 - beta1, grad)
        m_hat: Tensor = m / (1 - product)
        return m_hat

    def gain(self, state: State, group: Group) -> Number:
        """1."""
        return 1.0

    def mean_gain(self, state: State, group: Group, mean_square: Number) -> Number:
        """1."""
        return 1.0

    def couples(self, group: Group) -> bool:
        """Always: the direction reads v̄."""
        return True

    def finite(self, grad: Tensor) -> bool:
        """The square must be finite too: v is made of it."""
        return super().finite(grad * grad)
