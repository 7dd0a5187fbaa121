"""The boxes of ``optim`` on lists of tensors: for every optimizer and decay, a user's own included."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from weightdecay.decay import L2, Elementwise, Number
from weightdecay.engine.base import SMALL, Engine, sum_of
from weightdecay.engine.buckets import Bucket
from weightdecay.engine.mean_square import Facts
from weightdecay.optim import scalars
from weightdecay.optim.base import BOX, Optimizer
from weightdecay.optim.member import START, Group, Member
from weightdecay.optim.reference import apply_update, update_moments


class Foreach(Engine):
    """Each operation of a box is one call for all tensors of a bucket; on a CPU small tensors are moved as one."""

    name = "foreach"

    def __init__(self, optimizer: Optimizer) -> None:
        super().__init__(optimizer)
        self.seen: list[tuple[Bucket, Member]] = []  # what look_ahead has already opened and shown the gradients
        self.joined: dict[int, Joined] = {}
        self.stamp = -1

    def sees_in_place(self, optimizer: Optimizer, buckets: Sequence[Bucket]) -> bool:
        """In one process on the CPU, where copies cost more than to check the gradients first."""
        return optimizer.spread.alone and all(bucket.host for bucket in buckets)

    def look_ahead(self, optimizer: Optimizer, buckets: Sequence[Bucket]) -> Callable[[Number], Tensor | None]:
        """Return a function of the gradients' scale: Σ v̂ as it will be after this step."""
        self.seen = []
        if not self.sees_in_place(optimizer, buckets):
            return super().look_ahead(optimizer, buckets)

        def look(scale: Number) -> Tensor | None:
            totals = []
            for part in (part for whole in buckets for part in self.parts(whole)):
                moving = self.open(optimizer, part, part.count + 1)
                self.seen.append((part, moving))
                update_moments(optimizer, moving, scale)
                if part.group.averages:
                    totals.append(sum_of(optimizer.second_moment(moving.state, moving.group)))
            return torch.stack(totals).sum() if totals else None

        return look

    def advance(self, optimizer: Optimizer, buckets: Sequence[Bucket], facts: Facts) -> None:
        """See the gradients and move the weights, bucket by bucket."""
        seen, self.seen = self.seen, []
        pulls: dict[int, list[Number]] = {id(bucket): [] for bucket in buckets}
        parts = [(bucket, part) for bucket in buckets for part in self.parts(bucket)]
        for i, (bucket, part) in enumerate(parts):
            if seen:
                moving: Member = seen[i][1]
            elif isinstance(facts.ok, Tensor):
                # Whether the gradients are finite is known on the device only: compute aside, keep it where they are.
                moving = part.aside(bucket.state["step"], optimizer.state_names)
            else:
                moving = self.open(optimizer, part, bucket.state["step"])
            if not seen:
                update_moments(optimizer, moving, facts.scale)
            pulls[id(bucket)].append(apply_update(optimizer, moving, facts.mean_square))
            if isinstance(facts.ok, Tensor):
                assert isinstance(moving, Bucket)
                moving.keep_where(facts.ok, part)
            self.close(optimizer, part, moving)
        for bucket in buckets:
            bucket.pull = most(pulls[id(bucket)])

    def open(self, optimizer: Optimizer, part: Bucket, step: Number) -> Member:
        """Return the tensors as one, with their states."""
        if joins(optimizer, part):
            if self.stamp != self.plan.stamp:
                self.joined, self.stamp = {}, self.plan.stamp
            if id(part) not in self.joined:
                self.joined[id(part)] = Joined(part)
            return self.joined[id(part)].open(part, step)
        part.load_state(step, optimizer.state_names)
        return part

    def close(self, optimizer: Optimizer, part: Bucket, moving: Member) -> None:
        """Write what the step made of them into their own memory."""
        if isinstance(moving, Bucket):
            moving.store_state(optimizer.moments, optimizer.seed)
        else:
            self.joined[id(part)].close(part, moving)


def most(pulls: Sequence[Number]) -> Number:
    """Return the largest."""
    largest = pulls[0] if pulls else 0.0
    for pull in pulls[1:]:
        largest = scalars.choose(pull > largest, pull, largest)
    return largest


WEIGHT, GRAD = "/weight", "/grad"
"""Beside the states, whose names are the box's own."""


class Joined:
    """Small tensors of a CPU side by side in one memory: a call for all of them costs what a call for one does."""

    def __init__(self, part: Bucket) -> None:
        weights = part.weight.tensors
        self.shapes = [weight.shape for weight in weights]
        self.cuts = [*pairwise(accumulate((weight.numel() for weight in weights), initial=0))]
        self.like = torch.empty(self.cuts[-1][1], dtype=part.dtype, device=weights[0].device)
        self.places: dict[str, tuple[Tensor, list[Tensor]]] = {}

    def place(self, name: str) -> tuple[Tensor, list[Tensor]]:
        """Return the memory of one quantity, and the part of it that belongs to each tensor."""
        if name not in self.places:
            whole = torch.empty_like(self.like)
            cut = [whole[a:b].view(shape) for (a, b), shape in zip(self.cuts, self.shapes, strict=True)]
            self.places[name] = whole, cut
        return self.places[name]

    def gather(self, name: str, tensors: list[Tensor]) -> Tensor:
        """Copy the tensors into the memory of that quantity."""
        whole, cut = self.place(name)
        torch._foreach_copy_(cut, tensors)
        return whole

    def scatter(self, name: str, value: Tensor, tensors: list[Tensor]) -> None:
        """Copy them back."""
        whole, cut = self.place(name)
        if value is not whole:
            whole.copy_(value)
        torch._foreach_copy_(tensors, cut)

    def open(self, part: Bucket, step: Number) -> Member:
        """Return the part as one tensor."""
        state = {name: self.gather(name, part.slot(name).tensors) for name in part.slots if name != START}
        weight, grad = self.gather(WEIGHT, part.weight.tensors), self.gather(GRAD, part.grads)
        state["step"] = step  # type: ignore[assignment]
        return Member(part.index, part.param, weight, grad, part.memory, part.group, part.place, state)

    def close(self, part: Bucket, moved: Member) -> None:
        """Write weight and states back; a state that is new gets a memory of its own."""
        self.scatter(WEIGHT, moved.weight, part.weight.tensors)
        for name, value in moved.state.items():
            if name == "step":
                continue
            if name not in part.memory:
                for weight, memory in zip(part.weight.tensors, part.memories, strict=True):
                    memory[name] = torch.empty_like(weight)
            self.scatter(name, value, part.slot(name).tensors)


def joins(optimizer: Optimizer, part: Bucket) -> bool:
    """Whether moving the tensors as one gives each of them what it gets alone."""
    full = part.bare and part.weight.dtype == part.dtype and optimizer.moments is None
    first = part.weight.tensors[0]
    small = len(part.params) > 1 and first.numel() <= SMALL and part.host
    return full and small and elementwise(type(optimizer.box(part.group))) and by_element(part.group)


def elementwise(kind: type[Optimizer]) -> bool:
    """Whether a box says that it treats each element by itself; a class that overrides a part says so anew."""
    for cls in kind.__mro__:
        if "elementwise" in vars(cls):
            return bool(vars(cls)["elementwise"])
        if any(name in vars(cls) for name in BOX):
            return False
    return False


def by_element(group: Group) -> bool:
    """Whether the decay treats each element by itself."""
    decay = group["decay"]
    capped = "norms" in decay.needs
    return (type(decay) in (L2, Elementwise) and not capped) or (decay.uniform and not decay.enters_gradient)
