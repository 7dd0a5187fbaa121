"""The engine that is chosen for whom does not choose."""

from __future__ import annotations

from weightdecay.engine.base import Engine
from weightdecay.engine.foreach import Foreach
from weightdecay.engine.fused import Fused, refusal_of_numbers, refusal_of_params
from weightdecay.optim.base import Optimizer
from weightdecay.optim.reference import Runner


class Auto(Runner):
    """Fused where torch's kernels can move every group, else foreach; asked anew before every step."""

    def __init__(self, optimizer: Optimizer) -> None:
        super().__init__(optimizer)
        self.chosen: Engine | None = None
        self.groups, self.possible = 0, False

    def step(self) -> None:
        """Take one step by the engine that fits the groups as they now are."""
        groups = self.optimizer.param_groups
        if len(groups) != self.groups:  # what cannot change in a group is asked once
            self.groups, self.possible = len(groups), not any(refusal_of_params(self.optimizer, g) for g in groups)
        fits = self.possible and not any(refusal_of_numbers(self.optimizer, group) for group in groups)
        wanted = Fused if fits else Foreach
        if type(self.chosen) is not wanted:
            self.settle()
            self.chosen = wanted(self.optimizer)
        assert self.chosen is not None
        self.chosen.step()

    def settle(self) -> None:
        """Write what the chosen engine keeps for itself into the optimizer's state."""
        if self.chosen is not None:
            self.chosen.settle()
