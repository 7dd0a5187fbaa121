"""The default engine: fused where possible, otherwise foreach."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from weightdecay.decay import Number
from weightdecay.engine.base import Engine
from weightdecay.engine.buckets import Bucket
from weightdecay.engine.foreach import Foreach
from weightdecay.engine.fused import Fused, refusal
from weightdecay.engine.mean_square import Facts
from weightdecay.optim.base import Optimizer


class Auto(Engine):
    """Fused where torch's kernels can move every group, else foreach; asked anew when tensors or groups change."""

    name = "auto"

    def __init__(self, optimizer: Optimizer) -> None:
        super().__init__(optimizer)
        self.chosen: Engine | None = None
        self.asked: object = None

    def choose(self, optimizer: Optimizer) -> Engine:
        """Return the engine that fits the tensors and the groups as they now are."""
        asked = (self.plan.stamp, *(reader.changes for reader in optimizer.readers))
        if self.chosen is None or asked != self.asked:
            fits = not any(refusal(optimizer, reader.seen) for reader in optimizer.readers)
            wanted = Fused if fits else Foreach
            if type(self.chosen) is not wanted:
                self.chosen = wanted(optimizer)
                self.chosen.plan = self.plan
            self.asked = asked
        return self.chosen

    def look_ahead(self, optimizer: Optimizer, buckets: Sequence[Bucket]) -> Callable[[Number], Tensor | None]:
        """As the chosen engine does."""
        return self.choose(optimizer).look_ahead(optimizer, buckets)

    def sees_in_place(self, optimizer: Optimizer, buckets: Sequence[Bucket]) -> bool:
        """As the chosen engine does."""
        return self.choose(optimizer).sees_in_place(optimizer, buckets)

    def advance(self, optimizer: Optimizer, buckets: Sequence[Bucket], facts: Facts) -> None:
        """By the chosen engine."""
        self.choose(optimizer).advance(optimizer, buckets, facts)
