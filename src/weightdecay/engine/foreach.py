"""The boxes of ``optim`` on lists of tensors: for every optimizer and decay, a user's own included."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from weightdecay.decay import Number
from weightdecay.engine.base import Engine
from weightdecay.engine.bucket import Bucket
from weightdecay.engine.facts import Facts
from weightdecay.optim import scalars
from weightdecay.optim.base import Optimizer
from weightdecay.optim.member import Member


class Foreach(Engine):
    """Each operation of a box is one call for all tensors of a bucket."""

    def __init__(self, optimizer: Optimizer) -> None:
        super().__init__(optimizer)
        self.seen: list[Bucket] = []  # what look_ahead has already opened and shown the gradients

    def sees_in_place(self, members: Sequence[Member]) -> bool:
        """In one process on the CPU, where copies cost more than to check the gradients first."""
        return self.optimizer.spread.alone and all(scalars.readable(m.weight.device) for m in members)

    def look_ahead(self, buckets: Sequence[Bucket], scale: Number) -> Tensor | None:
        """Return Σ v̂ as it will be after this step."""
        if not self.sees_in_place([m for bucket in buckets for m in bucket.members]):
            return super().look_ahead(buckets, scale)
        self.seen = [part for whole in buckets for part in self.parts(whole)]
        totals = []
        for part in self.seen:
            part.open(part.count + 1)
            self.optimizer.see(part, scale)
            totals.append(self.optimizer.second_moment(part.state, part.group).sum())
        return torch.stack(totals).sum() if totals else None

    def advance(self, buckets: Sequence[Bucket], facts: Facts) -> bool | Tensor:
        """See the gradients and move the weights, bucket by bucket."""
        any_clamped: bool | Tensor = False
        optimizer, seen = self.optimizer, self.seen
        self.seen = []
        for bucket in seen or [part for whole in buckets for part in self.parts(whole)]:
            moving, step = bucket, bucket.state["step"]
            if isinstance(facts.ok, Tensor):
                # Whether the gradients are finite is known on the device only: compute aside, keep it where they are.
                moving = bucket.copy(step)
            elif not seen:
                bucket.open(step)
            if not seen:
                optimizer.see(moving, facts.scale)
            clamped = optimizer.move(moving, facts.mean_square)
            if isinstance(facts.ok, Tensor):
                moving.keep_where(facts.ok, bucket)
                clamped = clamped & facts.ok
            moving.close(optimizer.moments, optimizer.seed)
            any_clamped = any_clamped | clamped
        return any_clamped
