"""The step as one program of torch.compile, traced from the boxes of ``optim``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from weightdecay.decay import Number
from weightdecay.engine.bucket import Bucket, where
from weightdecay.engine.facts import Facts
from weightdecay.engine.foreach import Foreach
from weightdecay.engine.hoist import hoist
from weightdecay.optim.base import Optimizer
from weightdecay.optim.member import Group, Member, decays
from weightdecay.optim.sharding import piece

Program = Callable[[list[Tensor], list[Tensor]], Any]
VARYING = ("lr", "weight_decay", "params")


class Compiled(Foreach):
    """Moves all tensors in one compiled graph, each element read and written once.

    lr, λ, the step count, v̄ and the clipping coefficient are inputs of the graph; arithmetic on them alone runs before
    it. A graph is built (seconds) for a set of tensors with gradients, their shapes and the other hyper-parameters; a
    set that was seen before finds its graph again. A tensor's first step is taken by foreach.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        super().__init__(optimizer)
        self.programs: dict[Any, Program] = {}

    def advance(self, buckets: Sequence[Bucket], facts: Facts) -> bool | Tensor:
        """Run the program of these tensors."""
        clamped = super().advance([b for b in buckets if b.fresh], facts)
        buckets = [b for b in buckets if not b.fresh]
        if not buckets:
            return clamped
        masked = isinstance(facts.ok, Tensor)
        program = self._program("move", buckets, masked)
        numbers = [facts.scale, facts.mean_square, *([facts.ok] if masked else [])]
        also: bool | Tensor = program(tensors_of(buckets), numbers_of(buckets, numbers))
        return clamped | also

    def sees_in_place(self, members: Sequence[Member]) -> bool:
        """Never: a compiled look at copies writes none."""
        return False

    def look_ahead(self, buckets: Sequence[Bucket], scale: Number) -> Tensor | None:
        """Return Σ v̂ as it will be after this step, from a program of its own."""
        if not buckets or any(bool(b.fresh) or "step" not in b.memory or len(b.memory) == 1 for b in buckets):
            return super().look_ahead(buckets, scale)
        for bucket in buckets:
            bucket.state = {"step": bucket.count + 1}
        program = self._program("look", buckets, masked=False)
        total: Tensor = program(tensors_of(buckets), numbers_of(buckets, [scale, math.nan]))
        return total

    def _program(self, what: str, buckets: Sequence[Bucket], masked: bool) -> Program:
        optimizer = self.optimizer
        scales = optimizer.max_grad_norm is not None or getattr(optimizer, "grad_scale", None) is not None
        key = (what, scales, masked, *map(signature, buckets))
        if key not in self.programs:
            body = self._move if what == "move" else self._look
            traced = make_fx(
                lambda tensors, numbers: body(rebuild(buckets, tensors, numbers), numbers[3 * len(buckets) :], scales),
                tracing_mode="fake",
            )
            extra = [math.nan, math.nan, *([torch.tensor(True, device=buckets[0].weight.device)] if masked else [])]
            tensors, numbers = tensors_of(buckets), numbers_of(buckets, extra)
            self.programs[key] = hoist(traced(tensors, numbers), len(tensors))
        return self.programs[key]

    def _move(self, members: list[tuple[Member, int]], numbers: list[Tensor], scales: bool) -> Any:
        """What is traced: the reference's step of each member, all of the model being known."""
        scale, mean_square, *ok = numbers
        optimizer = self.optimizer
        moved = []
        for m, _ in members:
            target = m.weight
            m.open(m.state["step"])
            if ok:
                m.weight = target.clone()
                m.state = {name: value if name == "step" else value.clone() for name, value in m.state.items()}
            optimizer.see(m, scale if scales else 1.0)
            moved.append(optimizer.move(m, mean_square))
            if ok:
                target.copy_(where(ok[0], m.weight, target))
                for name, kept in m.memory.items():
                    m.state[name] = where(ok[0], m.state[name], kept.to(m.dtype))
                    if kept.dtype == m.dtype:
                        kept.copy_(m.state[name])
            m.close(optimizer.moments, optimizer.seed)
        flags = [flag for flag in moved if isinstance(flag, Tensor)]
        if not flags:
            return False
        clamped = torch.stack(flags).any()  # not one "or" after the other: equal flags are then one
        return clamped & ok[0] if ok else clamped

    def _look(self, members: list[tuple[Member, int]], numbers: list[Tensor], scales: bool) -> Tensor:
        """What is traced: Σ v̂ of all members after their gradients are seen, on copies."""
        totals = []
        for m, copies in members:
            m.open(m.state["step"])
            m.state = {name: value if name == "step" else value.clone() for name, value in m.state.items()}
            self.optimizer.see(m, numbers[0] if scales else 1.0)
            totals.append(self.optimizer.second_moment(m.state, m.group).sum().double() / copies)
        return torch.stack(totals).sum()


def signature(bucket: Bucket) -> Any:
    """Return all that a graph has built in: which tensors, their layout, and every number that is not an input."""
    group = bucket.group
    fixed = tuple((name, value) for name, value in group.items() if name not in VARYING and isinstance(value, FIXED))
    layout = tuple((m.index, m.weight.shape, m.weight.stride(), m.grad.stride()) for m in bucket.members)
    return (
        layout,
        tuple(bucket.memory),
        fixed,
        repr(group["decay"]),
        decays(group),
        bucket.weight.dtype,
        bucket.weight.device,
    )


FIXED = (int, float, bool, str, tuple)


def tensors_of(buckets: Sequence[Bucket]) -> list[Tensor]:
    """Return weight, gradient and states of every member, as lines where all of them lie in memory as lines."""
    tensors: list[Tensor] = []
    for bucket in buckets:
        names = slots_of(bucket)
        for m in bucket.members:
            own = [m.weight, m.grad, *(piece(m.memory[name]) for name in names)]
            if m.weight.dim() != 1 and all(t.is_contiguous() for t in own):
                own = [t.view(-1) for t in own]
            tensors += own
    return tensors


def slots_of(bucket: Bucket) -> list[str]:
    """Return the names of the states."""
    return [name for name in bucket.memory if name not in ("step", "v_sum")]


def numbers_of(buckets: Sequence[Bucket], more: Sequence[Any]) -> list[Tensor]:
    """Return step, lr and λ of each bucket, and the facts, as 0-d tensors; floats as float64."""
    numbers = [n for b in buckets for n in (b.state["step"], b.group["lr"], b.group["weight_decay"])]
    return [n if isinstance(n, Tensor) else torch.tensor(n, dtype=torch.float64) for n in (*numbers, *more)]


def rebuild(buckets: Sequence[Bucket], tensors: list[Tensor], numbers: list[Tensor]) -> list[tuple[Member, int]]:
    """Return the members with traced tensors and numbers in the places of their own, each with its copies."""
    members, rest = [], iter(tensors)
    for i, bucket in enumerate(buckets):
        step, lr, strength = numbers[3 * i : 3 * i + 3]
        group: Group = {**bucket.group, "lr": lr, "weight_decay": strength if decays(bucket.group) else 0.0}
        for m in bucket.members:
            weight, grad = next(rest), next(rest)
            memory = {name: next(rest) for name in slots_of(bucket)}
            members.append(
                (replace(m, weight=weight, grad=grad, memory=memory, group=group, state={"step": step}), bucket.copies)
            )
    return members
