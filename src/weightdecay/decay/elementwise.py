"""pull = λ η g, element by element."""

from __future__ import annotations

from dataclasses import dataclass

from weightdecay.decay.base import Decay, Number, Step


@dataclass(frozen=True)
class Elementwise(Decay):
    r"""Every element is pulled in proportion to its own effective learning rate.

    .. math:: \theta_t = (1 - \lambda\,\eta_t\,g_t)\,\theta_{t-1} - \eta_t u_t, \qquad
              g_t = 1/(\sqrt{\hat v_t} + \epsilon)\ \text{for Adam}

    The minimum of the regularised loss is exactly that of L2, but directions with small gradients are erased and
    those with large ones hardly decay: the paper rejects it for this anisotropic convergence, and so do we, except
    as the ablation. An element that never had a gradient does not decay; one with a tiny gradient can meet the clamp
    at pull = 1, which the optimizer counts.

    Shapes: pull has the shape of the tensor. For SGD and Adai the gain is one number and this is Stable().
    Units:  λ is in loss/weight², as in L2.
    Source: arXiv:2011.11152, Eq. 10.
    """

    needs = frozenset({"gain"})

    def pull(self, step: Step) -> Number:
        """Return λ η g."""
        return step.lr * step.strength * step.gain()
