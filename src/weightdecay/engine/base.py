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
from weightdecay.optim.groups import read_groups
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

    def step(self, optimizer: Optimizer) -> None:
        """Find the buckets and the facts of the whole model, and move the buckets."""
        groups, plan, taken = read_groups(optimizer), self.plan, False
        try_decays(optimizer)
        try:
            buckets = plan.follow(optimizer, groups)
            self.prepare(optimizer, buckets)
            if not buckets and optimizer.spread.alone:
                return
            look = self.look_ahead(optimizer, buckets)
            facts = self.account.facts(optimizer, plan, look, self.sees_in_place(optimizer, buckets))
            if facts.ok is False:
                return
            self.move(optimizer, buckets, facts)
            self.account.commit()
            taken = True
        finally:
            if not taken:  # nothing has happened to a tensor whose first gradient was not taken
                plan.forget_fresh()
            plan.release()

    def move(self, optimizer: Optimizer, buckets: Sequence[Bucket], facts: Facts) -> None:
        """Count the step and take it."""
        for bucket in buckets:
            bucket.count_step(facts.ok)
        try:
            self.advance(optimizer, buckets, facts)
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

    def prepare(self, optimizer: Optimizer, buckets: Sequence[Bucket]) -> None:
        """Refuse, before anything moves, what the tensors and groups have become since the last step."""

    def advance(self, optimizer: Optimizer, buckets: Sequence[Bucket], facts: Facts) -> None:
        """Move the weights of all buckets, and leave in each the largest pull of an element before the clamp.

        ``bucket.state["step"]`` is t, and everything else is known.
        """
        raise NotImplementedError

    def look_ahead(self, optimizer: Optimizer, buckets: Sequence[Bucket]) -> Callable[[Number], Tensor | None]:
        """Return a function of the gradients' scale: Σ v̂ as it will be after this step, over this process's pieces."""

        def look(scale: Number) -> Tensor | None:
            total: Tensor | None = None
            counted = [bucket for bucket in buckets if optimizer.averages(bucket.group)]
            for bucket in (part for whole in counted for part in self.parts(whole)):
                ahead = bucket.aside(bucket.count + 1, optimizer.state_names)
                update_moments(optimizer, ahead, scale)
                mine = sum_of(optimizer.second_moment(ahead.state, ahead.group)) / bucket.copies
                total = mine if total is None else total + mine
            return total

        return look

    def parts(self, bucket: Bucket) -> list[Bucket]:
        """Return what of a bucket is computed at a time."""
        return bucket.parts(CACHE, SMALL) if scalars.readable(bucket.counts.device) else [bucket]

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
