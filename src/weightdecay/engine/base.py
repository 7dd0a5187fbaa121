"""What the faster engines share: tensors in buckets, the facts of the step, and whether to move."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from weightdecay.decay import Number
from weightdecay.engine.bucket import Bucket, Cohorts
from weightdecay.engine.facts import Accountant, Facts
from weightdecay.optim import scalars
from weightdecay.optim.base import Optimizer
from weightdecay.optim.member import Member
from weightdecay.optim.reference import Runner

CACHE = 1 << 18
"""Elements that a CPU moves at a time where a step makes intermediate results, which then stay in its cache."""

ONE = torch.tensor(1.0)
"""On the CPU a Python number would be made a tensor once for every step count."""


class Engine(Runner):
    """A way to compute the step in which nothing waits for an accelerator."""

    def __init__(self, optimizer: Optimizer) -> None:
        super().__init__(optimizer)
        for i, group in enumerate(optimizer.param_groups):
            self.check(group, f"group {i}")
        self.cohorts, self.accountant = Cohorts(), Accountant(optimizer)
        self.fresh: set[int] = set()  # the indices of the tensors that meet their first gradient in this step

    def step(self) -> None:
        """Gather, find the facts of the whole model, and move the buckets."""
        optimizer = self.optimizer
        members = optimizer.gather()
        if not members and optimizer.spread.alone:
            return
        fresh = [m for m in members if "step" not in m.memory]
        self.fresh = {m.index for m in fresh}
        facts = Facts(ok=False)
        try:
            facts = self.accountant.facts(
                members, lambda scale: self.look_ahead(self.buckets(members), scale), self.sees_in_place(members)
            )
        finally:
            if facts.ok is False:  # nothing has happened to a tensor whose first gradient was not taken
                for m in fresh:
                    m.memory.clear()
        if facts.ok is False:
            return
        buckets = self.buckets(members)
        for bucket in buckets:
            bucket.fresh = bucket.index in self.fresh
            bucket.state = {"step": bucket.count + facts.ok}  # t; it stays where a step is left out
            torch._foreach_add_(bucket.steps, taken(facts.ok, bucket.steps[0].device))
        optimizer.count("clamped", self.advance(buckets, facts))

    def advance(self, buckets: Sequence[Bucket], facts: Facts) -> bool | Tensor:
        """Move the weights of all buckets; return whether some pull had to be clamped.

        ``bucket.state["step"]`` is t, and everything else is known.
        """
        raise NotImplementedError

    def buckets(self, members: Sequence[Member]) -> list[Bucket]:
        """Return the members in buckets, those that meet their first gradient with their state."""
        for m in members:
            if "step" not in m.memory:
                self.optimizer.begin(m)
            elif m.memory["step"].device != m.weight.device:
                m.memory["step"] = m.memory["step"].to(m.weight.device)  # after a checkpoint, once
        return self.cohorts.sort(members, self.optimizer.spread.copies, self.fresh)

    def look_ahead(self, buckets: Sequence[Bucket], scale: Number) -> Tensor | None:
        """Return Σ v̂ as it will be after this step, over this process's pieces, each element counted once."""
        total: Tensor | None = None
        for bucket in (part for whole in buckets for part in self.parts(whole)):
            ahead = bucket.copy()
            self.optimizer.see(ahead, scale)
            mine = self.optimizer.second_moment(ahead.state, ahead.group).sum() / bucket.copies
            total = mine if total is None else total + mine
        return total

    def parts(self, bucket: Bucket) -> list[Bucket]:
        """Return what of a bucket is computed at a time."""
        return bucket.parts(CACHE if scalars.readable(bucket.weight.device) else None)

    def sees_in_place(self, members: Sequence[Member]) -> bool:
        """Whether :meth:`look_ahead` lets the moments see the gradients for good."""
        return False

    def settle(self) -> None:
        """Write the account of v into the state."""
        self.accountant.settle()


def taken(ok: bool | Tensor, device: torch.device) -> Number:
    """Return by how much the step counts rise: 1, or 0 where the device knows that the step is left out."""
    if isinstance(ok, Tensor):
        return ok.float()
    return ONE if scalars.readable(device) else 1


def refuse(engine: str, where: str, reason: str, instead: str) -> ValueError:
    """Return the error of an engine that cannot honour a group."""
    return ValueError(f'engine="{engine}" cannot move {where}: {reason}. Use engine="{instead}".')
