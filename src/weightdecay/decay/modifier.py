"""A decay around a decay: everything that it does not change is the inner one's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from weightdecay.decay.base import Decay, Number, Step
from weightdecay.decay.decoupled import Decoupled

if TYPE_CHECKING:
    import torch
    from torch import Tensor

BASE: Decay = Decoupled()
"""What a modifier modifies unless it is given another decay."""


class Modifier(Decay):
    """Hands every port on to ``self.decay``. A subclass overrides what it changes, and names in ``adds`` what it reads.

    Raises: TypeError, for something that is no decay; ValueError, for one that enters the gradient (L2): the moments
    have then swallowed the decay, and no mask or anchor reaches it.
    """

    decay: Decay
    adds = frozenset[str]()

    def __post_init__(self) -> None:
        from weightdecay.decay.parse import decay_of

        name = type(self).__name__
        object.__setattr__(self, "decay", decay_of(self.decay, f"{name}()"))
        if self.decay.enters_gradient:
            raise ValueError(
                f"{name}({self.decay!r}): {self.decay!r} enters the gradient, where {name} cannot reach it. "
                "Use Decoupled() or Stable() inside."
            )

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """What the inner decay needs, and what this one adds."""
        return frozenset(self.decay.needs) | self.adds

    @property
    def follows_update(self) -> bool:
        """Whether this one or the inner decay can act only when the update is known."""
        constrains = type(self).constrain is not Modifier.constrain
        return "update" in self.needs or constrains or self.decay.follows_update

    @property
    def keeps_start_as(self) -> torch.dtype | None:
        """As the inner decay has it."""
        return self.decay.keeps_start_as

    @property
    def switched(self) -> bool:
        """Whether λ only switches the inner decay on."""
        return self.decay.switched

    def pull(self, step: Step) -> Number:
        """Return the inner decay's."""
        return self.decay.pull(step)

    def mask(self, step: Step) -> Tensor | None:
        """Return the inner decay's."""
        return self.decay.mask(step)

    def anchor(self, step: Step) -> Number:
        """Return the inner decay's."""
        return self.decay.anchor(step)

    def constrain(self, step: Step, old: Tensor, new: Tensor) -> Tensor:
        """Return the inner decay's."""
        return self.decay.constrain(step, old, new)

    def check(self, group: Mapping[str, Any], where: str) -> None:
        """Refuse what the inner decay refuses."""
        self.decay.check(group, where)


def both(one: Tensor, other: Tensor | None) -> Tensor:
    """Return the product of two masks; None is a mask of ones."""
    return one if other is None else one * other.to(one.dtype)
