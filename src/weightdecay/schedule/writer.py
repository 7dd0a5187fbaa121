"""What a scheduler knows without its optimizer, and how it writes into the groups of one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from weightdecay.checks import nearest, number
from weightdecay.schedule.plateau import Judged, Plateau
from weightdecay.schedule.shape import Moment, Number, Shape, shape_of

Group = dict[str, Any]

WRITERS = "_weightdecay_schedules"
"""Where an optimizer holds its writers, by key; beside torch's attributes, so that no group has a key of ours."""
PEAKS = ("initial_lr", "peak_lr")


class Writer:
    """Writes ``key`` of the groups. The optimizer holds it as a hook, and it holds no optimizer: no circle.

    The hook matters to shapes that read the lr: called right before the step, it sees what every other scheduler has
    written, in whatever order they were stepped.
    """

    def __init__(self, shapes: Any, key: str, total: int | None, optimizer: Any) -> None:
        self.key, self.total, self.count = key, total, 0
        self.shapes = resolved(shapes, optimizer)
        self.bases: dict[int, float] = {}
        self.lrs: dict[int, float] = {}
        self.written: dict[int, float] = {}
        self.judged: dict[Shape, Judged] = {
            part: part.start() for shape in self.shapes.values() for part in plateaus(shape)
        }
        self._peaks: dict[int, tuple[tuple[Any, ...], float]] = {}
        for shape in self.shapes.values():
            self._refuse(shape)
        self.meet(optimizer.param_groups, vars(optimizer).get(WRITERS, {}).get(key))

    def _refuse(self, shape: Shape) -> None:
        if "total_steps" in shape.needs and self.total is None:
            raise ValueError(f"{shape} counts in fractions of the training; pass total_steps=, or give times in steps.")
        if "lr" in shape.needs and self.key == "lr":
            raise ValueError(f'{shape} reads the lr, and key="lr" would make it follow itself.')

    def of(self, place: int) -> Shape | None:
        """Return the shape of a group, by its place; None where it has none."""
        return self.shapes.get(place, self.shapes.get(-1))

    def meet(self, groups: list[Group], before: Writer | None = None) -> None:
        """Take the group's own λ, and its lr, of groups that are new.

        A group that still holds what an earlier writer wrote has the λ from which that one began.
        """
        for place, group in enumerate(groups):
            shape = self.of(place)
            if shape is None or place in self.bases:
                continue
            own = value_of(group, self.key, place)
            again: bool = before is not None and before.written.get(place) == own
            self.bases[place] = before.bases[place] if before is not None and again else own
            self.lrs[place] = float(group["lr"]) if "lr" in shape.needs else math.nan

    def write(self, groups: list[Group], following_only: bool = False) -> None:
        """Write λ of the step that is about to be taken into every group, or only where it follows the lr."""
        self.meet(groups)
        for place, group in enumerate(groups):
            shape = self.of(place)
            if shape is None or (following_only and "lr" not in shape.needs):
                continue
            value = self.value(shape, place, group)
            put(group, self.key, value)
            if isinstance(value, float):
                self.written[place] = value

    def value(self, shape: Shape, place: int, group: Group) -> Number:
        """Return λ of a group. Raises: ValueError, where a shape gives what is no λ."""
        now = Moment(self.count, self.total, judged=self.judged)
        if "lr" in shape.needs:
            now = dataclasses.replace(now, lr=on_host(group["lr"]), peak_lr=self.peak(place, group))
        value = shape.value(self.bases[place], now)
        if isinstance(value, Tensor):
            return value
        if not 0 <= value < math.inf:
            raise ValueError(f"{shape} gives {self.key}={value!r} for step {self.count} in group {place}.")
        return float(value)

    def peak(self, place: int, group: Group) -> float:
        """Return η_max, as :class:`~weightdecay.schedule.Following` says."""
        there = (group.get("max_lr"), *(group.get(name) for name in PEAKS))
        known, value = self._peaks.get(place, ((), math.nan))
        # By identity: to read a tensor could mean to wait for a device in every step.
        if len(known) != len(there) or any(a is not b for a, b in zip(known, there, strict=True)):
            found = [float(each) for each in (there[1:] if there[0] is None else there[:1]) if each is not None]
            value = max(found, default=self.lrs[place])
            self._peaks[place] = (there, value)
        return value

    def judge(self, metric: Any) -> None:
        """Let every plateau see a metric. Raises: TypeError, where no shape reads one."""
        if not self.judged:
            raise TypeError(
                f"step({metric!r}): none of the shapes {', '.join(map(str, self.shapes.values()))} reads a metric. "
                "Call step() without one, or add a plateau: shape * Plateau()."
            )
        seen = float(number(metric, "metric", "step()"))
        for plateau, before in self.judged.items():
            assert isinstance(plateau, Plateau)
            self.judged[plateau] = plateau.judge(before, seen)

    @torch._disable_dynamo  # type: ignore[attr-defined]
    def __call__(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """Before a step of the optimizer."""
        if torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
            return  # a graph would go on writing the λ of this step
        self.write(optimizer.param_groups, following_only=True)

    # ---------------------------------------------------------------- what a checkpoint holds

    def state(self, places: int) -> dict[str, Any]:
        """Return plain values."""
        every = range(places)
        return {
            "last_epoch": self.count,
            "key": self.key,
            "total_steps": self.total,
            "shapes": [None if (shape := self.of(i)) is None else str(shape) for i in every],
            "bases": [self.bases.get(i) for i in every],
            "lrs": [self.lrs.get(i) for i in every],
            "judged": {str(plateau): list(seen) for plateau, seen in self.judged.items()},
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state` returned."""
        self.count = int(state["last_epoch"])
        for name, own in (("bases", self.bases), ("lrs", self.lrs)):
            own.update({i: float(each) for i, each in enumerate(state[name]) if each is not None and self.of(i)})
        for plateau in self.judged:
            if str(plateau) in state["judged"]:
                best, *counts = state["judged"][str(plateau)]
                self.judged[plateau] = Judged(float(best), *map(int, counts))
        self._peaks.clear()


def resolved(shapes: Any, optimizer: Any) -> dict[int, Shape]:
    """Return the shape of each group by its place; −1 stands for every group, those to come among them."""
    if not isinstance(shapes, Mapping):
        return {-1: shape_of(shapes)}
    if not shapes:
        raise ValueError("no group has a shape: the table is empty.")
    found: dict[int, Shape] = {}
    groups = optimizer.param_groups
    names = [group.get("name") for group in groups]
    for group, shape in shapes.items():
        place = _place(group, names)
        if place in found:
            raise ValueError(f"group {group!r} is group {place}, which has the shape {found[place]} already.")
        found[place] = shape_of(shape)
    return found


def _place(group: Any, names: list[Any]) -> int:
    if isinstance(group, str):
        if names.count(group) == 1:
            return names.index(group)
        known = [name for name in names if isinstance(name, str)]
        reason = "several groups have" if group in names else "no group has"
        listed = f" The names are {', '.join(known)}." if known else ' A group is named by {"name": …}.'
        raise ValueError(f"{reason} the name {group!r}.{nearest(group, known)}{listed} Groups are also known by place.")
    if isinstance(group, bool) or not isinstance(group, int):
        raise TypeError(f"{group!r} is not a group: use its place (0, 1, …) or its name.")
    if not -len(names) <= group < len(names):
        raise ValueError(f"there is no group {group}: the optimizer has {len(names)}, from 0 to {len(names) - 1}.")
    return group % len(names)


def plateaus(shape: Shape) -> list[Plateau]:
    """Return the plateaus in a shape."""
    if isinstance(shape, Plateau):
        return [shape]
    parts = [each for value in vars(shape).values() for each in (value if isinstance(value, tuple) else (value,))]
    return [found for part in parts if isinstance(part, Shape) for found in plateaus(part)]


def value_of(group: Group, key: str, place: int) -> float:
    """Return a number of a group. Raises: ValueError or TypeError, where there is none."""
    if key not in group:
        known = [name for name in group if name != "params"]
        raise ValueError(f"group {place} has no {key!r}.{nearest(key, known)} It has {', '.join(sorted(known))}.")
    return float(number(group[key], key, f"group {place}"))


def put(group: Group, key: str, value: Number) -> None:
    """Write a number; into a tensor in place, so that compiled steps and captured graphs see it."""
    there = group[key]
    if not isinstance(there, Tensor):
        group[key] = float(value)
    elif isinstance(value, Tensor):
        with torch.no_grad():
            there.copy_(value.reshape(there.shape))
    else:
        with torch.no_grad():
            there.fill_(value)


def on_host(lr: Any) -> Number:
    """Return the lr as a float, or as it is where reading it would wait for a device."""
    if isinstance(lr, Tensor) and lr.device.type != "cpu":
        return lr.detach().reshape(())
    return float(lr)
