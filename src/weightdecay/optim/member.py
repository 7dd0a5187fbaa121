"""What takes part in a step: a tensor with its gradient and state, or several tensors that an engine moves as one."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from weightdecay.decay import Decay, Number
from weightdecay.decay.base import FACTS, undeclared
from weightdecay.optim.blocks import is_packed, pack, unpack
from weightdecay.optim.parameters import WORKING, low_precision, working_dtype
from weightdecay.optim.rounding import noise, remainder, stochastic_round
from weightdecay.optim.sharding import gradient_piece, is_sharded, like, piece, whole_norms

if TYPE_CHECKING:
    from weightdecay.optim.base import Optimizer

State = dict[str, Any]
Group = dict[str, Any]

COMPENSATION = "compensation"
"""The state that holds what a 16-bit weight could not: θ is weight + compensation."""

START = "start"
"""The state that holds the weight before its first step, for a decay that needs it."""

BARE = (Tensor, torch.nn.Parameter)
"""Tensors whose own memory the boxes see; of others, such as a DTensor, they see a piece."""


def decays(group: Group) -> bool:
    """Whether the group's λ is above 0. A tensor is taken as such: reading it could mean to wait for a device."""
    strength = group["weight_decay"]
    return isinstance(strength, Tensor) or bool(strength != 0)


class SeenGroup(Group):
    """One group as a step sees it: its options as plain numbers, and as attributes what follows from them.

    A decay has no memory, so what it does changes only when somebody writes into the group, and then it is noted anew.
    """

    __slots__ = ("acts", "averages", "couples", "decay", "enters", "needs", "plain", "trusted", "undeclared")

    acts: bool  # whether λ is above 0
    couples: bool  # whether the step reads v̄
    averages: bool  # whether v̂ of its tensors is part of v̄
    enters: bool  # whether the moments see another gradient than the loss has
    plain: bool  # whether the decay, where it acts, multiplies the weight and does nothing else
    trusted: bool  # whether the decay is one of this package, which raises nothing once its group was checked
    needs: Set[str]  # the facts of a step that the decay asks for
    undeclared: dict[str, Callable[..., Any]]  # what answers for the others: a TypeError

    def __init__(self, options: Group) -> None:
        super().__init__(options)
        self.decay: Decay | None = None  # that which was noted

    def note(self, optimizer: Optimizer) -> None:
        """Note what follows from the options."""
        decay = self["decay"]
        if decay is not self.decay:
            self.decay, self.plain, self.needs = decay, bool(decay.plain), frozenset(decay.needs)
            self.undeclared = {name: partial(undeclared, decay, name) for name in FACTS - self.needs - {"t"}}
        self.acts, self.couples, self.averages = decays(self), optimizer.couples(self), optimizer.averages(self)
        self.enters = self.acts and bool(decay.enters_gradient)

    def facts(self) -> list[Any]:
        """Return what was noted, to be compared."""
        return [self.acts, self.couples, self.averages, self.enters, self.plain, self.needs]

    def other(self, **options: Any) -> SeenGroup:
        """Return the group with other numbers, of which the same follows."""
        copy = SeenGroup({**self, **options})
        for name in self.__slots__:
            setattr(copy, name, getattr(self, name))
        return copy


def kept_dtype(slot: str, weight: Tensor, moments: torch.dtype | None, decay: Decay) -> torch.dtype:
    """Return the type in which a state tensor is kept between steps."""
    if slot == START:
        return decay.keeps_start_as or weight.dtype
    if slot == COMPENSATION:
        return weight.dtype
    return moments if moments and weight.dim() else working_dtype(weight)  # one number: nothing to save


def one_number(state: Tensor, weight: Tensor) -> bool:
    """Whether a state is one number for all of the tensor; it is kept in the working precision, whole everywhere."""
    return not state.dim() and bool(weight.dim())


def kept(slot: str, value: Tensor, param: Tensor, weight: Tensor, moments: torch.dtype | None, decay: Decay) -> Tensor:
    """Return a state in memory of its own, in the type in which it is kept, spread as the parameter is."""
    if one_number(value, weight):
        return value.to(weight.device, working_dtype(weight), copy=True)
    dtype = kept_dtype(slot, weight, moments, decay)
    if dtype == torch.int8:
        return pack(value.to(weight.device))
    return like(param, torch.empty_like(value, dtype=dtype).copy_(value))


def start_of(start: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the weight before its first step, in that type, from the form in which the state keeps it."""
    return unpack(start, weight.shape, dtype) if is_packed(start, weight) else start.to(dtype)


@dataclass(slots=True)
class Member:
    """One tensor in one step, as the boxes see it: this process's piece, complex numbers as pairs of reals."""

    index: int  # in the model, over all groups
    param: Tensor
    weight: Tensor  # θ_{t−1}, the parameter's own memory
    grad: Tensor  # g_t in the working precision; never p.grad itself where that would be written
    memory: State  # the optimizer's state of this parameter
    group: SeenGroup
    place: int = 0  # of the group
    state: State = field(default_factory=dict)  # the memory in the working precision, and "step": t
    bare: bool = False  # whether the weight is the parameter as it is: no DTensor, nothing complex

    @property
    def dtype(self) -> torch.dtype:
        """The real type of update and decay."""
        return WORKING[self.weight.dtype]

    def noise(self, seed: int, slot: int) -> Tensor:
        """Return uniform numbers, one per element, for the rounding of the weight (slot 0) or of a state."""
        return noise(self.weight, seed, self.index * 16 + slot, self.state["step"])

    def slot(self, name: str) -> Any:
        """Return this process's piece of one state, as it is kept."""
        there = self.memory[name]
        return there if self.bare else piece(there)

    def start(self) -> Any:
        """Return the weight before its first step, in the working precision."""
        return start_of(self.slot(START), self.weight, self.dtype)

    def load_state(self, step: Number, slots: tuple[str, ...]) -> None:
        """Show the state in the working precision; ``step`` is t. What others keep beside it is left alone."""
        dtype, memory, state = self.dtype, self.memory, State()
        for name in slots:
            if name in memory:
                value = self.start() if name == START else self.slot(name)
                state[name] = value if value.dtype == dtype else value.to(dtype)
        state["step"] = step
        self.state = state

    def store_state(self, moments: torch.dtype | None, seed: int) -> None:
        """Keep what the step made of the state: new slots, and rounded ones. The others were changed in place."""
        for slot, (name, value) in enumerate(self.state.items(), start=1):
            if name == "step" or value is self.memory.get(name):  # changed in place
                continue
            if name not in self.memory:
                self.keep(name, value, moments)
                continue
            if name == START:  # no step moves an anchor
                continue
            there = self.slot(name)
            if there.dtype != value.dtype:
                # To nearest, a second moment with β₂ = 0.999 would never shrink: 0.1 % is under half a spacing.
                value = stochastic_round(value, there.dtype, self.noise(seed, slot))
            self.put(there, value)

    def keep(self, name: str, value: Any, moments: torch.dtype | None) -> None:
        """Begin a state with this value."""
        self.memory[name] = kept(name, value, self.param, self.weight, moments, self.group["decay"])

    def put(self, there: Any, value: Any) -> None:
        """Copy a value into a state, unless it was changed in place."""
        if there is not value:
            there.copy_(value)

    def write(self, value: Tensor, rounding: str, seed: int) -> None:
        """Let the weight be ``value``, which is in the working precision, rounded once to the weight's."""
        if rounding == "stochastic" and low_precision(self.weight):
            value = stochastic_round(value, self.weight.dtype, self.noise(seed, 0))
        self.weight.copy_(value)
        if COMPENSATION in self.state:
            self.state[COMPENSATION].copy_(remainder(value, self.weight.dtype))

    def norms(self, *several: Tensor) -> list[Tensor]:
        """Return the norm of each tensor, which is shaped as the weight, over all pieces of it."""
        return [row[0] for row in whole_norms([self.param], [[x] for x in several])]

    def whole_weight(self) -> Tensor:
        """Return θ_{t−1} in the working precision, with what a 16-bit weight could not hold; not to be written."""
        weight = self.weight.to(self.dtype)
        return weight + self.state[COMPENSATION] if COMPENSATION in self.state else weight


def member(index: int, param: Tensor, grad: Tensor, memory: State, group: SeenGroup, place: int = 0) -> Member:
    """Return what the boxes see of a parameter with a gradient."""
    weight, bare = param, type(param) in BARE and not param.is_complex()
    if not bare:
        weight = param.detach()
        if is_sharded(param):
            weight, grad = piece(weight), gradient_piece(param)
        if weight.is_complex():
            weight, grad = torch.view_as_real(weight), torch.view_as_real(grad)
    if grad.dtype != (dtype := WORKING[weight.dtype]):
        grad = grad.to(dtype)
    return Member(index, param, weight, -grad if group["maximize"] else grad, memory, group, place, bare=bare)
