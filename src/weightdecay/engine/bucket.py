"""Which tensors move as one: those of one group, type and device that have lived through the same steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from weightdecay.decay import Number
from weightdecay.engine.bundle import Bundle
from weightdecay.optim import scalars
from weightdecay.optim.member import Member, kept_dtype
from weightdecay.optim.rounding import noise, stochastic_round
from weightdecay.optim.sharding import like, piece


@dataclass(slots=True)
class Bucket(Member):
    """Several members as one: weight, gradient and every state are bundles, the step count is one number."""

    weight: Any  # bundles, in the places of tensors
    grad: Any
    members: list[Member] = field(default_factory=list)
    copies: int = 1  # how many processes hold each element
    fresh: bool = False  # whether this is their first gradient

    @classmethod
    def of(cls, members: list[Member], copies: int) -> Bucket:
        """Return the members as one."""
        first = members[0]
        weight, grad = Bundle(m.weight for m in members), Bundle(m.grad for m in members)
        alike = (first.memory, first.group)  # in what is asked of them
        return cls(first.index, first.param, weight, grad, *alike, members=members, copies=copies)

    def parts(self, elements: int | None) -> list[Bucket]:
        """Return the bucket cut into smaller ones, each of about so many elements; None leaves it whole."""
        if elements is None:
            return [self]
        parts: list[list[Member]] = [[]]
        size = 0
        for m in self.members:
            if size and size + m.weight.numel() > elements:
                parts.append([])
                size = 0
            parts[-1].append(m)
            size += m.weight.numel()
        buckets = [Bucket.of(members, self.copies) for members in parts]
        for bucket in buckets:
            bucket.state, bucket.fresh = dict(self.state), self.fresh
        return buckets

    @property
    def count(self) -> Number:
        """The step count before this step: a float on the CPU, a 0-d float64 tensor where reading it would wait."""
        step: Tensor = self.memory["step"]
        return scalars.host_number(step.double())

    @property
    def steps(self) -> list[Tensor]:
        """The step counts of all members."""
        return [m.memory["step"] for m in self.members]

    @staticmethod
    def keep(m: Member, name: str, tensor: Tensor) -> None:
        """Make the tensor a state of the member."""
        m.memory[name] = like(m.param, tensor)

    def slot(self, name: str) -> Bundle:
        """Return this process's pieces of one state of all members."""
        return Bundle(piece(m.memory[name]) for m in self.members)

    def noise(self, seed: int, slot: int) -> Any:
        """Return uniform numbers, one an element."""
        step = self.state["step"]
        return Bundle(noise(m.weight, seed, m.index * 16 + slot, step) for m in self.members)

    def open(self, step: Number) -> None:
        """Show the states in the working precision; ``step`` is t."""
        self.state = {name: self.slot(name).to(self.dtype) for name in self.memory if name not in ("step", "v_sum")}
        self.state["step"] = step

    def copy(self, step: Number | None = None) -> Bucket:
        """Return the bucket, opened at the next step, with weight and states in memory of their own."""
        aside = replace(self, weight=self.weight.clone())
        aside.open(self.count + 1 if step is None else step)
        aside.state = {name: value if name == "step" else value.clone() for name, value in aside.state.items()}
        return aside

    def keep_where(self, ok: Tensor, target: Bucket) -> None:
        """Copy weight and states into the target's memory where ``ok`` holds; they stand for the target's then."""
        target.weight.copy_(where(ok, self.weight, target.weight))
        for name, value in self.state.items():
            if name == "step" or name not in self.memory:
                continue
            kept = target.slot(name)
            value = self.state[name] = where(ok, value, kept.to(self.dtype))
            if kept.dtype == self.dtype:
                kept.copy_(value)

    def close(self, moments: torch.dtype | None, seed: int) -> None:
        """Keep what the step made of the states: new slots, and rounded ones. The others were changed in place."""
        for slot, (name, value) in enumerate(self.state.items(), start=1):
            if name == "step":
                continue
            if name not in self.memory:
                for m, tensor in zip(self.members, value.tensors, strict=True):
                    dtype = kept_dtype(name, m.weight, moments)
                    self.keep(m, name, torch.empty_like(tensor, dtype=dtype).copy_(tensor))
                continue
            kept = self.slot(name)
            if kept.dtype != self.dtype:
                rounded: Any = stochastic_round(value, kept.dtype, self.noise(seed, slot))
                kept.copy_(rounded)


def where(condition: Tensor, yes: Any, no: Any) -> Any:
    """Return torch.where of bundles, which its type signature does not know."""
    return torch.where(condition, yes, no)


class Cohorts:
    """Remembers which tensors have had the same steps, so that one step count serves them all.

    Counts live on the device, and reading them would wait for it; but tensors that have always moved together have
    equal counts, and tensors that part never meet again. Only after a checkpoint are counts read, once.
    """

    def __init__(self) -> None:
        self.of: dict[Tensor, Any] = {}
        self.clock = 0
        self.last: list[Any] = []
        self.parts: list[tuple[int, list[int]]] = []

    def sort(self, members: Sequence[Member], copies: Callable[[Tensor], int], fresh: Container[int]) -> list[Bucket]:
        """Return the members in buckets; ``fresh`` are the indices of those that meet their first gradient."""
        present = [(m.index, len(m.memory), m.weight.dtype) for m in members]
        if present != self.last:
            self._follow(members, fresh)
            parts: dict[Any, list[int]] = {}
            for i, m in enumerate(members):
                held = copies(m.param)
                key = (held, id(m.group), m.weight.dtype, m.weight.device, self.of[m.param], len(m.memory))
                parts.setdefault(key, []).append(i)
            self.last, self.parts = present, [(held, places) for (held, *_), places in parts.items()]
        # Backwards: the norms of the gradients were taken forwards, and the last of them are still in the cache.
        return [Bucket.of([members[i] for i in reversed(places)], held) for held, places in reversed(self.parts)]

    def _follow(self, members: Sequence[Member], fresh: Container[int]) -> None:
        """Part the cohorts of which some members have a gradient in this step and some have none."""
        self.clock += 1
        for m in members:
            if m.param not in self.of:
                self.of[m.param] = (self.clock, 0.0 if m.index in fresh else m.memory["step"].item())
        population, here = Counter(self.of.values()), Counter(self.of[m.param] for m in members)
        for m in members:
            cohort = self.of[m.param]
            if here[cohort] < population[cohort]:
                self.of[m.param] = (self.clock, cohort)
