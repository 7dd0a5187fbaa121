"""pull = λ η g, element by element."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weightdecay.checks import number
from weightdecay.decay.base import Decay, Number, Step
from weightdecay.decay.norms import check_whole


@dataclass(frozen=True)
class Elementwise(Decay):
    r"""Every element is pulled in proportion to its own effective learning rate.

    .. math:: \theta_t = (1 - \lambda\,\eta_t\,g_t)\,\theta_{t-1} - \eta_t u_t, \qquad
              g_t = 1/(\sqrt{\hat v_t} + \epsilon)\ \text{for Adam}

    The minimum of the regularised loss is exactly that of L2, but directions with small gradients are erased and
    those with large ones hardly decay: the paper rejects it for this anisotropic convergence, and so do we, except
    as the ablation. An element that never had a gradient does not decay; one with a tiny gradient can meet the clamp
    at pull = 1, which the optimizer counts.

    ``max_rms`` caps the root mean square of :math:`g_t \odot \theta_{t-1}` in each tensor, and with it the size of the
    whole decay: the pull is divided by :math:`\max(1, \operatorname{rms}(g_t \odot \theta_{t-1})/\text{max\_rms})`.
    Such is FAdam's decay by the Fisher information, with max_rms = 1. None: no cap.

    Shapes: pull has the shape of the tensor. For SGD and Adai the gain is one number and this is Stable().
    Units:  λ is in loss/weight², as in L2, while the cap does not act; where it acts, ηλ·max_rms is a length.
    Sharded parameters: with max_rms, one all-reduce per step.
    Raises: ValueError, for a max_rms that is not above 0.
    Source: arXiv:2011.11152, Eq. 10; for max_rms FAdam, arXiv:2405.12807.
    """

    max_rms: float | None = None

    def __post_init__(self) -> None:
        if self.max_rms is None:
            return
        object.__setattr__(self, "max_rms", float(number(self.max_rms, "max_rms", "Elementwise()")))
        if not 0 < self.max_rms < math.inf:
            raise ValueError(
                f"Elementwise(max_rms={self.max_rms!r}): max_rms must be a finite number above 0, or None."
            )

    def __repr__(self) -> str:  # its name in checkpoints, which had no cap to name
        return "Elementwise()" if self.max_rms is None else f"Elementwise(max_rms={self.max_rms!r})"

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """The gain of every element; with a cap the weight and its norm too."""
        return frozenset({"gain"} if self.max_rms is None else {"gain", "weight", "norms"})

    def pull(self, step: Step) -> Number:
        """Return λ η g, divided by how many times its RMS exceeds the cap."""
        pull = step.lr * step.strength * step.gain()
        if self.max_rms is None:
            return pull
        import torch  # not to read a text, which needs no tensor

        scaled = step.gain() * step.weight()
        length, root = step.norms(scaled, torch.ones_like(scaled))  # √n, with n over all pieces
        excess = length / (self.max_rms * root.clamp(min=1.0))
        return pull / excess.clamp(min=1.0)

    def check(self, group: Mapping[str, Any], where: str) -> None:
        """Refuse flattened pieces, with a cap."""
        if self.max_rms is not None:
            check_whole(self, group, where)
