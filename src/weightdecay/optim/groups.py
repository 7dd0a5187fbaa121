"""What a step reads of a parameter group: every hyper-parameter checked where it was written, and a plain number."""

from __future__ import annotations

from collections.abc import Iterator
from operator import is_
from typing import TYPE_CHECKING, Any

from torch import Tensor

from weightdecay.optim import scalars
from weightdecay.optim.member import Group

if TYPE_CHECKING:
    from weightdecay.optim.base import Optimizer


class Reader:
    """One group as the step sees it, found anew only where somebody wrote into it.

    People write whatever they have: whole numbers, NumPy's, lists, tensors of one element. :attr:`seen` holds floats
    instead, and 0-d tensors where a number lives on an accelerator and must not be waited for.
    """

    def __init__(self, group: Group) -> None:
        self.group = group
        self.seen: Group = {}
        self._names: list[str] = []
        self._values: list[Any] = []
        self._volatile: list[str] = []  # what can change without being written: tensors, lists, arrays
        self.changes = 0
        """How often something was found to have been written: others compare it to see whether they must look again."""
        self.trusted = False
        """Whether the decay is one of this package, which raises nothing once its group was checked."""

    def read(self, optimizer: Optimizer, where: str) -> Group:
        """Return the group's options. Raises: TypeError or ValueError, for what cannot be, naming it and the group."""
        group, values = self.group, list(self.group.values())
        if len(values) != len(self._values) or not all(map(is_, values, self._values)):
            self._check(optimizer, where)
        elif self._volatile:
            optimizer.check_written(group, self._volatile, where)
            for name in self._volatile:
                self.seen[name] = number(group[name])
            self._ask_decay(where)
        return self.seen

    def _check(self, optimizer: Optimizer, where: str) -> None:
        group, before = self.group, dict(zip(self._names, self._values, strict=True))
        changed = {name for name, value in group.items() if name not in before or value is not before[name]}
        changed.update(name for name in self._volatile if name in group)  # filled meanwhile
        self._names, self._values = [], []  # if what follows raises, it will raise again
        optimizer.check_written(group, changed, where)
        numbers = {*optimizer.ranges, "peak_lr"}
        for name in before.keys() - group.keys():
            self.seen.pop(name, None)
        for name in changed:
            self.seen[name] = number(group[name]) if name in numbers else group[name]
        self._volatile = [name for name in numbers if volatile(group[name])]
        self._ask_decay(where)
        if "decay" in changed:
            self.trusted = ours(self.seen["decay"])
        self._names, self._values = list(group), list(group.values())
        self.changes += 1

    def _ask_decay(self, where: str) -> None:
        if not scalars.on_accelerator(self.seen["lr"]):
            self.seen["decay"].check(self.seen, where)


def ours(decay: Any) -> bool:
    """Whether a decay, and every decay inside it, is one of this package."""
    inner = getattr(decay, "decay", None)
    return type(decay).__module__.startswith("weightdecay.decay.") and (inner is None or ours(inner))


def volatile(value: Any) -> bool:
    """Whether the number may change although nobody writes it into the group."""
    if isinstance(value, tuple):
        return any(map(volatile, value))
    return not isinstance(value, (int, float, bool, type(None)))


def number(value: Any) -> Any:
    """Return a hyper-parameter as a float, a tuple of floats, or a 0-d tensor that is not on the CPU."""
    if type(value) is float or value is None:
        return value
    if isinstance(value, Tensor):
        return scalars.host_number(value.reshape(())) if value.numel() == 1 else tuple(map(float, value.tolist()))
    if isinstance(value, (tuple, list)) or getattr(value, "ndim", None):
        return tuple(map(number, value))
    return float(value)


def readers(optimizer: Optimizer) -> Iterator[tuple[int, Reader]]:
    """Yield the reader of every group as the groups now are, each with its place."""
    known, groups = optimizer.readers, optimizer.param_groups
    if len(known) != len(groups) or not all(map(is_, (reader.group for reader in known), groups)):
        by_group = {id(reader.group): reader for reader in known}
        known[:] = [by_group.get(id(group)) or Reader(group) for group in groups]
    return enumerate(known)


def read_groups(optimizer: Optimizer) -> list[Group]:
    """Return the options of every group."""
    return [reader.read(optimizer, f"group {i}") for i, reader in readers(optimizer)]
