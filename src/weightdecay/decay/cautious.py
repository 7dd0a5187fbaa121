"""mask = 1[u ⊙ (θ − r) ≥ 0]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightdecay.decay.base import Decay, Step
from weightdecay.decay.modifier import BASE, Modifier, both

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Cautious(Modifier):
    r"""Decays an element only where the update moves it towards the anchor as well (the anchor is 0 by default).

    .. math:: \text{mask}_t = \mathbb 1[\,u_t \odot (\theta_{t-1} - r) \ge 0\,]

    At a stationary point of the loss u = 0, the mask is 1 and the base decay acts. Write ``Cautious(Toward(…))``, the
    anchor inside.

    Source: arXiv:2510.12402, Algorithm 1.
    """

    decay: Decay = BASE
    adds = frozenset({"update", "weight"})

    def mask(self, step: Step) -> Tensor:
        """Return where update and distance to the anchor have one sign."""
        u = step.update()
        return both((u * (step.weight() - self.anchor(step)) >= 0).to(u.dtype), self.decay.mask(step))
