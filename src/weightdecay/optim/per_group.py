"""One optimizer, and in it several methods: each group says by which it is moved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from weightdecay.checks import unknown
from weightdecay.decay import Number
from weightdecay.optim.base import Optimizer
from weightdecay.optim.member import Group, State


class PerGroup(Optimizer):
    """Base of optimizers whose groups have a method of their own, ``group["method"]``: one of :attr:`boxes`.

    A box reads the group, the state and its own class, never its optimizer. So one object of each class, without
    parameters, is enough: every part of a step asks the object of the group's method. There is one step, one clipping
    norm, one set of counters, one checkpoint, and v̄ is the mean over the tensors whose method has a second moment.

    A group holds the options of all methods, and only reads those of its own. An option that a group does not set takes
    the value given to the constructor, else the default of its method.
    """

    boxes: ClassVar[Mapping[str, Optimizer]] = {}
    """The methods by name: objects that were never initialised."""
    own: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """By method, defaults that differ between the methods."""

    def box(self, group: Group) -> Optimizer:
        """Return the method that moves the group."""
        return self.boxes[group["method"]]

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, which must name its method."""
        method, where = param_group.get("method"), f"group {len(self.param_groups)}"
        known = ", ".join(map(repr, self.boxes))
        if method is None:
            raise ValueError(f'{where} names no method: write {{"params": …, "method": …}} with one of {known}.')
        if method not in self.boxes:
            raise ValueError(f"method={method!r} in {where}: {unknown('method', str(method), self.boxes)}")
        for name, value in self.own.get(method, {}).items():
            param_group.setdefault(name, value)
        super().add_param_group(param_group)

    def check_own(self, group: Group, names: set[str], where: str) -> None:
        """Check what the group's method checks."""
        if group.get("method") not in self.boxes:
            raise ValueError(f"method={group.get('method')!r} in {where}: {unknown('method', '', self.boxes)}")
        for p in group["params"] if "method" in names else ():
            memory = self.state.get(p, {})
            if "step" in memory and not set(self.box(group).slots) <= set(memory):
                raise ValueError(
                    f"method={group['method']!r} in {where}: its tensors hold the state of another method. Empty it, "
                    "optimizer.state[p].clear(), and the method begins anew."
                )
        self.box(group).check_own(group, names, where)

    def _check_needs(self, group: Group, where: str) -> None:
        self.box(group)._check_needs(group, where)

    # ---------------------------------------------------------------- the box of the group

    def start(self, weight: Tensor, group: Group) -> State:
        """Ask the group's method."""
        return self.box(group).start(weight, group)

    def observe(self, state: State, grad: Tensor, group: Group) -> None:
        """Ask the group's method."""
        self.box(group).observe(state, grad, group)

    def second_moment(self, state: State, group: Group) -> Tensor:
        """Ask the group's method."""
        return self.box(group).second_moment(state, group)

    def direction(self, state: State, grad: Tensor, group: Group, mean_square: Number) -> Tensor:
        """Ask the group's method."""
        return self.box(group).direction(state, grad, group, mean_square)

    def displacement(self, state: State, grad: Tensor, group: Group, mean_square: Number) -> Tensor:
        """Ask the group's method."""
        return self.box(group).displacement(state, grad, group, mean_square)

    def gain(self, state: State, group: Group) -> Number:
        """Ask the group's method."""
        return self.box(group).gain(state, group)

    def mean_gain(self, state: State, group: Group, mean_square: Number) -> Number:
        """Ask the group's method."""
        return self.box(group).mean_gain(state, group, mean_square)

    def couples(self, group: Group) -> bool:
        """Ask the group's method."""
        return self.box(group).couples(group)

    def averages(self, group: Group) -> bool:
        """Whether the group's method has a second moment."""
        return type(self.box(group)).second_moment is not Optimizer.second_moment

    def finite(self, grad: Tensor) -> bool:
        """Whether every method can take this gradient."""
        return all(box.finite(grad) for box in self.boxes.values())


def bare(cls: type[Optimizer]) -> Optimizer:
    """Return an object of a class that has no parameters and no groups: its box."""
    return cls.__new__(cls)
