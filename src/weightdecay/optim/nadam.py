"""Adam with Nesterov's momentum."""

from __future__ import annotations

from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor

from weightdecay.checks import NON_NEGATIVE, Ranges
from weightdecay.decay import L2, Decay, Number
from weightdecay.optim.adam import Adam
from weightdecay.optim.base import Params
from weightdecay.optim.member import Group, State
from weightdecay.optim.options import Options


class NAdam(Adam):
    r"""NAdam as ``torch.optim.NAdam`` computes it, with any decay.

    .. math::
        \mu_t &= \beta_1\big(1 - \tfrac12\, 0.96^{t\psi}\big), \qquad \Pi_t = \textstyle\prod_{k\le t}\mu_k \\
        u_t &= \Big(\frac{1-\mu_t}{1-\Pi_t}\,g_t + \frac{\mu_{t+1}}{1-\Pi_{t+1}}\,m_t\Big)\Big/
               \big(\sqrt{\hat v_t}+\epsilon\big)

    with m_t, v_t and :math:`\hat v_t` as in :class:`Adam`; ψ is ``momentum_decay``. The state ``mu_product`` holds Π_t,
    one number for each tensor.

    Gain :math:`1/(\sqrt{\hat v_t}+\epsilon)` an element; isotropic :math:`\bar v_t^{-1/2}`, as for Adam. For a constant
    gradient the exact gain is c_t times as large, where :math:`c_t = (1-\mu_t)/(1-\Pi_t) +
    \mu_{t+1}(1-\beta_1^t)/(1-\Pi_{t+1})` is the sum of the weights that the numerator gives all gradients: with the
    defaults 1.06 in the first step, 0.73 in the fourth, 0.998 in the fiftieth, and within 1e-4 of 1 from the hundredth
    on. As SGD's, the gain leaves this transient out.

    Differs from torch in one thing: Π_t is kept in the precision of the weights, where torch keeps float32 unless
    torch's default type is float64.

    Source: Dozat 2016, ICLR workshop; ``torch.optim.NAdam`` to 1e-12 where torch keeps Π_t in float64.
    """

    method: ClassVar[str] = "NAdam"
    elementwise: ClassVar[bool] = False  # one number of its state belongs to a tensor
    slots: ClassVar[tuple[str, ...]] = ("exp_avg", "exp_avg_sq", "mu_product")
    ranges: ClassVar[Ranges] = {**Adam.ranges, "momentum_decay": NON_NEGATIVE}

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        *,
        decay: Decay | str = L2(),
        **options: Unpack[Options],
    ) -> None:
        own: dict[str, Any] = {"momentum_decay": momentum_decay}
        super().__init__(params, lr, betas, eps, weight_decay, decay=decay, **own, **options)

    def start(self, weight: Tensor, group: Group) -> State:
        """m_0 = v_0 = 0, and the empty product."""
        zeros = {slot: torch.zeros_like(weight) for slot in ("exp_avg", "exp_avg_sq")}
        return {**zeros, "mu_product": torch.ones((), dtype=weight.dtype, device=weight.device)}

    def observe(self, state: State, grad: Tensor, group: Group) -> None:
        """m_t, v_t and Π_t."""
        super().observe(state, grad, group)
        state["mu_product"].mul_(momentum(group, state["step"]))

    def direction(self, state: State, grad: Tensor, group: Group, mean_square: Number) -> Tensor:
        """u_t: the gradient itself, and the momentum of the next step."""
        product, now, following = state["mu_product"], *(momentum(group, state["step"] + k) for k in (0, 1))
        numerator: Tensor = grad * ((1 - now) / (1 - product))
        numerator.add_(state["exp_avg"] * (following / (1 - product * following)))
        multiplier = self.multiplier if group["eps"] else self.gain
        return numerator.mul_(multiplier(state, group))


def momentum(group: Group, t: Number) -> Number:
    """μ_t, which rises from β₁/2 to β₁."""
    mu: Number = group["betas"][0] * (1 - 0.5 * 0.96 ** (t * group["momentum_decay"]))
    return mu
