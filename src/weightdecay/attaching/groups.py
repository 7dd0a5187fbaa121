"""The groups of somebody else's optimizer as a step sees them: checked when they are new or written into."""

from __future__ import annotations

import warnings
from typing import Any, Protocol

import torch
from torch import Tensor

from weightdecay.attaching import refusals
from weightdecay.attaching.gains import find_gain
from weightdecay.attaching.options import Options
from weightdecay.decay import Decay
from weightdecay.decay.parse import decay_of
from weightdecay.optim import scalars
from weightdecay.optim.member import Group, decays
from weightdecay.optim.parameters import low_precision

SAVED = "attached"
"""Where a saved group holds what the handle knows. In the group: there it passes through every loader."""


class Memory(Protocol):
    """What is remembered from step to step, and may come out of a checkpoint."""

    def count_from(self, saved: dict[str, Any]) -> None:
        """Take the counters of a saved group."""

    def take(self, param: Tensor, memory: Any, options: Options, row: Any, name: str) -> None:
        """Take S and t of one tensor from the checkpoint or from its moments."""


class Groups:
    """All groups of one optimizer; found anew when it gets others, as by a checkpoint."""

    def __init__(self, decay: Decay, gain: Any, peak_lr: float | None) -> None:
        self.decay, self.gain, self.peak_lr = decay, gain, peak_lr
        self.options: list[Options] = []
        self.reader: Options | None = None
        """A group that reads v̄."""
        self.stamp = 0
        """Rises whenever the groups are others."""
        self.loading = False
        self.copied: list[dict[str, Any]] | None = None
        """Of an optimizer of which this is a copy: what it would have saved."""
        self._entries: set[int] = set()  # of the state, as they were when the groups were found

    @property
    def reads_mean_square(self) -> bool:
        """Whether some group reads v̄."""
        return self.reader is not None

    @property
    def reads_gradients(self) -> bool:
        """Whether some group looks at gradients, for v̄ or otherwise."""
        return self.reader is not None or not all(options.uniform for options in self.options)

    def of(self, place: int) -> tuple[Group, Decay]:
        """Return the options and the decay of a group."""
        return self.options[place].seen, self.options[place].decay

    def adopt(self, optimizer: torch.optim.Optimizer, memory: Memory) -> None:
        """Check groups that are new or written into; take over what a checkpoint brought, however it was loaded."""
        groups, known = optimizer.param_groups, self.options
        if (
            not self.loading
            and len(known) == len(groups)
            and all(o.group is g for o, g in zip(known, groups, strict=True))
        ):
            changed = [(i, options) for i, options in enumerate(known) if options.changed()]
            for i, options in changed:
                self._check(optimizer, options, f"group {i}")
            if changed:
                self.reader = _reader(known)
            return
        self.stamp += 1
        by_group = {id(options.group): options for options in known}
        there = set(map(id, groups))
        copied, loading = self.copied, self.loading or self._holds_other_entries(optimizer)
        adopted: list[Options] = []
        said = False
        for i, group in enumerate(groups):
            options = by_group.get(id(group)) or Options(group, self.decay, self.peak_lr)
            saved: dict[str, Any] = (copied[i] if copied else group.pop(SAVED, None)) or {}
            old = known[i].group if i < len(known) and id(known[i].group) not in there else None
            brought = old is not None and (loading or bool(saved) or "decay" in group)
            if brought:
                assert old is not None
                said = _keep_strength(known[i], group, saved, said)
                options.peak_lr = saved.get("peak_lr", known[i].peak_lr)
                memory.count_from(saved)
            elif copied:
                options.peak_lr = saved.get("peak_lr")
            self._check(optimizer, options, f"group {i}")
            if id(group) not in by_group and old is None and not copied:
                _warn_of_rounding(group, f"group {i}")
            if options.reads_mean_square and (brought or (id(group) not in by_group and old is None)):
                rows = saved.get("squares") or [None] * len(group["params"])
                for k, (param, row) in enumerate(zip(group["params"], rows, strict=True)):
                    memory.take(param, optimizer.state.get(param), options, row, f"parameter {k} of group {i}")
            adopted.append(options)
        self.options, self.copied, self.loading = adopted, None, False  # not before: what raised will raise again
        self.reader = _reader(adopted)
        self._entries = set(map(id, optimizer.state.values()))

    def _holds_other_entries(self, optimizer: torch.optim.Optimizer) -> bool:
        """Whether the state is that of a checkpoint which was loaded without hooks, as some optimizers do."""
        entries = set(map(id, optimizer.state.values()))
        return bool(entries) and not entries & self._entries

    def _check(self, optimizer: torch.optim.Optimizer, options: Options, where: str) -> None:
        """Check a group in which something was written, and read it."""
        group = options.group
        options.decay = decay_of(group["decay"], where) if "decay" in group else self.decay
        refusals.refuse_decay(options.decay)
        options.gain = find_gain(optimizer, self.gain, options.decay)
        refusals.check_group(optimizer, options, where)
        options.read()
        if not scalars.on_accelerator(options.seen["lr"]):
            try:
                options.decay.check(options.seen, where)
            except Exception:
                options.forget()  # what raised will raise again
                raise


def _reader(some: list[Options]) -> Options | None:
    return next((options for options in some if options.reads_mean_square), None)


def _keep_strength(known: Options, new: Group, saved: dict[str, Any], said: bool) -> bool:
    """λ of another decay is another number: keep ours, and say so once. Return whether it was said."""
    old, name = known.group, saved.get("decay")
    if isinstance(new.get("decay"), str):  # written by an own optimizer, or a group's own
        name = new.pop("decay")
    if "decay" in old:
        new["decay"] = old["decay"]
    if name == repr(known.decay):
        return said
    if not said:
        written = f"decay={name}" if name else "an optimizer to which no decay was attached"
        warnings.warn(
            f"the checkpoint was written with {written}, weight_decay={new.get('weight_decay')}: its moments are "
            f"taken over; {known.decay!r} keeps weight_decay={old['weight_decay']} of this optimizer.",
            stacklevel=6,
        )
    new["weight_decay"] = old["weight_decay"]
    return True


def _warn_of_rounding(group: Group, where: str) -> None:
    low = next((p for p in group["params"] if low_precision(p)), None)
    if low is not None and decays(group):
        warnings.warn(
            f"{where} holds {str(low.dtype).removeprefix('torch.')} weights, where rounding to nearest loses every "
            "pull too small for the spacing of the numbers. weightdecay's own optimizers keep it, with rounding=.",
            stacklevel=6,
        )
