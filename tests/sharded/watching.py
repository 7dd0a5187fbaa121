"""What a watch reads of tensors of which each process has a piece."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import nn

import weightdecay as wd
from sharded.bag import STEPS, Bag, counted, set_gradients
from sharded.norms import SPREADS
from sharded.table import METHODS, SCENARIOS, Measured
from weightdecay.monitor import read, watch

EVERY = 4  # the last reading is that of the last step, which has all gradients


def attached(params: object, decay: str) -> torch.optim.Optimizer:
    optimizer = torch.optim.AdamW(params, lr=0.05, weight_decay=0.1)
    wd.attach(optimizer, decay)
    return optimizer


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "AdamS": METHODS["AdamS"],
    "cautious": functools.partial(wd.Adam, lr=0.05, weight_decay=0.1, decay="cautious"),
    "torch": functools.partial(torch.optim.AdamW, lr=0.05, weight_decay=0.1),
    "attached": functools.partial(attached, decay="cautious"),
}
RUNS = [(2, "fsdp2", name) for name in OPTIMIZERS]
RUNS += [(4, layout, "torch") for layout in ("mixed", "hsdp", "fsdp2+tp")]


def followed(model: nn.Module, name: str) -> tuple[dict[str, float], list[int]]:
    """Take all steps; return what was read at the last one, and the collectives that the watch took in each step."""
    optimizer = OPTIMIZERS[name](model.parameters())
    seen = watch(optimizer, model, every=EVERY, tensors=True)
    after, taken = seen._after, []

    def counting(*args: object) -> None:
        taken.append(counted(lambda: after(*args)))

    optimizer._optimizer_step_post_hooks[seen._hooks[1].id] = counting
    for t in range(STEPS):
        set_gradients(model, t)
        optimizer.step()
    reading = read(optimizer)
    return {
        **seen.readings(),
        **{f"read/{key}": value for key, value in vars(reading).items() if not math.isnan(value)},
    }, taken


def walked(layout: str, name: str) -> Callable[[], Measured]:
    def measure() -> Measured:
        ours, taken = followed(SPREADS[layout](), name)
        theirs, _ = followed(Bag(), name)
        missing = sorted(ours.keys() ^ theirs.keys())
        worst = max(abs(ours[key] - x) / max(abs(x), 1e-3) for key, x in theirs.items() if key in ours)
        return {"difference": worst, "missing": missing, "readings": len(ours), "collectives": taken}

    return measure


for world_, *run_ in RUNS:
    SCENARIOS["watch-" + "/".join(run_)] = ((world_,), walked(*run_))
