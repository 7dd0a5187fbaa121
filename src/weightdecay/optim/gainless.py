"""Optimizers whose update multiplies no gradient, and what is said when a decay asks by how much it does."""

from __future__ import annotations

from typing import ClassVar

from weightdecay.checks import NON_NEGATIVE, checked
from weightdecay.decay import Number
from weightdecay.decay.base import checked_needs
from weightdecay.optim.base import Optimizer
from weightdecay.optim.member import Group, State


class Gainless(Optimizer):
    """Base of optimizers that make something else of a gradient than a multiple: its sign, an orthogonal matrix.

    What a stable decay of such an update would be is an open question, so a decay that reads the gain is refused when
    the optimizer is built. ``gain`` of a group is a number that its user answers for; the gain is that number then.
    """

    does: ClassVar[str] = ""
    """What it does to a gradient instead of multiplying it, for the message."""

    def check_own(self, group: Group, names: set[str], where: str) -> None:
        """Check the gain."""
        if "gain" in names and group["gain"] is not None:
            group["gain"] = checked("gain", group["gain"], NON_NEGATIVE, where)
        if "gain" in names and "decay" not in names:
            self._check_needs(group, where)

    def _check_needs(self, group: Group, where: str) -> None:
        if group["gain"] is None and {"mean_gain", "gain"} & checked_needs(group["decay"]):
            raise TypeError(
                f"{group['decay']!r} in {where} needs the gain of the update; {type(self).__name__} has none, because "
                f"it {self.does}. Decoupled(), Independent() and Corrected() "
                "need no gain; gain= takes a constant, at your own responsibility."
            )

    def gain(self, state: State, group: Group) -> Number:
        """Return the number that the user has given."""
        if group["gain"] is None:
            raise NotImplementedError(f"{type(self).__name__} {self.does}: it has no gain but one that is given, gain=")
        given: float = group["gain"]
        return given

    def mean_gain(self, state: State, group: Group, mean_square: Number) -> Number:
        """Return the same number."""
        return self.gain(state, group)

    def couples(self, group: Group) -> bool:
        """Never: the gain is known without a gradient."""
        return False
