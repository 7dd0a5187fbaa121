"""g ← g + λθ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightdecay.decay.base import Decay, Number

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class L2(Decay):
    r"""The gradient of a penalty :math:`\tfrac{\lambda}{2}\|\theta\|^2`, added to the gradient of the loss.

    .. math:: g_t = \nabla L(\theta_{t-1}) + \lambda\theta_{t-1}, \qquad \text{pull}_t = 0

    Everything that happens to the gradient happens to the decay: Adam divides it by √v̂ too, which is why this is
    not weight decay there. What ``torch.optim.SGD``, ``Adam``, ``RAdam`` call ``weight_decay``.

    Units:  λ is in loss/weight².
    Source: arXiv:2011.11152, Algorithms 1, 3, 4, 5, 7.
    """

    def couple(self, grad: Tensor, weight: Tensor, strength: Number) -> Tensor:
        """Return g + λθ."""
        return grad + strength * weight
