"""Lion: the sign of a momentum."""

from __future__ import annotations

from typing import ClassVar, Unpack

import torch
from torch import Tensor

from weightdecay.checks import FRACTION, Ranges
from weightdecay.decay import Decay, Decoupled, Number
from weightdecay.optim.base import Params
from weightdecay.optim.gainless import Gainless
from weightdecay.optim.member import Group, State
from weightdecay.optim.options import Options


class Lion(Gainless):
    r"""Lion, with any decay that reads no gain.

    .. math::
        u_t &= \operatorname{sign}(\beta_1 m_{t-1} + (1-\beta_1) g_t) \\
        m_t &= \beta_2 m_{t-1} + (1-\beta_2) g_t, \qquad m_0 = 0 \\
        \theta_t &= (1 - \text{pull}_t)\,\theta_{t-1} - \eta_t u_t

    Every element moves by η a step whatever its gradient, and by 0 where the sum is 0. So there is no gain, and
    ``Stable()`` is refused unless ``gain`` gives a number that you answer for: pull is then that of a constant gain.

    The default decay is Decoupled, as in the paper: pull :math:`\eta\lambda`. Its authors use an lr of a third to a
    tenth of AdamW's, and a λ larger by as much.

    Raises: TypeError, for a decay that reads a gain, without ``gain``; ValueError, for values out of range.
    Source: Chen et al. 2023, arXiv:2302.06675, Algorithm 2; ``lion-pytorch`` and timm's ``Lion`` to 1e-12.
    """

    method: ClassVar[str] = "Lion"
    elementwise: ClassVar[bool] = True
    does: ClassVar[str] = "takes a sign"
    slots: ClassVar[tuple[str, ...]] = ("exp_avg",)
    ranges: ClassVar[Ranges] = {**Gainless.ranges, "betas": (FRACTION, FRACTION)}

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        gain: float | None = None,
        decay: Decay | str = Decoupled(),
        **options: Unpack[Options],
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "weight_decay": weight_decay, "gain": gain, "decay": decay}
        super().__init__(params, defaults, **options)

    def start(self, weight: Tensor, group: Group) -> State:
        """m_0 = 0."""
        return {"exp_avg": torch.zeros_like(weight)}

    def direction(self, state: State, grad: Tensor, group: Group, mean_square: Number) -> Tensor:
        """u_t from m_{t−1}; moves m, once per step, which u_t must not see."""
        beta1, beta2 = group["betas"]
        m: Tensor = state["exp_avg"]
        u: Tensor = m.clone().lerp_(grad, 1 - beta1).sign_()  # sign(β₁ m_{t−1} + (1 − β₁) g_t)
        m.lerp_(grad, 1 - beta2)  # m_t = β₂ m_{t−1} + (1 − β₂) g_t
        return u
