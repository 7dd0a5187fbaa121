"""AMSGrad with a smaller power of the second moment."""

from __future__ import annotations

from typing import Any, ClassVar, Unpack

from torch import Tensor

from weightdecay.checks import Interval, Ranges
from weightdecay.decay import L2, Decay, Number
from weightdecay.optim.adam import AMSGrad, correction, inverse_power
from weightdecay.optim.base import Params
from weightdecay.optim.member import Group, State
from weightdecay.optim.options import Options


class Padam(AMSGrad):
    r"""Partially adaptive momentum estimation, with any decay.

    .. math::
        u_t = \frac{m_t}{1-\beta_1^t}\,\frac{\sqrt{1-\beta_2^t}}{(\sqrt{v^{\max}_t}+\epsilon)^{2q}}

    with ``partial`` q = 1/4; q = 1/2 is AMSGrad up to where ε stands, q → 0 is SGD with momentum. Isotropic gain
    :math:`\bar v_t^{-q}`, the mean over :math:`\hat v_t = v^{\max}_t/(1-\beta_2^t)`; the transient
    :math:`(1-\beta_2^t)^{1/2-q}` is dropped, as the paper drops the one of momentum.

    Paper and code differ: the paper has neither bias correction nor ε and recommends q = 1/8; the authors' code
    corrects as Adam does (without the power q on 1−β₂ᵗ) and defaults to q = 1/4, lr 0.1. The default is their code.

    Source: Chen & Gu, arXiv:1806.06763, Algorithm 1, and the authors' repository ``uclaml/Padam``.
    """

    method: ClassVar[str] = "Padam"
    elementwise: ClassVar[bool] = True
    # Above one half the step would grow where gradients are small: not partial adaptivity any more.
    ranges: ClassVar[Ranges] = {**AMSGrad.ranges, "partial": Interval(0, 0.5 + 1e-12, open_low=True)}

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 0.1,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        partial: float = 0.25,
        decay: Decay | str = L2(),
        **options: Unpack[Options],
    ) -> None:
        own: dict[str, Any] = {"partial": partial}
        super().__init__(params, lr, betas, eps, weight_decay, decay=decay, **own, **options)

    def multiplier(self, state: State, group: Group) -> Tensor:
        """√(1−β₂ᵗ)/(√v_max + ε)^(2q)."""
        v_max: Tensor = state["max_exp_avg_sq"]
        root = correction(group["betas"][1], state) ** 0.5
        multiplier: Tensor = root * (v_max.sqrt() + group["eps"]) ** (-2 * group["partial"])
        return multiplier

    def mean_gain(self, state: State, group: Group, mean_square: Number) -> Number:
        """v̄_t^(−q)."""
        return inverse_power(mean_square, group["partial"])
