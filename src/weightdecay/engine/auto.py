"""The default engine: fused where possible, otherwise foreach."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from weightdecay.decay import Number
from weightdecay.engine import fused
from weightdecay.engine.base import Engine
from weightdecay.engine.buckets import Bucket
from weightdecay.engine.foreach import Foreach
from weightdecay.engine.fused import Fused, refusal
from weightdecay.engine.mean_square import Facts
from weightdecay.optim.base import Optimizer


class Auto(Engine):
    """Torch's kernels for the groups that they can move, foreach for the others; asked anew when something changes.

    Where v̄ is read and some group needs foreach, foreach moves them all: it may have shown the moments the gradients.
    """

    name = "auto"

    def __init__(self, optimizer: Optimizer) -> None:
        super().__init__(optimizer)
        self.chosen: Engine = Foreach(optimizer)
        self.chosen.plan = self.plan
        self.beside: frozenset[int] = frozenset()  # the places of groups that kernels move while foreach is chosen

    def prepare(self, optimizer: Optimizer) -> None:
        """Choose the engine that fits the tensors and the groups as they now are."""
        groups = optimizer.param_groups  # as they are written: a λ that is a tensor may be 0 now, and not later
        fit = [i for i, group in enumerate(groups) if not refusal(optimizer, group)]
        all_fit = len(fit) == len(groups) > 0
        wanted = Fused if all_fit else Foreach
        self.beside = frozenset(() if all_fit else fit)
        if type(self.chosen) is not wanted:
            self.chosen = wanted(optimizer)
            self.chosen.plan = self.plan
        self.mover = None if self.beside else self.chosen

    def look_ahead(self, optimizer: Optimizer, buckets: Sequence[Bucket]) -> Callable[[Number], Tensor | None]:
        """As the chosen engine does."""
        return self.chosen.look_ahead(optimizer, buckets)

    def sees_in_place(self, optimizer: Optimizer, buckets: Sequence[Bucket]) -> bool:
        """As the chosen engine does."""
        return self.chosen.sees_in_place(optimizer, buckets)

    def advance(self, optimizer: Optimizer, buckets: Sequence[Bucket], facts: Facts) -> None:
        """By the chosen engine, and by kernels beside it."""
        if not optimizer.seen.coupled:
            fused.advance(optimizer, [bucket for bucket in buckets if bucket.place in self.beside], facts)
            buckets = [bucket for bucket in buckets if bucket.place not in self.beside]
        self.chosen.advance(optimizer, buckets, facts)
