"""Adam whose second moment moves by a bounded amount."""

from __future__ import annotations

from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor

from weightdecay.checks import NON_NEGATIVE, Ranges
from weightdecay.decay import L2, Decay
from weightdecay.optim.adam import Adam
from weightdecay.optim.base import Params
from weightdecay.optim.member import Group, State
from weightdecay.optim.options import Options


class Yogi(Adam):
    r"""Yogi, with any decay.

    .. math:: v_t = v_{t-1} - (1-\beta_2)\,\operatorname{sign}(v_{t-1} - g_t^2)\,g_t^2

    and the rest as in :class:`Adam`.

    Paper and code differ. The paper's box has no bias correction and leaves v_0 open; the implementation that its
    authors published in TensorFlow and that the PyTorch ports follow corrects both moments as Adam does and starts
    m and v at 1e-6. That is what people run, so it is the default here. ``initial_accumulator=0`` starts
    at zero. Gradients that are zero from the start leave v̄ at the accumulator, not at 0.

    Source: Zaheer et al., *Adaptive Methods for Nonconvex Optimization*, NeurIPS 2018, Algorithm 2.
    """

    method: ClassVar[str] = "Yogi"
    elementwise: ClassVar[bool] = True
    linear_in_squares: ClassVar[bool] = False  # a sign
    ranges: ClassVar[Ranges] = {**Adam.ranges, "initial_accumulator": NON_NEGATIVE}

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-2,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-3,
        weight_decay: float = 0.0,
        *,
        initial_accumulator: float = 1e-6,
        decay: Decay | str = L2(),
        **options: Unpack[Options],
    ) -> None:
        own: dict[str, Any] = {"initial_accumulator": initial_accumulator}
        super().__init__(params, lr, betas, eps, weight_decay, decay=decay, **own, **options)

    def start(self, weight: Tensor, group: Group) -> State:
        """m_0 and v_0 are the initial accumulator."""
        return {slot: torch.full_like(weight, group["initial_accumulator"]) for slot in self.slots}

    def observe(self, state: State, grad: Tensor, group: Group) -> None:
        """m_t and v_t."""
        beta1, beta2 = group["betas"]
        v, square = state["exp_avg_sq"], grad * grad
        state["exp_avg"].lerp_(grad, 1 - beta1)
        v.sub_((1 - beta2) * torch.sign(v - square) * square)
