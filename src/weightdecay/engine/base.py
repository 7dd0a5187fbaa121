"""What the faster engines share: tensors in buckets, the facts of the step, and whether to move."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from weightdecay.decay import Number
from weightdecay.engine.buckets import Bucket, Plan
from weightdecay.engine.mean_square import Facts, MeanSquare
from weightdecay.optim import scalars
from weightdecay.optim.base import Optimizer
from weightdecay.optim.reference import Runner, try_decays, update_moments

CACHE = 1 << 18
"""Elements that a CPU moves at a time where a step makes intermediate results, which then stay in its cache."""
SMALL = 1 << 12
"""Elements of a tensor up to which a CPU moves it together with others, apart from large ones."""


class Engine(Runner):
    """A way to compute the step in which nothing waits for an accelerator."""

    def __init__(self, optimizer: Optimizer) -> None:
        super().__init__(optimizer)
        self.plan, self.account = Plan(), MeanSquare()
        self.mover: Engine | None = None
        """The engine that looks ahead and moves, where it is another."""
        self._prepared: object = None

    def step(self, optimizer: Optimizer) -> None:
        """Find the buckets and the facts of the whole model, and move the buckets."""
        seen, plan, taken = optimizer.see(), self.plan, False
        if seen.foreign:
            try_decays(optimizer)
        try:
            buckets = plan.follow(optimizer, seen.groups)
            if self._prepared != (now := (plan.stamp, seen.changes)):
                self.prepare(optimizer)
                self._prepared = now
            if not buckets and optimizer.spread.group is None:
                return
            mover = self.mover or self
            look = mover.look_ahead(optimizer, buckets)
            facts = self.account.facts(optimizer, plan, look, mover.sees_in_place(optimizer, buckets))
            if facts.ok is False:
                return
            self.move(optimizer, buckets, facts, mover)
            self.account.commit()
            taken = True
        finally:
            if not taken:  # nothing has happened to a tensor whose first gradient was not taken
                plan.forget_fresh()
            plan.release()

    def move(self, optimizer: Optimizer, buckets: Sequence[Bucket], facts: Facts, mover: Engine) -> None:
        """Count the step and let the mover take it."""
        for bucket in buckets:
            bucket.count_step(facts.ok)
        try:
            mover.advance(optimizer, buckets, facts)
        except Exception:
            for bucket in buckets:
                bucket.uncount_step(facts.ok)
            raise
        pulls: dict[int, Number] = {}
        for bucket in buckets:
            pull, before = bucket.pull, pulls.get(bucket.place)
            if isinstance(facts.ok, Tensor):
                pull = scalars.choose(facts.ok, pull, 0.0)
            pulls[bucket.place] = pull if before is None else scalars.choose(before > pull, before, pull)
        optimizer.record(pulls, facts.mean_square)

    def prepare(self, optimizer: Optimizer) -> None:
        """Refuse, before anything moves, what tensors and groups have become. Asked where one of them has changed."""

    def advance(self, optimizer: Optimizer, buckets: Sequence[Bucket], facts: Facts) -> None:
        """Move the weights of all buckets, and leave in each the largest pull of an element before the clamp.

        ``bucket.state["step"]`` is t, and everything else is known.
        """
        raise NotImplementedError

    def look_ahead(self, optimizer: Optimizer, buckets: Sequence[Bucket]) -> Callable[[Number], Tensor | None]:
        """Return a function of the gradients' scale: Σ v̂ as it will be after this step, over this process's pieces."""

        def look(scale: Number) -> Tensor | None:
            total: Tensor | None = None
            counted = [bucket for bucket in buckets if bucket.group.averages]
            for bucket in (part for whole in counted for part in self.parts(whole)):
                ahead = bucket.aside(bucket.count + 1, optimizer.state_names)
                update_moments(optimizer, ahead, scale)
                mine = sum_of(optimizer.second_moment(ahead.state, ahead.group)) / bucket.copies
                total = mine if total is None else total + mine
            return total

        return look

    def parts(self, bucket: Bucket) -> list[Bucket]:
        """Return what of a bucket is computed at a time."""
        if not bucket.host or bucket.reduces:
            return [bucket]  # the pieces differ in size from process to process, and so would the parts
        return bucket.parts(CACHE, SMALL)

    def sees_in_place(self, optimizer: Optimizer, buckets: Sequence[Bucket]) -> bool:
        """Whether :meth:`look_ahead` lets the moments see the gradients for good."""
        return False

    def sums(self, optimizer: Optimizer) -> dict[int, float]:
        """Return the account of v."""
        return self.account.values(optimizer)

    def take_sums(self, optimizer: Optimizer, sums: dict[int, float]) -> None:
        """Go on with an account of v."""
        self.account.take(optimizer, sums)


def sum_of(several: Tensor) -> Tensor:
    """Return the sum of all elements, of one tensor or of several as one, float64."""
    tensors = [several] if isinstance(several, Tensor) else several.tensors
    sums = [tensor.sum(dtype=torch.float64) for tensor in tensors]
    return sums[0] if len(sums) == 1 else torch.stack(sums).sum()


def refuse(engine: str, where: str, reason: str, instead: str) -> ValueError:
    """Return the error of an engine that cannot honour a group."""
    return ValueError(f'engine="{engine}" cannot move {where}: {reason}. Use engine="{instead}".')
