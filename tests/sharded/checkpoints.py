"""Checkpoints from four processes to two and to one."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    get_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
    set_state_dict,
)

import weightdecay as wd
from sharded.bag import HALF, STEPS, Bag, state_of
from sharded.table import DIRECTORY, METHODS, SCENARIOS, Measured, compared, fsdp2, moved, scenario
from sharded.training import PASSES, Net, as_fsdp2, as_fsdp2_tp, trained, trained_alone

SAVED = {name: name for name in METHODS} | {"AdamS-clipped": "AdamS", "AdamS-flat": "AdamS", "AdamS-full": "AdamS"}


def options_of(label: str) -> StateDictOptions:
    return StateDictOptions(
        flatten_optimizer_state_dict=label.endswith("-flat"),
        full_state_dict=label.endswith("-full"),
    )


def build(label: str, engine: str) -> tuple[nn.Module, wd.Optimizer]:
    """FSDP2 with a plain tensor where there are several processes; two groups."""
    model = fsdp2(ignored=("vector",)) if dist.get_world_size() > 1 else Bag()
    clip = {"max_grad_norm": 0.5} if label.endswith("-clipped") else {}
    few = [model.short, model.vector]
    many = [p for p in model.parameters() if all(p is not f for f in few)]
    groups = [{"params": many}, {"params": few, "lr": 0.02, "peak_lr": 0.1}]
    return model, METHODS[SAVED[label]](groups, engine=engine, **clip)


def saved(label: str, engine: str) -> Callable[[], Measured]:
    def measure() -> Measured:
        model, optimizer = build(label, engine)
        moved(model, optimizer, range(HALF))
        path = DIRECTORY / "checkpoints" / f"{label}-{engine}"
        if label == "AdamS":
            weights, states = get_state_dict(model, optimizer, options=options_of(label))
        else:
            weights = get_model_state_dict(model, options=options_of(label))
            states = get_optimizer_state_dict(model, optimizer, options=options_of(label))
        if label.endswith("-full"):
            if dist.get_rank() == 0:
                path.parent.mkdir(exist_ok=True)
                torch.save({"model": weights, "optimizer": states}, path)
        else:
            dcp.save({"model": weights, "optimizer": states}, checkpoint_id=path)
        names = sorted({key for state in optimizer.state_dict()["state"].values() for key in state})
        moved(model, optimizer, range(HALF, STEPS))
        return compared(model, continued(label), v_sum=float("v_sum" in names))

    return measure


@functools.cache
def continued(label: str) -> dict[str, Tensor]:
    """Return the weights after the run without a break, in one process by the reference engine."""
    model = Bag()
    clip = {"max_grad_norm": 0.5} if label.endswith("-clipped") else {}
    few = [model.short, model.vector]
    many = [p for p in model.parameters() if all(p is not f for f in few)]
    groups = [{"params": many}, {"params": few, "lr": 0.02, "peak_lr": 0.1}]
    moved(model, METHODS[SAVED[label]](groups, engine="reference", **clip))
    return state_of(model)


def resumed(label: str, wrote: str, reads: str) -> Callable[[], Measured]:
    def measure() -> Measured:
        model, optimizer = build(label, reads)
        for param in model.parameters():
            param.detach().zero_()
        path = DIRECTORY / "checkpoints" / f"{label}-{wrote}"
        for group in optimizer.param_groups:  # what the checkpoint must bring back
            group["lr"] = 0.01
        if label.endswith("-full"):
            loaded = torch.load(path, weights_only=True)
            set_model_state_dict(model, loaded["model"], options=options_of(label))
            set_optimizer_state_dict(model, optimizer, loaded["optimizer"], options=options_of(label))
        elif label == "AdamS":
            weights, states = get_state_dict(model, optimizer)
            dcp.load({"model": weights, "optimizer": states}, checkpoint_id=path)
            set_state_dict(model, optimizer, model_state_dict=weights, optim_state_dict=states)
        else:
            weights = get_model_state_dict(model)
            states = get_optimizer_state_dict(model, optimizer, options=options_of(label))
            dcp.load({"model": weights, "optimizer": states}, checkpoint_id=path)
            set_model_state_dict(model, weights)
            set_optimizer_state_dict(model, optimizer, states, options=options_of(label))
        moved(model, optimizer, range(HALF, STEPS))
        return compared(model, continued(label))

    return measure


ENGINES = {"AdamS": (("auto", "auto"), ("auto", "reference"), ("reference", "auto"))}

for label_ in SAVED:
    for wrote_, reads_ in ENGINES.get(label_, (("auto", "auto"),)):
        SCENARIOS[f"save/{label_}/{wrote_}"] = ((4,), saved(label_, wrote_))
        SCENARIOS[f"load/{label_}/{wrote_}-{reads_}"] = ((2, 1), resumed(label_, wrote_, reads_))


@scenario(4)
def save_of_two_dimensions() -> Measured:
    """FSDP2 with tensor parallelism writes; FSDP2 alone, and one process, read."""
    model, part, parts = as_fsdp2_tp(Net())
    optimizer = METHODS["AdamS"](model.parameters())
    trained(model, optimizer, part, parts, range(HALF))
    weights, states = get_state_dict(model, optimizer)
    dcp.save({"model": weights, "optimizer": states}, checkpoint_id=DIRECTORY / "checkpoints" / "two-dimensions")
    trained(model, optimizer, part, parts, range(HALF, PASSES))
    return compared(model, trained_alone("AdamS"))


@scenario(2, 1)
def load_of_two_dimensions() -> Measured:
    model, part, parts = as_fsdp2(Net()) if dist.get_world_size() > 1 else (Net(), 0, 1)
    for param in model.parameters():
        param.detach().zero_()
    optimizer = METHODS["AdamS"](model.parameters())
    weights, states = get_state_dict(model, optimizer)
    dcp.load({"model": weights, "optimizer": states}, checkpoint_id=DIRECTORY / "checkpoints" / "two-dimensions")
    set_state_dict(model, optimizer, model_state_dict=weights, optim_state_dict=states)
    trained(model, optimizer, part, parts, range(HALF, PASSES))
    return compared(model, trained_alone("AdamS"))
