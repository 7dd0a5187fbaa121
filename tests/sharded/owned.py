"""Tensors that the user has dealt out, by hand or by ZeRO; and the local means that would be wrong."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.distributed.tensor.debug import CommDebugMode

import weightdecay as wd
from sharded.bag import HALF, SHAPES, STEPS, Bag, counted, distance, gradient, set_gradients, state_of
from sharded.table import DIRECTORY, L2, METHODS, SCENARIOS, Measured, alone, compared, fsdp2, moved, scenario


def dealt(
    method: str, engine: str, deal: Callable[[int], list[str]], groups: bool = False, **options: object
) -> Callable[[], Measured]:
    """Each process holds its own tensors; ``groups`` puts the first tensors of the model in a group with L2."""

    def grouped(model: nn.Module, names: list[str]) -> list[dict[str, object]]:
        if not groups:
            return [{"params": [getattr(model, n) for n in names]}]
        coupled = [getattr(model, n) for n in names if n in ("short", "vector")]
        others = [getattr(model, n) for n in names if n not in ("short", "vector")]
        return [{"params": coupled, "decay": L2}, {"params": others}]

    def measure() -> Measured:
        mine, full, reference = deal(dist.get_rank()), Bag(), Bag()
        make = functools.partial(METHODS[method], **options)
        optimizer = make(grouped(full, mine), engine=engine, process_group=dist.group.WORLD)
        theirs = make(grouped(reference, list(SHAPES)), engine="reference")
        most = moved(full, optimizer)
        moved(reference, theirs)
        ours, expected = state_of(full), state_of(reference)
        difference = distance({n: ours[n] for n in mine}, {n: expected[n] for n in mine}) if mine else 0.0
        return {"difference": difference, "replicas": 0.0, "collectives": most}

    return measure


def in_turn(rank: int) -> list[str]:
    return list(SHAPES)[rank :: dist.get_world_size()]


def only_late(rank: int) -> list[str]:
    """The second process holds only a tensor whose first gradient comes after three steps; the last one nothing."""
    rest = [name for name in SHAPES if name != "short"]
    return [rest, ["short"], [], []][rank]


for label_, deal_ in (("in-turn", in_turn), ("late", only_late)):
    for name_, engine_ in (
        *(("AdamS", engine) for engine in ("reference", "foreach", "auto")),
        *(("AMSGradS", engine) for engine in ("reference", "auto")),
        ("Yogi-Stable", "auto"),
    ):
        SCENARIOS[f"own-{label_}/{name_}/{engine_}"] = ((2, 4), dealt(name_, engine_, deal_))
        if engine_ != "reference":
            SCENARIOS[f"own-{label_}/{name_}/{engine_}-clipped"] = (
                (2, 4),
                dealt(name_, engine_, deal_, max_grad_norm=0.5),
            )
    SCENARIOS[f"own-{label_}/AdamS/groups"] = ((2, 4), dealt("AdamS", "auto", deal_, groups=True))
    SCENARIOS[f"own-{label_}/AdamS/groups-clipped"] = (
        (2, 4),
        dealt("AdamS", "auto", deal_, groups=True, max_grad_norm=0.5),
    )


@scenario(2, 4)
def own_nobody_has_a_gradient() -> Measured:
    """A step in which no process holds a gradient is no step, and none waits."""
    model = Bag()
    optimizer = METHODS["AdamS"]([getattr(model, n) for n in in_turn(dist.get_rank())], process_group=dist.group.WORLD)
    most = counted(optimizer.step)
    return compared(model, state_of(Bag()), collectives=most, states=len([s for s in optimizer.state.values() if s]))


@scenario(2, 4)
def own_nan() -> Measured:
    """A NaN in the tensors of one process: every process skips."""
    model, reference = Bag(), Bag()
    names = in_turn(dist.get_rank())
    optimizer = METHODS["AdamS"]([getattr(model, n) for n in names], process_group=dist.group.WORLD)
    theirs = METHODS["AdamS"](reference.parameters(), engine="reference")
    for t in range(STEPS):
        set_gradients(model, t)
        set_gradients(reference, t)
        if t == 4 and dist.get_rank() == 0:
            model.matrix.grad[0, 0] = float("nan")
        optimizer.step()
        if t != 4:
            theirs.step()
    ours, expected = state_of(model), state_of(reference)
    difference = distance({n: ours[n] for n in names}, {n: expected[n] for n in names})
    return {"difference": difference, "skipped": optimizer.skipped_steps}


ZERO = {"lr": 0.05, "weight_decay": 0.1, "betas": (0.8, 0.9)}


def all_gradients(model: nn.Module, t: int) -> None:
    """ZeRO, after DDP, has every gradient in every process."""
    for name, param in model.named_parameters():
        param.grad = gradient(name, 3 + 4 * t)


def zeroed(model: nn.Module, process_group: bool = True, **options: Any) -> ZeroRedundancyOptimizer:
    kind: Any = functools.partial(wd.AdamS, process_group=dist.group.WORLD) if process_group else wd.AdamS
    return ZeroRedundancyOptimizer(model.parameters(), optimizer_class=kind, **ZERO, **options)


def zero_alone(**options: Any) -> dict[str, Tensor]:
    model = Bag()
    optimizer = wd.AdamS(model.parameters(), engine="reference", **ZERO, **options)
    for t in range(STEPS):
        all_gradients(model, t)
        optimizer.step()
    return state_of(model)


def zero(process_group: bool, **options: object) -> Measured:
    model = Bag()
    optimizer = zeroed(model, process_group, **options)
    reductions = 0
    for t in range(STEPS):
        all_gradients(model, t)
        with CommDebugMode() as mode:
            optimizer.step()  # it broadcasts the weights besides
        reductions = max(reductions, sum(n for op, n in mode.get_comm_counts().items() if "allreduce" in str(op)))
    return compared(model, zero_alone(**options), collectives=reductions)


@scenario(2, 4)
def zero_checkpoint() -> Measured:
    """Gathered in one process, written, read by all."""
    model = Bag()
    optimizer = zeroed(model)
    for t in range(HALF):
        all_gradients(model, t)
        optimizer.step()
    optimizer.consolidate_state_dict(to=0)
    path = DIRECTORY / f"zero{dist.get_world_size()}.pt"
    if dist.get_rank() == 0:
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, path)
    dist.barrier()
    with torch.serialization.safe_globals([wd.Stable]):
        read = torch.load(path, weights_only=True)
    model = Bag()
    model.load_state_dict(read["model"])
    optimizer = zeroed(model)
    optimizer.load_state_dict(read["optimizer"])
    for t in range(HALF, STEPS):
        all_gradients(model, t)
        optimizer.step()
    return compared(model, zero_alone())


@scenario(2, 4)
def zero_with_group() -> Measured:
    return zero(process_group=True)


@scenario(2, 4)
def zero_with_group_clipped() -> Measured:
    return zero(process_group=True, max_grad_norm=0.5)


@scenario(2, 4)
def zero_without_group() -> Measured:
    """Nothing is said: the optimizer finds the processes of the ZeroRedundancyOptimizer that builds it."""
    return zero(process_group=False)


@scenario(2, 4)
def local_means() -> Measured:
    """The other way to be wrong: pieces of FSDP2 as if each were a model."""
    model = fsdp2()
    optimizer = METHODS["AdamS"](model.parameters(), engine="reference")
    optimizer.spread.group = None
    moved(model, optimizer)
    return compared(model, alone("AdamS"))
