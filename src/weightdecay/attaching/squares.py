"""v̄ for somebody else's optimizer: the engines' account of Σv, tied to the moments and step counts in its state."""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor

from weightdecay.attaching.lineup import Lineup, real
from weightdecay.attaching.options import Options
from weightdecay.attaching.second import Second
from weightdecay.attaching.tally import Four
from weightdecay.engine.buckets import same, versions
from weightdecay.engine.mean_square import Norms, V, marks_of
from weightdecay.optim.member import Group
from weightdecay.optim.sharding import Spread, is_sharded, piece

Written = tuple[list[Any], list[Any]]
"""How often v and the step count of every tensor have been written."""
Row = list[float | None] | None
"""S, t and the optimizer's own step count of a tensor, in a checkpoint."""
NOTHING: dict[str, Any] = {}
"""Stands for the entry of a tensor that has none."""


class Squares:
    r"""Keeps :math:`S_t = \sum v_t` and t of every tensor (:class:`~weightdecay.engine.mean_square.Account`).

    The optimizer's own v will not do: before its step it is :math:`v_{t-1}`, and 8-bit optimizers round it. But where
    it can be seen it is the truth: S belongs to v and to the step count as the optimizer's step left them. Whoever
    edits them, puts others in their place, or empties the state finds the mean taken over what is there then, as by
    :class:`weightdecay.AdamS`. Where v cannot be seen, S belongs to the tensor's entry in the state.
    """

    def __init__(self) -> None:
        self.second = Second()
        self.account, self.norms = self.second.account(), Norms()
        self.stamp = -1
        self.spread: Spread | None = None
        self.betas: list[Any] = []
        self._live: list[Tensor] = []
        self._states: list[Any] = []  # the entries of the state, all of them
        self._memories: list[Any] = []  # those of the tensors of the lineup
        self._lengths: list[int] = []
        self._vs: list[Any] = []
        self._steps: list[Any] = []
        self._owned: list[Any] = []
        self._visible: list[int] = []
        self._all_visible = self._counted = False
        self._in_place = False
        """Whether v and step count of every tensor are tensors that the optimizer writes into, and does not replace."""
        self._written: Written = [], []
        self._groups: list[slice] = []
        self._alike: list[slice] | None = None

    def use(self, second: Second) -> None:
        """Let v be kept in this way from now on."""
        if second is not self.second and second != self.second:
            if type(second.account()) is not type(self.account):
                self.account = second.account()
            self.second, self.stamp = second, -1

    def measure(
        self,
        optimizer: torch.optim.Optimizer,
        lineup: Lineup,
        grads: list[Tensor],
        groups: list[Group],
        spread: Spread,
        found: Tensor | None,
    ) -> Four:
        """Return what this optimizer adds to v̄.

        ``found`` is the finding of a GradScaler. Nothing is remembered before :meth:`commit`.
        """
        self.account.forget_step()
        self._bring(optimizer, lineup, groups, spread)
        return self.account.measure(self.norms.squares(grads, lineup.device, lineup.stamp), found)

    def current(self, optimizer: torch.optim.Optimizer, lineup: Lineup) -> bool:
        """Whether what :meth:`measure` has seen of the state is there still."""
        return lineup.stamp == self.stamp and self._unchanged(optimizer)

    def commit(self, optimizer: torch.optim.Optimizer) -> None:
        """Remember what :meth:`measure` saw, and which v and step count it belongs to now."""
        if not self.account.waits:
            return
        self.account.take_step()
        if self._in_place:
            self._written = self._versions() if self._alike is None else self._versions_by_group(self._alike)
            return
        if not self._same_entries(optimizer):
            self._note_entries(optimizer)
        before, written = (self._vs, self._steps), self._written
        self._vs, self._steps = self._seen()
        self.account.owners = self._owners()
        self._note_marks()
        kept = same(before[0], self._vs) and same(before[1], self._steps)
        self._in_place = kept and self._all_visible and self._counted
        self._alike = self._written_alike(optimizer, written) if self._in_place else None

    def take(self, param: Tensor, memory: Any, options: Options, row: Row, name: str) -> None:
        """Take S and t of a checkpoint where it is of the very step that the moments are at.

        Raises: ValueError, where steps have passed and neither the checkpoint nor the moments can tell.
        """
        group, key = options.group, self.second.key
        at = step_of(memory, group)
        if row is not None and row[2] == at:
            values = torch.tensor(row[:2], dtype=torch.float64, device="cpu")
            self.account.remember(owner_of(param, memory, key), marks_of_one(param, memory, key), values)
        elif memory:
            self._start(param, memory, group, name, torch.device("cpu"), only_check=True)

    def values(self, optimizer: torch.optim.Optimizer) -> dict[Tensor, tuple[float, float]]:
        """Return S and t of every tensor of which they are known."""
        columns = zip(self.account.owners, self.account.values.unbind(1), *self._columns(), strict=True)
        rows = {id(owner): (owner, marks, column) for owner, column, *marks in columns}
        found: dict[Tensor, Tensor] = {}
        key = self.second.key
        for param in (p for group in optimizer.param_groups for p in group["params"]):
            memory = optimizer.state.get(param)
            owner, marks = owner_of(param, memory, key), marks_of_one(param, memory, key)
            known = self.account.remembered(owner, marks, rows)
            known = self.account.remembered(owner, marks) if known is None else known
            if known is not None and (memory or known[1]):
                found[param] = known
        numbers = [each.to(self.account.values.device) for each in found.values()]
        return dict(zip(found, map(tuple, torch.stack(numbers).tolist() if numbers else []), strict=True))

    # ---------------------------------------------------------------- which tensors, and whose S

    def _bring(self, optimizer: torch.optim.Optimizer, lineup: Lineup, groups: list[Group], spread: Spread) -> None:
        """Bring S, t and the constants of the tensors of the lineup, in their order."""
        betas = [(self.second.beta2(group), self.second.corrected(group)) for group in groups]
        device = lineup.device
        if lineup.stamp == self.stamp and self._unchanged(optimizer):
            if betas != self.betas or spread is not self.spread:
                self._constants(lineup, betas, spread)
            return
        self.settle()
        self._in_place = False
        self._note_entries(optimizer, lineup)
        self._vs, self._steps = self._seen()
        owners = self._owners()
        self._note_marks()

        def start(i: int) -> Tensor:
            place, k = lineup.names[i]
            name = f"parameter {k} of group {place}"
            return self._start(lineup.live[i], self._memories[i], groups[place], name, device)

        try:
            self.account.bring(owners, self._columns(), start, device)
        except Exception:
            self._vs, self._steps, self._written = [], [], ([], [])
            raise
        self.account.forget(_alive(optimizer, self.second.key))
        self._constants(lineup, betas, spread)
        self.stamp = lineup.stamp

    def settle(self) -> None:
        """Put S and t of all tensors aside."""
        self.account.put_aside(self._columns())
        self.stamp = -1
        self.account.forget_step()
        self._vs, self._steps, self._written = [], [], ([], [])

    def _constants(self, lineup: Lineup, betas: list[Any], spread: Spread) -> None:
        device, places = lineup.device, lineup.places
        share = torch.tensor([1 / spread.copies(p) for p in lineup.live], dtype=torch.float64, device=device)
        elements = torch.dot(torch.tensor(lineup.elements(), dtype=torch.float64, device=device), share)
        beta2, corrected = ([betas[place][i] for place in places] for i in range(2))
        self.account.set_constants(list(map(float, beta2)), list(map(bool, corrected)), share, elements)
        self.betas, self.spread = betas, spread

    def _start(
        self, param: Tensor, memory: Any, group: Group, name: str, device: torch.device, only_check: bool = False
    ) -> Tensor:
        """Return S and t from the state."""
        if not memory:
            return torch.zeros(2, dtype=torch.float64, device=device)
        v, at = visible(param, memory, self.second.key), step_of(memory, group)
        if v is None or at is None:
            raise ValueError(
                f"{name} has been stepped already, and its state {sorted(map(str, memory))} holds no "
                f"{self.second.key or V} in full precision from which the mean could go on. Attach before the first "
                "step, or load a checkpoint that was written with this decay attached."
            )
        if only_check:
            return torch.empty(0)
        total = real(v).sum(dtype=torch.float64).to(device)
        return torch.stack([total, torch.full_like(total, at)])

    # ---------------------------------------------------------------- has anything changed?

    def _unchanged(self, optimizer: torch.optim.Optimizer) -> bool:
        if not self._same_entries(optimizer):
            return False
        if not self._in_place and list(map(len, self._memories)) != self._lengths:
            return False
        try:
            in_state = [map(itemgetter(key), self._memories) for key in (self.second.key, "step")]
            there = same(in_state[0], self._vs) and same(in_state[1], self._steps)
        except KeyError:
            vs, steps = self._seen()
            there = same(vs, self._vs) and same(steps, self._steps)
        return there and self._versions() == self._written

    def _same_entries(self, optimizer: torch.optim.Optimizer) -> bool:
        state = optimizer.state
        return len(state) == len(self._states) and same(state.values(), self._states)

    def _note_entries(self, optimizer: torch.optim.Optimizer, lineup: Lineup | None = None) -> None:
        state = optimizer.state
        if lineup is not None:
            self._live, self._groups = lineup.live, lineup.groups
        self._states = list(state.values())
        self._memories = [NOTHING if (memory := state.get(p)) is None else memory for p in self._live]

    def _seen(self) -> tuple[list[Any], list[Any]]:
        """Return what stands for v and for the step count in the state of every tensor."""
        return [m.get(self.second.key) for m in self._memories], [m.get("step") for m in self._memories]

    def _owners(self) -> list[Any]:
        pairs, key = list(zip(self._live, self._memories, strict=True)), self.second.key
        self._visible = [i for i, (p, m) in enumerate(pairs) if visible(p, m, key) is not None]
        self._owned = [owner_of(p, m, key) for p, m in pairs]
        self._all_visible = len(self._visible) == len(self._live)
        return self._owned

    def _versions(self) -> Written:
        """Return how often every v that can be seen, and every step count that is a tensor, has been written."""
        vs = self._owned if self._all_visible else [self._owned[i] for i in self._visible]
        steps = self._steps if self._counted else [s for s in self._steps if isinstance(s, Tensor)]
        return versions(vs), versions(steps)

    def _written_alike(self, optimizer: torch.optim.Optimizer, before: Written) -> list[slice] | None:
        """Return the tensors of each group, if a step writes as often to one as to another; None where it may not.

        torch's own Adams do, which step by lists. How often then follows from the first of each group.
        """
        if type(optimizer) not in (torch.optim.Adam, torch.optim.AdamW):
            return None
        groups = [group for group in self._groups if group.stop > group.start]
        for then, now in zip(before, self._written, strict=True):
            if len(then) != len(now) or not all(isinstance(version, int) for version in (*then, *now)):
                return None
            if any(len({b - a for a, b in zip(then[group], now[group], strict=True)}) > 1 for group in groups):
                return None
        return groups

    def _versions_by_group(self, groups: list[slice]) -> Written:
        """Return what :meth:`_versions` would after a step, from the first tensor of each group."""
        columns: list[list[Any]] = []
        for tensors, before in zip((self._owned, self._steps), self._written, strict=True):
            now: list[Any] = []
            for group, first in zip(groups, versions([tensors[group.start] for group in groups]), strict=True):
                more = first - before[group.start]
                now += map(more.__add__, before[group]) if more else before[group]
            columns.append(now)
        return columns[0], columns[1]

    def _note_marks(self) -> None:
        self._counted = all(isinstance(s, Tensor) for s in self._steps)
        self._lengths = list(map(len, self._memories))
        self._written = self._versions()

    def _columns(self) -> list[list[Any]]:
        """Return the marks of all owners as :meth:`_note_marks` found them; see :func:`marks_of_one`."""
        if not self._steps:
            return [[], [], []]
        of_vs, of_steps = iter(self._written[0]), iter(self._written[1])
        seen = set(self._visible)
        return [
            [next(of_vs, object()) if i in seen else 0 for i in range(len(self._steps))],
            self._steps,
            [next(of_steps, object()) if isinstance(step, Tensor) else 0 for step in self._steps],
        ]


def visible(param: Tensor, memory: Any, key: str | None) -> Tensor | None:
    """Return this process's piece of v where the state holds it in full; None where it does not."""
    v = memory.get(key) if memory else None
    if not isinstance(v, Tensor) or not (type(v) is Tensor or is_sharded(v)):
        return None
    return piece(v) if v.numel() == param.numel() else None


def owner_of(param: Tensor, memory: Any, key: str | None) -> Any:
    """Return what S belongs to: v where it can be seen, else the entry in the state, else the tensor itself."""
    v = visible(param, memory, key)
    return v if v is not None else memory or param


def marks_of_one(param: Tensor, memory: Any, key: str | None) -> list[Any]:
    """Return how often v was written, the step count, and how often that was written."""
    v, step = visible(param, memory, key), memory.get("step") if memory else None
    return [
        *(marks_of([v]) if v is not None else [0]),
        step,
        *(marks_of([step]) if isinstance(step, Tensor) else [0]),
    ]


def step_of(memory: Any, group: Group) -> float | None:
    """Return the optimizer's own step count of a tensor; some keep it in the group."""
    count: Any = memory.get("step", group.get("step")) if memory else None
    return None if count is None else float(count)


def _alive(optimizer: torch.optim.Optimizer, key: str | None) -> Iterator[Any]:
    """Yield whatever may own an S."""
    for group in optimizer.param_groups:
        for param in group["params"]:
            yield param
    for param, memory in optimizer.state.items():
        yield memory
        if isinstance(param, Tensor) and (v := visible(param, memory, key)) is not None:
            yield v
