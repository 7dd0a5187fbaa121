"""λ out of the optimizer's sight: while its own step runs, another number stands in ``group["weight_decay"]``."""

from __future__ import annotations

from typing import Any

from weightdecay.optim.member import Group


class Cover:
    """What stands in for λ in the groups of one optimizer."""

    def __init__(self) -> None:
        self.hidden: list[tuple[Group, Any, float]] = []  # the group, λ, and what stands in for it

    def hide(self, group: Group, value: float) -> None:
        """Let ``value`` stand in for the group's λ."""
        value = float(repr(value))  # an object of its own, by which it is known again
        self.hidden.append((group, group["weight_decay"], value))
        group["weight_decay"] = value

    def lift(self) -> None:
        """Put λ back, unless somebody has written another one over what stood in for it."""
        while self.hidden:
            group, strength, value = self.hidden[-1]
            if group.get("weight_decay") is value:
                group["weight_decay"] = strength
            self.hidden.pop()
