"""Adam whose second moment never shrinks."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from weightdecay.optim.adam import Adam
from weightdecay.optim.member import Group, State
from weightdecay.optim.scalars import correction


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
