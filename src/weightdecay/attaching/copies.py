"""What an attached decay adds to checkpoints, copies and pickles."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from weightdecay.attaching.action import Action
from weightdecay.attaching.groups import SAVED
from weightdecay.attaching.squares import step_of
from weightdecay.optim.member import Group
from weightdecay.optim.sharding import is_sharded


def known(optimizer: torch.optim.Optimizer, action: Action) -> list[dict[str, Any]]:
    """Return for each group the decay's name, the counters, and (S, t, the optimizer's step) of its tensors."""
    groups = action.groups
    squares = action.squares.values(optimizer) if groups.reads_mean_square else {}
    found = []
    for options in groups.options:
        group = options.group
        own: dict[str, Any] = {"decay": repr(options.decay)}
        if options.peak_lr is not None:
            own["peak_lr"] = options.peak_lr
        own.update({name: int(count) for name, count in action.counters.items()})
        if groups.reads_mean_square:
            own["squares"] = [_row(optimizer, param, group, squares.get(param)) for param in group["params"]]
        found.append(own)
    return found


def add_to(state_dict: dict[str, Any], some: list[dict[str, Any]]) -> None:
    """Add plain values to the saved groups."""
    for own, packed in zip(some, state_dict["param_groups"], strict=True):
        packed[SAVED] = own
        if "decay" in packed:
            packed["decay"] = own["decay"]  # its text: plain values load everywhere


def _row(
    optimizer: torch.optim.Optimizer, param: Tensor, group: Group, of: tuple[float, float] | None
) -> list[float | None] | None:
    if of is None or is_sharded(param):
        return None  # where each process knows S of its own piece only, the moments will tell
    return [*of, step_of(optimizer.state.get(param), group)]
