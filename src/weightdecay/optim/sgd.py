"""Stochastic gradient descent with momentum, in the three forms people mean by it."""

from __future__ import annotations

import math
from typing import ClassVar, Unpack

import torch
from torch import Tensor

from weightdecay.checks import FRACTION, Interval, Ranges
from weightdecay.decay import L2, Decay, Number
from weightdecay.optim.base import Optimizer, Params
from weightdecay.optim.member import Group, State
from weightdecay.optim.options import Options


class SGD(Optimizer):
    r"""SGD as ``torch.optim.SGD`` computes it, with any decay.

    .. math::
        g_t &= \nabla L(\theta_{t-1}) \;(+ \lambda\theta_{t-1} \text{ with L2}) \\
        m_t &= \beta_1 m_{t-1} + \beta_3 g_t, \quad \beta_3 = 1 - \text{dampening}, \quad m_1 = g_1 \\
        u_t &= m_t \quad (g_t + \beta_1 m_t \text{ with nesterov}) \\
        \theta_t &= (1 - \text{pull}_t)\,\theta_{t-1} - \eta_t u_t

    Gain :math:`\beta_3/(1-\beta_1)`: a constant gradient g moves the weight by η·gain·g a step, once the buffer has
    filled. The paper drops the transient :math:`1-\beta_1^t` on purpose.

    The first buffer is the first gradient itself whatever the dampening, as in torch; :class:`HeavyBall` starts from
    zero, as in the paper's box. The two differ only with dampening.

    Raises: ValueError, for values out of range, and for nesterov without momentum or with dampening.
    Source: arXiv:2011.11152, Algorithms 7 and 8; ``torch.optim.SGD`` to 1e-12 in float64.
    """

    method: ClassVar[str] = "SGD"
    elementwise: ClassVar[bool] = True
    slots: ClassVar[tuple[str, ...]] = ("momentum_buffer",)
    # A dampening of 1 or more would stop or reverse the steps.
    ranges: ClassVar[Ranges] = {
        **Optimizer.ranges,
        "momentum": FRACTION,
        "dampening": Interval(-math.inf, 1, open_low=True),
    }
    hyper: ClassVar[tuple[str, ...]] = ("nesterov",)

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        decay: Decay | str = L2(),
        **options: Unpack[Options],
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "decay": decay,
        }
        super().__init__(params, defaults, **options)

    def check(self, group: Group, where: str) -> None:
        """Refuse what torch refuses: nesterov needs momentum, and knows no dampening."""
        super().check(group, where)
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValueError(
                f"nesterov=True in {where} with momentum={group['momentum']}, dampening={group['dampening']}: "
                "Nesterov's step needs a momentum above 0 and a dampening of 0."
            )

    def observe(self, state: State, grad: Tensor, group: Group) -> None:
        """m_t = β₁ m_{t−1} + β₃ g_t, with m_1 = g_1."""
        if group["momentum"] == 0:
            return
        if "momentum_buffer" in state:
            state["momentum_buffer"].mul_(group["momentum"]).add_(grad, alpha=1 - group["dampening"])
        else:
            state["momentum_buffer"] = grad.clone()

    def direction(self, state: State, grad: Tensor, group: Group, mean_square: Number) -> Tensor:
        """u_t = m_t, or g_t + β₁ m_t."""
        if group["momentum"] == 0:
            return grad
        m: Tensor = state["momentum_buffer"]
        return grad + group["momentum"] * m if group["nesterov"] else m

    def gain(self, state: State, group: Group) -> Number:
        """β₃/(1−β₁), the same for every element; 1 without momentum, where no dampening acts."""
        momentum: float = group["momentum"]
        return (1 - group["dampening"]) / (1 - momentum) if momentum else 1.0

    def mean_gain(self, state: State, group: Group, mean_square: Number) -> Number:
        """β₃/(1−β₁)."""
        return self.gain(state, group)

    def couples(self, group: Group) -> bool:
        """Never: the gain is known without a gradient."""
        return False


class HeavyBall(SGD):
    r"""SGD as the paper's box writes it: the buffer starts at zero, and dampening acts from the first step.

    .. math:: m_t = \beta_1 m_{t-1} + \beta_3 g_t, \quad m_0 = 0, \quad \beta_3 = 1 - \text{dampening}

    Differs from :class:`SGD` only with dampening: there by :math:`\beta_1^{t-1}(1-\beta_3)g_1`. Without momentum too
    the gradient is multiplied by β₃, and so is the gain.

    Source: arXiv:2011.11152, Algorithms 7 and 8 (SHB, SHBW, SHBS).
    """

    method: ClassVar[str] = "HeavyBall"
    elementwise: ClassVar[bool] = True

    def start(self, weight: Tensor, group: Group) -> State:
        """m_0 = 0."""
        return {"momentum_buffer": torch.zeros_like(weight)}

    def observe(self, state: State, grad: Tensor, group: Group) -> None:
        """m_t = β₁ m_{t−1} + β₃ g_t."""
        state["momentum_buffer"].mul_(group["momentum"]).add_(grad, alpha=1 - group["dampening"])

    def direction(self, state: State, grad: Tensor, group: Group, mean_square: Number) -> Tensor:
        """u_t = m_t, or g_t + β₁ m_t."""
        m: Tensor = state["momentum_buffer"]
        return grad + group["momentum"] * m if group["nesterov"] else m

    def gain(self, state: State, group: Group) -> Number:
        """β₃/(1−β₁)."""
        gain: float = (1 - group["dampening"]) / (1 - group["momentum"])
        return gain


class TensorFlowSGD(HeavyBall):
    r"""SGD as TensorFlow and Keras write it: the learning rate enters the buffer.

    .. math:: m_t = \beta_1 m_{t-1} - \eta_t g_t, \qquad \theta_t = (1 - \text{pull}_t)\,\theta_{t-1} + m_t

    (with nesterov, :math:`\theta_{t-1} + \beta_1 m_t - \eta_t g_t`). The same as :class:`SGD` while the lr is
    constant; after the lr drops, the old buffer goes on with the old lr for about 1/(1−β₁) steps.

    The state ``momentum_buffer`` holds −m_t, so that it has the sign of torch's. There is no dampening.

    Source: arXiv:2011.11152, Algorithm 3.
    """

    method: ClassVar[str] = "TensorFlowSGD"
    elementwise: ClassVar[bool] = True

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        dampening: float = 0.0,
        decay: Decay | str = L2(),
        **options: Unpack[Options],
    ) -> None:
        super().__init__(params, lr, momentum, dampening, weight_decay, nesterov, decay=decay, **options)

    def check(self, group: Group, where: str) -> None:
        """Refuse a dampening, which TensorFlow's SGD does not have; 0 is accepted, as the groups hold it."""
        super().check(group, where)
        if group["dampening"] != 0:
            raise ValueError(
                f"dampening={group['dampening']:g} in {where}: TensorFlowSGD has no dampening. Use HeavyBall or SGD."
            )

    def observe(self, state: State, grad: Tensor, group: Group) -> None:
        """−m_t = β₁ (−m_{t−1}) + η_t g_t."""
        state["momentum_buffer"].mul_(group["momentum"]).add_(group["lr"] * grad)

    def displacement(self, state: State, grad: Tensor, group: Group, mean_square: Number) -> Tensor:
        """−m_t, which carries its learning rates already."""
        m: Tensor = state["momentum_buffer"]
        return group["lr"] * grad + group["momentum"] * m if group["nesterov"] else m
