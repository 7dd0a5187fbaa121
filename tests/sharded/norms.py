"""Decays that read the norm of a whole tensor, of which each process has a piece."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

import weightdecay as wd
from sharded.bag import HALF, STEPS, Bag, counted, mesh_of, set_gradients, state_of, weight
from sharded.table import LAYOUTS, SCENARIOS, Measured, compared

DECAYS = {
    "hyperball": (wd.Hyperball(), True),
    "radialbrake": (wd.RadialBrake(0.5, 0.25), True),
    "normtarget": (wd.Cautious(wd.NormTarget(0.5)), False),
    "capped": (wd.Elementwise(max_rms=0.1), False),
}
"""Each with whether it takes matrices only."""


def build(name: str, model: nn.Module, engine: str) -> wd.Optimizer:
    decay, matrices = DECAYS[name]
    chosen = [p for p in model.parameters() if p.ndim > 1 or not matrices]
    rest = [p for p in model.parameters() if not (p.ndim > 1 or not matrices)]
    groups = [{"params": chosen, "decay": decay}, {"params": rest, "decay": "vanilla"}]
    return wd.Adam(groups, lr=0.05, weight_decay=0.1, betas=(0.8, 0.9), engine=engine)


def grid(rows: object, columns: object) -> Callable[[], nn.Module]:
    """Every tensor on a mesh of two dimensions; vectors stay whole in the second."""

    def spread() -> nn.Module:
        model, mesh = Bag(), mesh_of((2, 2))
        for name, p in [*model.named_parameters()]:
            placements = [rows, columns if p.ndim > 1 else Replicate()]
            value = distribute_tensor(weight(name), mesh, placements, src_data_rank=None)
            setattr(model, name, nn.Parameter(value))
        return model

    return spread


SPREADS = {
    "fsdp2": LAYOUTS["fsdp2"],
    "mixed": LAYOUTS["mixed"],
    "fsdp2+tp": grid(Shard(0), Shard(1)),
    "hsdp": grid(Replicate(), Shard(0)),
}
RUNS = [
    *((2, "fsdp2", name, "auto") for name in DECAYS),
    *((2, "fsdp2", "hyperball", "reference"), (2, "mixed", "hyperball", "auto"), (4, "mixed", "normtarget", "auto")),
    *((4, "fsdp2+tp", "hyperball", "auto"), (4, "fsdp2+tp", "capped", "auto"), (4, "hsdp", "radialbrake", "auto")),
]


def walked(layout: str, name: str, engine: str) -> Callable[[], Measured]:
    def measure() -> Measured:
        model, alone = SPREADS[layout](), Bag()
        ours, theirs = build(name, model, engine), build(name, alone, "reference")
        most = 0
        for t in range(STEPS):
            set_gradients(model, t)
            set_gradients(alone, t)
            if t == HALF:  # counting is slow
                most = counted(ours.step)
            else:
                ours.step()
            theirs.step()
        return compared(model, state_of(alone), collectives=most)

    return measure


for world_, *run_ in RUNS:
    SCENARIOS["norms-" + "/".join(run_)] = ((world_,), walked(*run_))
