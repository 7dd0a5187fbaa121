"""The table of scenarios, and what they have in common: methods, layouts, one run, and the same in one process."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

import weightdecay as wd
from sharded.bag import STEPS, Bag, counted, distance, line, replicas, set_gradients, state_of, weight

DIRECTORY = Path(sys.argv[1])


def moved(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range = range(STEPS)) -> int:
    most = 0
    for t in steps:
        set_gradients(model, t)
        most = max(most, counted(optimizer.step))
    return most


@functools.cache
def alone(method: str, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Return the weights after the whole run in one process."""
    model = Bag(dtype)
    optimizer = METHODS[method](model.parameters(), engine="reference")
    for t in range(STEPS):
        set_gradients(model, t)
        optimizer.step()
    return state_of(model)


def compared(model: nn.Module, expected: dict[str, Tensor], **more: object) -> Measured:
    ours = state_of(model)
    return {"difference": distance(ours, expected), "replicas": replicas(ours), **more}


def fsdp2(dtype: torch.dtype = torch.float64, ignored: tuple[str, ...] = ()) -> nn.Module:
    model = Bag(dtype)
    mesh = line()
    return fully_shard(model, mesh=mesh, ignored_params={getattr(model, name) for name in ignored})


def mixed(dtype: torch.dtype = torch.float64) -> nn.Module:
    """Plain replicated tensors, one DTensor that is replicated, one sharded by columns, and FSDP2's."""
    model = fsdp2(dtype, ignored=("vector", "single", "matrix"))
    mesh = line()
    for name, placement in (("matrix", Shard(1)), ("single", Replicate())):
        value = distribute_tensor(weight(name, dtype), mesh, [placement], src_data_rank=None)
        setattr(model, name, nn.Parameter(value))
    return model


LAYOUTS = {"fsdp2": fsdp2, "mixed": mixed}

Stable, Elementwise, L2, Independent = wd.Stable(), wd.Elementwise(), wd.L2(), wd.Independent()
METHODS: dict[str, Callable[..., wd.Optimizer]] = {
    "AdamS": functools.partial(wd.AdamS, lr=0.05, weight_decay=0.1, betas=(0.8, 0.9)),
    "AMSGradS": functools.partial(wd.AMSGradS, lr=0.05, weight_decay=0.1, betas=(0.8, 0.9)),
    "AdaiS": functools.partial(wd.AdaiS, lr=0.5, weight_decay=0.1),
    "SGDS": functools.partial(wd.SGDS, lr=0.05, weight_decay=0.1, momentum=0.9, nesterov=True),
    "Yogi-Stable": functools.partial(wd.Yogi, lr=0.05, weight_decay=0.1, betas=(0.8, 0.9), decay=Stable),
    "AdaBound-Stable": functools.partial(wd.AdaBound, lr=0.05, weight_decay=0.1, betas=(0.8, 0.9), decay=Stable),
    "AdamW": functools.partial(wd.AdamW, lr=0.05, weight_decay=0.1, betas=(0.8, 0.9)),
    "Adam-L2": functools.partial(wd.Adam, lr=0.05, weight_decay=0.1, betas=(0.8, 0.9), decay=L2),
    "Adam-Elementwise": functools.partial(wd.Adam, lr=0.05, weight_decay=0.1, betas=(0.8, 0.9), decay=Elementwise),
    "Adam-Independent": functools.partial(wd.Adam, lr=0.05, weight_decay=0.01, betas=(0.8, 0.9), decay=Independent),
}

COUPLED = ("AdamS", "AMSGradS", "AdaiS", "SGDS", "Yogi-Stable")
"""Those for whom every engine is run."""

Measured = dict[str, Any]
SCENARIOS: dict[str, tuple[tuple[int, ...], Callable[[], Measured]]] = {}
"""What is measured, with how many processes."""


def scenario(*worlds: int) -> Callable[[Callable[[], Measured]], Callable[[], Measured]]:
    def enter(function: Callable[[], Measured]) -> Callable[[], Measured]:
        SCENARIOS[function.__name__.replace("_", "-")] = (worlds, function)
        return function

    return enter
