"""Adam whose learning rates are squeezed into those of SGD."""

from __future__ import annotations

from typing import Any, ClassVar, Unpack

from torch import Tensor

from weightdecay.checks import FRACTION, POSITIVE, Ranges
from weightdecay.decay import L2, Decay, Number
from weightdecay.optim.adam import Adam, correction, inverse_power
from weightdecay.optim.base import Params
from weightdecay.optim.member import Group, State
from weightdecay.optim.options import Options
from weightdecay.optim.scalars import choose, clip


class AdaBound(Adam):
    r"""Adam with bounds on every element's learning rate that close in on one number, with any decay.

    .. math::
        r_t &= \operatorname{clip}\Big(\frac{\sqrt{1-\beta_2^t}}{(1-\beta_1^t)(\sqrt{v_t}+\epsilon)},\; l_t,\; h_t\Big),
        \qquad u_t = r_t m_t \\
        l_t &= \frac{\eta^*}{\eta_{\max}}\Big(1-\frac{1}{\gamma t+1}\Big), \qquad
        h_t = \frac{\eta^*}{\eta_{\max}}\Big(1+\frac{1}{\gamma t}\Big)

    ``final_lr`` η* is the lr of the SGD it turns into while the lr is at ``peak_lr`` η_max; it follows the schedule.
    Gain :math:`r_t(1-\beta_1^t)` an element; isotropic the same with :math:`\bar v_t^{-1/2}` inside the clip.

    Paper and code differ: the paper's box has no bias correction, bounds that start from 1−β₂ in the place of γ, and
    a further 1/√t; the authors' code is the form above, with γ = 1e-3. The default is their code.

    Source: Luo et al., arXiv:1902.09843, Algorithm 2, and the authors' repository ``Luolc/AdaBound``.
    """

    method: ClassVar[str] = "AdaBound"
    elementwise: ClassVar[bool] = True
    ranges: ClassVar[Ranges] = {**Adam.ranges, "final_lr": POSITIVE, "gamma": FRACTION}

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        final_lr: float = 0.1,
        gamma: float = 1e-3,
        decay: Decay | str = L2(),
        **options: Unpack[Options],
    ) -> None:
        own: dict[str, Any] = {"final_lr": final_lr, "gamma": gamma}
        super().__init__(params, lr, betas, eps, weight_decay, decay=decay, **own, **options)

    def check(self, group: Group, where: str) -> None:
        """Refuse a group in which the bounds have no meaning."""
        super().check(group, where)
        if group["gamma"] == 0 or group["lr"] == 0 == (group["peak_lr"] or 0):
            raise ValueError(
                f"gamma={group['gamma']}, peak_lr={group['peak_lr'] or group['lr']} in {where}: AdaBound divides by "
                "both. Build the group with the highest lr of its schedule, or set peak_lr."
            )

    def multiplier(self, state: State, group: Group) -> Tensor:
        """r_t (1−β₁ᵗ)."""
        beta1, beta2 = group["betas"]
        v, root, start = state["exp_avg_sq"], correction(beta2, state) ** 0.5, correction(beta1, state)
        low, high = bounds(state, group)
        rate: Tensor = (root / start / (v.sqrt() + group["eps"])).clamp(low, high)
        return rate * start

    def mean_gain(self, state: State, group: Group, mean_square: Number) -> Number:
        """The gain of an element with v̂ = v̄."""
        start = correction(group["betas"][0], state)
        low, high = bounds(state, group)
        return choose(mean_square == 0, 0.0, clip(inverse_power(mean_square, 0.5) / start, low, high) * start)


def bounds(state: State, group: Group) -> tuple[Number, Number]:
    """l_t and h_t, for a step whose lr multiplies them."""
    t, final = state["step"], group["final_lr"] / group["peak_lr"]
    return final * (1 - 1 / (group["gamma"] * t + 1)), final * (1 + 1 / (group["gamma"] * t))
