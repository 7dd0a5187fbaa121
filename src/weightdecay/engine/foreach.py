"""The boxes of ``optim`` on lists of tensors: for every optimizer and decay, a user's own included."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from weightdecay.engine.base import Engine
from weightdecay.engine.bucket import Bucket
from weightdecay.engine.facts import Facts


class Foreach(Engine):
    """Each operation of a box is one call for all tensors of a bucket."""

    def advance(self, buckets: Sequence[Bucket], facts: Facts) -> bool | Tensor:
        """See the gradients and move the weights, bucket by bucket."""
        any_clamped: bool | Tensor = False
        optimizer = self.optimizer
        for bucket in (part for whole in buckets for part in self.parts(whole)):
            step = bucket.state["step"]
            masked = isinstance(facts.ok, Tensor)
            moving = bucket.copy(step) if masked else bucket
            if not masked:
                bucket.open(step)
            optimizer.see(moving, facts.scale)
            clamped = optimizer.move(moving, facts.mean_square)
            if isinstance(facts.ok, Tensor):
                # Whether the gradients are finite is known on the device only: compute aside, keep it where they are.
                moving.keep_where(facts.ok, bucket)
                clamped = clamped & facts.ok
            moving.close(optimizer.moments, optimizer.seed)
            any_clamped = any_clamped | clamped
        return any_clamped
