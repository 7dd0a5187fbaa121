"""What a step reads of a parameter group: every hyper-parameter checked where it was written, and a plain number."""

from __future__ import annotations

from operator import is_
from typing import TYPE_CHECKING, Any

from torch import Tensor

from weightdecay.optim import scalars
from weightdecay.optim.member import Group, SeenGroup

if TYPE_CHECKING:
    from weightdecay.optim.base import Optimizer


class SeenGroups:
    """The groups of one optimizer as its steps see them, and what follows from them for the whole model.

    :meth:`Optimizer.see` asks in every step whether somebody has written into a group, and only then reads them anew.
    """

    def __init__(self) -> None:
        self.groups: list[SeenGroup] = []
        self.written: list[tuple[Group, list[Any]]] = []
        """The very groups, and the very values in them."""
        self.fixed = False
        """Whether no value can change without being written into its group."""
        self.changes = 0
        """Rises whenever something was found that others must look at again."""
        self.coupled = False
        """Whether v̄ is read."""
        self.enters = False
        """Whether the moments see another gradient than the loss has."""
        self.foreign = False
        """Whether a decay that acts is not of this package, and may raise what no check foresees."""
        self._readers: list[Reader] = []

    def read(self, optimizer: Optimizer) -> None:
        """Read the groups as they now are. Raises as :meth:`Reader.read`; then it raises in the next step too."""
        self.written, known, groups = [], self._readers, optimizer.param_groups
        if len(known) != len(groups) or not all(map(is_, (reader.group for reader in known), groups)):
            by_group = {id(reader.group): reader for reader in known}
            self._readers = [by_group.get(id(group)) or Reader(group) for group in groups]
            self.changes += 1
        for i, reader in enumerate(self._readers):
            self.changes += reader.read(optimizer, f"group {i}")
        self.groups = [reader.seen for reader in self._readers]
        self.fixed = not any(reader.volatile for reader in self._readers)
        self.coupled = any(group.couples for group in self.groups)
        self.enters = any(group.enters for group in self.groups)
        self.foreign = any(group.acts and not group.trusted for group in self.groups)
        self.written = [(reader.group, reader.values) for reader in self._readers]


class Reader:
    """One group as the step sees it, found anew only where somebody wrote into it.

    People write whatever they have: whole numbers, NumPy's, lists, tensors of one element. :attr:`seen` holds floats
    instead, and 0-d tensors where a number lives on an accelerator and must not be waited for.
    """

    def __init__(self, group: Group) -> None:
        self.group = group
        self.seen = SeenGroup({})
        self.values: list[Any] = []
        """Those that are read."""
        self.volatile: list[str] = []
        """What can change without being written: tensors, lists, arrays."""
        self._names: list[str] = []

    def read(self, optimizer: Optimizer, where: str) -> bool:
        """Bring the options up to date; return whether others must look at them again.

        Raises: TypeError or ValueError, for what cannot be, naming it and the group.
        """
        group, values = self.group, list(self.group.values())
        if len(values) != len(self.values) or not all(map(is_, values, self.values)):
            self._check(optimizer, where)
            return True
        if not self.volatile:
            return False
        before = self.seen.facts()
        optimizer.check_written(group, self.volatile, where)
        for name in self.volatile:
            self.seen[name] = number(group[name])
        self._follow(optimizer, where)
        return before != self.seen.facts()

    def _check(self, optimizer: Optimizer, where: str) -> None:
        group, before = self.group, dict(zip(self._names, self.values, strict=True))
        changed = {name for name, value in group.items() if name not in before or value is not before[name]}
        changed.update(name for name in self.volatile if name in group)  # filled meanwhile
        self._names, self.values = [], []  # if what follows raises, it will raise again
        optimizer.check_written(group, changed, where)
        numbers = {*optimizer.ranges, "peak_lr"}
        for name in before.keys() - group.keys():
            self.seen.pop(name, None)
        for name in changed:
            self.seen[name] = number(group[name]) if name in numbers else group[name]
        self.volatile = [name for name in numbers if volatile(group[name])]
        self._follow(optimizer, where)
        if "decay" in changed:
            self.seen.trusted = ours(self.seen["decay"])
        self._names, self.values = list(group), list(group.values())

    def _follow(self, optimizer: Optimizer, where: str) -> None:
        """Ask the decay, and note what follows from the options."""
        if not scalars.on_accelerator(self.seen["lr"]):
            self.seen["decay"].check(self.seen, where)
        self.seen.note(optimizer)


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


def read_groups(optimizer: Optimizer) -> list[SeenGroup]:
    """Return every group as a step sees it."""
    return optimizer.see().groups
