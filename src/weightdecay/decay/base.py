"""The two interfaces of a weight decay: what it may know of a step, and the two places where it may act."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

Number = float | Tensor
"""A scalar: a Python float, or a 0-d tensor when an engine must not wait for the device."""


@dataclass(frozen=True)
class Step:
    r"""What one step looks like to a decay: the facts a rule may ask for, for one tensor of the model.

    ===================  =======================  =============================================================
    strength             :math:`\lambda`          ``group["weight_decay"]``
    lr                   :math:`\eta_t`           ``group["lr"]``
    peak_lr              :math:`\eta_{\max}`      ``group["peak_lr"]``: the lr the group was built with
    mean_gain            :math:`\bar g_t`         by how much the update multiplies a gradient: one number
    gain                 :math:`g_t`              the same, element by element, in the shape of the tensor
    ===================  =======================  =============================================================

    The two gains are calls, not values: a decay that does not ask costs no reduction over the model.
    """

    strength: Number
    lr: Number
    peak_lr: float
    mean_gain: Callable[[], Number]
    gain: Callable[[], Number]


@dataclass(frozen=True)
class Decay:
    r"""How the strength λ becomes a shrinking of the weights. Frozen, without memory; its repr is its name.

    .. math:: \theta_t = (1 - \text{pull}_t)\,\theta_{t-1} - \eta_t u_t

    A new decay is one subclass that overrides :meth:`pull` (or :meth:`couple`, when it enters the gradient).
    """

    def couple(self, grad: Tensor, weight: Tensor, strength: Number) -> Tensor:
        """Return the gradient that the moments see. Never in place: ``p.grad`` belongs to the user."""
        return grad

    def pull(self, step: Step) -> Number:
        """Return by which fraction the weight shrinks in this step: one number, or one an element."""
        return 0.0

    @property
    def uniform(self) -> bool:
        """Whether pull is one number a tensor, so that every engine can apply it."""
        return True

    @property
    def reads_mean_gain(self) -> bool:
        """Whether :meth:`pull` asks for ``step.mean_gain``, which may cost a reduction over the whole model."""
        return False

    def check(self, group: Mapping[str, Any], where: str) -> None:
        """Refuse, with a ValueError, a parameter group in which this decay has no meaning.

        ``where`` names the group for the message, as in ``"group 2"``. Called when the group is added and
        before every step: schedulers write into groups.
        """
