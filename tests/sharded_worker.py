"""The processes of the sharded tests: each runs every scenario and writes what it measured, a line a scenario.

    python sharded_worker.py DIRECTORY [PART OF A SCENARIO'S NAME]

The interpreter that imported torch once forks 4 processes, then 2 and 1, which read the checkpoints of the 4. They meet
through a file. A scenario compares a model that is spread over the processes with the same model in one process, moved
by the reference engine; both are float64 unless said otherwise. What it measures:

``difference``  largest difference of any weight after the run, relative to the tensor's largest weight
``replicas``    largest difference between the processes' copies of the model, which must be 0
``collectives`` the most collectives of any kind in one ``optimizer.step()``
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

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
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.debug import CommDebugMode
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel

import weightdecay as wd

DIRECTORY = Path(sys.argv[1])
TIMEOUT = timedelta(seconds=60)  # of one collective: how long a scenario that hangs is waited for
STEPS = 10
HALF = STEPS // 2  # where checkpoints are written

# ---------------------------------------------------------------- the model, and gradients without a loss

SHAPES = {"matrix": (5, 6), "row": (1, 5), "short": (3,), "vector": (8,), "single": (1,)}
"""With 2 and 4 processes: uneven pieces, and pieces without elements."""


def seeded(*key: int) -> torch.Generator:
    return torch.Generator().manual_seed(sum(k * 1009**i for i, k in enumerate(key)))


def weight(name: str, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(SHAPES[name], generator=seeded(1, list(SHAPES).index(name)), dtype=torch.float64).to(dtype)


def gradient(name: str, t: int, dtype: torch.dtype = torch.float64) -> Tensor | None:
    """Joins late, is missing now and then; elements of very different size, so that no local mean is the mean."""
    if (name == "short" and t < 3) or (name == "vector" and t % 4 == 2):
        return None
    i = list(SHAPES).index(name)
    g = torch.randn(SHAPES[name], generator=seeded(2, i, t), dtype=torch.float64)
    return (g * torch.logspace(-2 + i, i - 1, g.numel(), dtype=torch.float64).view_as(g) / 10).to(dtype)


class Bag(nn.Module):
    """Parameters and nothing that computes with them."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        for name in SHAPES:
            self.register_parameter(name, nn.Parameter(weight(name, dtype)))


def whole(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).double().clone()


def spread_as(param: Tensor, value: Tensor | None) -> Tensor | None:
    if value is None or not isinstance(param, DTensor):
        return value
    return distribute_tensor(value, param.device_mesh, param.placements, src_data_rank=None)


def set_gradients(model: nn.Module, t: int) -> None:
    for name, param in model.named_parameters():
        param.grad = spread_as(param, gradient(name, t, param.dtype))


def distance(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    assert ours.keys() == theirs.keys()
    worst = 0.0
    for name, a in ours.items():
        b = theirs[name]
        difference = (a - b).abs().max().item() / b.abs().max().item()
        worst = max(worst, difference if difference == difference else float("inf"))
    return worst


def replicas(model: dict[str, Tensor]) -> float:
    mine = torch.cat([model[name].reshape(-1) for name in sorted(model)])
    everyone = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(everyone, mine)
    return max((other - mine).abs().max().item() for other in everyone)


def state_of(model: nn.Module) -> dict[str, Tensor]:
    return {name.removeprefix("module."): whole(p) for name, p in model.named_parameters()}


def counted(step: Callable[[], object], t: int = 0) -> int:
    """Take the step; return its collectives in the steps that differ (counting is slow): all, few, all again."""
    if t not in (0, 2, HALF, STEPS - 1):
        step()
        return 0
    with CommDebugMode() as mode:
        step()
    return mode.get_total_counts()


@functools.cache
def mesh_of(shape: tuple[int, ...], names: tuple[str, ...] | None = None) -> DeviceMesh:
    return init_device_mesh("cpu", shape, mesh_dim_names=names)


def line() -> DeviceMesh:
    """Return the mesh of all processes."""
    return mesh_of((dist.get_world_size(),))


# ---------------------------------------------------------------- one run, and the same in one process


def moved(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range = range(STEPS)) -> int:
    most = 0
    for t in steps:
        set_gradients(model, t)
        most = max(most, counted(optimizer.step, t))
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


def grid(layout: str, method: str, engine: str) -> Callable[[], Measured]:
    def measure() -> Measured:
        model = LAYOUTS[layout]()
        optimizer = METHODS[method](model.parameters(), engine=engine)
        collectives = moved(model, optimizer)
        return compared(model, alone(method), collectives=collectives)

    return measure


for name_ in METHODS:
    for engine_ in ("reference", "foreach", "auto") if name_ in COUPLED else ("auto",):
        SCENARIOS[f"fsdp2/{name_}/{engine_}"] = ((2, 4), grid("fsdp2", name_, engine_))
        if name_ == "AdamS" or (name_ in COUPLED and engine_ == "auto"):
            SCENARIOS[f"mixed/{name_}/{engine_}"] = ((2, 4), grid("mixed", name_, engine_))


def clipped(method: str, engine: str) -> Callable[[], Measured]:
    """max_grad_norm on pieces equals torch's clipping of the whole model."""

    def measure() -> Measured:
        model, reference = fsdp2(), Bag()
        ours = METHODS[method](model.parameters(), engine=engine, max_grad_norm=0.5)
        theirs = METHODS[method](reference.parameters(), engine="reference")
        most, norms, clips = 0, 0.0, 0
        for t in range(STEPS):
            set_gradients(model, t)
            set_gradients(reference, t)
            norm = float(nn.utils.clip_grad_norm_(reference.parameters(), 0.5))
            theirs.step()
            most = max(most, counted(ours.step, t))
            norms, clips = max(norms, abs(float(ours.grad_norm) / norm - 1)), clips + (norm > 0.5)
        return compared(model, state_of(reference), collectives=most, norm=norms, clips=clips)

    return measure


for name_ in ("AdamS", "AMSGradS", "SGDS", "AdamW", "AdaiS", "AdaBound-Stable"):
    for engine_ in ("reference", "foreach", "auto") if name_ not in ("AdaiS", "AdaBound-Stable") else ("auto",):
        SCENARIOS[f"clip/{name_}/{engine_}"] = ((2, 4), clipped(name_, engine_))


def poisoned(layout: Callable[[], nn.Module], method: str, engine: str) -> Callable[[], Measured]:
    """A NaN in one element in the last process that has any: all leave the step out, and all can go on."""

    def measure() -> Measured:
        model, reference = layout(), Bag()
        ours = METHODS[method](model.parameters(), engine=engine)
        theirs = METHODS[method](reference.parameters(), engine="reference")
        raising = METHODS[method]((other := layout()).parameters(), engine=engine, nonfinite="raise")
        before, raised, most = state_of(other), 0, 0
        for t in range(STEPS):
            set_gradients(model, t)
            set_gradients(reference, t)
            if t == 4:
                spoil(model)
                set_gradients(other, t)
                spoil(other)
                try:
                    raising.step()
                except FloatingPointError as error:
                    raised = 1 + ("matrix" in str(error) or "parameter 0" in str(error))
            else:
                theirs.step()
            most = max(most, counted(ours.step, t))
        untouched = distance(state_of(other), before)
        more = {"skipped": ours.skipped_steps, "raised": raised, "untouched": untouched, "collectives": most}
        return compared(model, state_of(reference), **more)

    return measure


def spoil(model: nn.Module) -> None:
    """One NaN, in one process, in a sharded gradient."""
    grad = model.matrix.grad
    local = grad.to_local() if isinstance(grad, DTensor) else grad
    if dist.get_rank() == 1:
        assert local.numel()
        local.view(-1)[0] = float("nan")


for name_, engine_ in (("AdamS", "auto"), ("AdamS", "foreach"), ("AdamS", "reference"), ("AMSGradS", "auto")):
    SCENARIOS[f"nan/{name_}/{engine_}"] = ((2, 4), poisoned(fsdp2, name_, engine_))


@scenario(2, 4)
def raising_without_a_mean() -> Measured:
    """AdamW asks nobody; with nonfinite="raise" it does, and all processes raise."""
    model, raised = fsdp2(), 0
    optimizer = METHODS["AdamW"](model.parameters(), nonfinite="raise")
    most = moved(model, optimizer)
    set_gradients(model, 0)
    spoil(model)
    try:
        optimizer.step()
    except FloatingPointError:
        raised = 1
    return compared(model, alone("AdamW"), collectives=most, raised=raised)


def bf16(engine: str, **options: object) -> Callable[[], Measured]:
    def measure() -> Measured:
        model = fsdp2(torch.bfloat16)
        most = moved(model, METHODS["AdamS"](model.parameters(), engine=engine, **options))
        return compared(model, alone("AdamS"), collectives=most)

    return measure


for engine_ in ("reference", "auto"):
    for rounding_ in ("stochastic", "compensated"):
        SCENARIOS[f"bf16/{rounding_}/{engine_}"] = ((2, 4), bf16(engine_, rounding=rounding_))
    SCENARIOS[f"bf16/moments/{engine_}"] = ((2, 4), bf16(engine_, rounding="stochastic", moments=torch.bfloat16))


@scenario(2, 4)
def bf16_one_process() -> Measured:
    """Compensated rounding knows no chance: the pieces are those of the whole."""
    model, reference = fsdp2(torch.bfloat16), Bag(torch.bfloat16)
    most = moved(model, METHODS["AdamS"](model.parameters(), rounding="compensated"))
    moved(reference, METHODS["AdamS"](reference.parameters(), engine="reference", rounding="compensated"))
    return compared(model, state_of(reference), collectives=most)


@scenario(2, 4)
def complex_numbers() -> Measured:
    value = torch.complex(weight("matrix"), weight("matrix").flip(0))
    grads = [torch.complex(gradient("matrix", t), gradient("matrix", t + STEPS)) for t in range(STEPS)]
    sharded = nn.Parameter(distribute_tensor(value, line(), [Shard(0)], src_data_rank=None))
    plain = nn.Parameter(value.clone())
    ours, theirs = METHODS["AdamS"]([sharded]), METHODS["AdamS"]([plain], engine="reference")
    for g in grads:
        sharded.grad, plain.grad = spread_as(sharded, g), g
        ours.step()
        theirs.step()
    difference = (sharded.full_tensor() - plain).abs().max().item()
    return {"difference": difference, "shape": list(ours.state[sharded]["exp_avg"].shape)}


@scenario(2, 4)
def float32() -> Measured:
    model = fsdp2(torch.float32)
    most = moved(model, METHODS["AdamS"](model.parameters()))
    return compared(model, alone("AdamS", torch.float32), collectives=most)


# ---------------------------------------------------------------- a network, its loss and torch's own backward pass


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.wide = nn.Linear(6, 8, dtype=torch.float64)
        self.narrow = nn.Linear(8, 6, dtype=torch.float64)
        self.norm = nn.LayerNorm(6, dtype=torch.float64)
        self.last = nn.Linear(6, 1, dtype=torch.float64)
        self.scale = nn.Parameter(torch.linspace(0.5, 1.5, 3, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.narrow(torch.relu(self.wide(x))))
        return self.last(self.norm(hidden)) * self.scale.prod()


def batch(t: int, part: int = 0, parts: int = 1) -> Tensor:
    return torch.randn(8, 6, generator=seeded(3, t), dtype=torch.float64).chunk(parts)[part]


def trained(
    model: nn.Module, optimizer: torch.optim.Optimizer, part: int = 0, parts: int = 1, steps: range = range(STEPS)
) -> int:
    """Each process takes its part of the batch; the mean of the gradients is that of the whole batch."""
    most = 0
    for t in steps:
        optimizer.zero_grad()
        (model(batch(t, part, parts)) - 1).square().mean().backward()
        most = max(most, counted(optimizer.step, t))
    return most


@functools.cache
def trained_alone(method: str, **options: object) -> dict[str, Tensor]:
    model = Net()
    trained(model, METHODS[method](model.parameters(), engine="reference", **options))
    return state_of(model)


def training(build: Callable[[Net], tuple[nn.Module, int, int]], method: str, engine: str, **options: object):
    def measure() -> Measured:
        model, part, parts = build(Net())
        most = trained(model, METHODS[method](model.parameters(), engine=engine, **options), part, parts)
        return compared(model, trained_alone(method, **options), collectives=most)

    return measure


def as_ddp(model: Net) -> tuple[nn.Module, int, int]:
    return DistributedDataParallel(model), dist.get_rank(), dist.get_world_size()


def as_fsdp2(model: Net) -> tuple[nn.Module, int, int]:
    mesh = line()
    for layer in (model.wide, model.narrow):
        fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh), dist.get_rank(), dist.get_world_size()


TENSOR_PARALLEL = {"wide": ColwiseParallel(), "narrow": RowwiseParallel()}


def as_tp(model: Net) -> tuple[nn.Module, int, int]:
    return parallelize_module(model, line(), TENSOR_PARALLEL), 0, 1


def as_fsdp2_tp(model: Net) -> tuple[nn.Module, int, int]:
    mesh = mesh_of((2, 2), ("data", "tensor"))
    parallelize_module(model, mesh["tensor"], TENSOR_PARALLEL)
    for layer in (model.wide, model.narrow):
        fully_shard(layer, mesh=mesh["data"])
    return fully_shard(model, mesh=mesh["data"]), mesh.get_local_rank("data"), 2


def as_fsdp1(model: Net) -> tuple[nn.Module, int, int]:
    wrapped = FullyShardedDataParallel(model, use_orig_params=True, device_id=torch.device("cpu"))
    return wrapped, dist.get_rank(), dist.get_world_size()


@scenario(2, 4)
def train_fsdp1() -> Measured:
    """The predecessor of FSDP2 leaves plain tensors, which only process_group can add up."""
    model, part, parts = as_fsdp1(Net())
    optimizer = METHODS["AdamS"](model.parameters(), process_group=dist.group.WORLD, max_grad_norm=0.1)
    most = trained(model, optimizer, part, parts)
    with FullyShardedDataParallel.summon_full_params(model):
        ours = {name.replace("_fsdp_wrapped_module.", ""): whole(p) for name, p in model.named_parameters()}
    difference = distance(ours, trained_alone("AdamS", max_grad_norm=0.1))
    return {"difference": difference, "collectives": most}


def as_hsdp(model: Net) -> tuple[nn.Module, int, int]:
    mesh = mesh_of((2, 2), ("replicate", "shard"))
    return fully_shard(model, mesh=mesh), dist.get_rank(), 4


for label_, build_, worlds_ in (
    ("ddp", as_ddp, (2, 4)),
    ("fsdp2", as_fsdp2, (2, 4)),
    ("tp", as_tp, (2, 4)),
    ("fsdp2+tp", as_fsdp2_tp, (4,)),
    ("hsdp", as_hsdp, (4,)),
):
    for name_, engine_ in (("AdamS", "auto"), ("AMSGradS", "foreach"), ("AdamW", "auto")):
        SCENARIOS[f"train-{label_}/{name_}/{engine_}"] = (worlds_, training(build_, name_, engine_))
    SCENARIOS[f"train-{label_}/AdamS/clipped"] = (worlds_, training(build_, "AdamS", "auto", max_grad_norm=0.1))


# ---------------------------------------------------------------- tensors that the user has dealt out


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
    """What the one number must not be: the mean over what this process happens to hold."""
    return zero(process_group=False)


@scenario(2, 4)
def local_means() -> Measured:
    """The other way to be wrong: pieces of FSDP2 as if each were a model."""
    model = fsdp2()
    optimizer = METHODS["AdamS"](model.parameters(), engine="reference")
    optimizer.spread.group = None
    moved(model, optimizer)
    return compared(model, alone("AdamS"))


# ---------------------------------------------------------------- pipeline stages and other meshes


@scenario(4)
def pipeline_of_fsdp2() -> Measured:
    """Two stages, each FSDP2 on two processes: process_group adds the stages up."""
    mesh = mesh_of((2, 2), ("stage", "shard"))
    stages = [["matrix", "single"], ["row", "short", "vector"]]
    mine = stages[mesh.get_local_rank("stage")]
    stage, reference = Bag(), Bag()
    for name in set(SHAPES) - set(mine):
        delattr(stage, name)
    fully_shard(stage, mesh=mesh["shard"])
    optimizer = METHODS["AdamS"](stage.parameters(), process_group=dist.group.WORLD, max_grad_norm=0.5)
    theirs = METHODS["AdamS"](reference.parameters(), engine="reference", max_grad_norm=0.5)
    most = moved(stage, optimizer)
    moved(reference, theirs)
    expected = state_of(reference)
    return {"difference": distance(state_of(stage), {n: expected[n] for n in mine}), "collectives": most}


@scenario(4)
def pipeline_of_ddp() -> Measured:
    """Two stages, each on two processes with plain tensors: the group is one process of each stage."""
    mesh = mesh_of((2, 2), ("stage", "data"))
    mine = [["matrix", "single"], ["row", "short", "vector"]][mesh.get_local_rank("stage")]
    model, reference = Bag(), Bag()
    optimizer = METHODS["AdamS"](
        [getattr(model, n) for n in mine], process_group=mesh.get_group("stage"), max_grad_norm=0.5
    )
    theirs = METHODS["AdamS"](reference.parameters(), engine="reference", max_grad_norm=0.5)
    most = moved(model, optimizer)
    moved(reference, theirs)
    ours, expected = state_of(model), state_of(reference)
    return {"difference": distance({n: ours[n] for n in mine}, {n: expected[n] for n in mine}), "collectives": most}


@scenario(4)
def meshes_that_cross() -> Measured:
    """Parameters on the rows and on the columns of a mesh: refused, and right with process_group."""
    mesh = mesh_of((2, 2), ("data", "tensor"))
    model = Bag()
    for name, submesh in (("matrix", mesh["data"]), ("vector", mesh["tensor"])):
        value = distribute_tensor(weight(name), submesh, [Shard(0)], src_data_rank=None)
        setattr(model, name, nn.Parameter(value))
    set_gradients(model, 0)
    refused = 0
    try:
        METHODS["AdamS"](model.parameters()).step()
    except ValueError as error:
        refused = int("process_group" in str(error))
    most = moved(model, METHODS["AdamS"](model.parameters(), process_group=dist.group.WORLD))
    return compared(model, alone("AdamS"), collectives=most, refused=refused)


@scenario(4)
def submesh_of_two_dimensions() -> Measured:
    """A mesh of several dimensions that is not the world has no group of its own: refused, right with process_group."""
    mesh = mesh_of((2, 2, 1), ("stage", "replicate", "shard"))
    model = fully_shard(Bag(), mesh=mesh["replicate", "shard"])
    set_gradients(model, 0)
    refused = 0
    try:
        METHODS["AdamS"](model.parameters()).step()
    except ValueError as error:
        refused = int("process_group" in str(error))
    most = moved(model, METHODS["AdamS"](model.parameters(), process_group=mesh.get_group("replicate")))
    return compared(model, alone("AdamS"), collectives=most, refused=refused)


@scenario(2, 4)
def gradients_not_yet_summed() -> Measured:
    """A replicated DTensor whose gradient is still a summand: it is summed first."""
    model = Bag()
    model.matrix = nn.Parameter(distribute_tensor(weight("matrix"), line(), [Replicate()], src_data_rank=None))
    optimizer = METHODS["AdamS"](model.parameters())
    most, share = 0, (dist.get_rank() + 1) * 2 / dist.get_world_size() / (dist.get_world_size() + 1)
    for t in range(STEPS):
        set_gradients(model, t)
        model.matrix.grad = DTensor.from_local(gradient("matrix", t) * share, line(), [Partial()])
        most = max(most, counted(optimizer.step, t))
    return compared(model, alone("AdamS"), collectives=most)


@scenario(2, 4)
def weights_that_are_summands() -> Measured:
    param = nn.Parameter(DTensor.from_local(weight("matrix"), line(), [Partial()]))
    param.grad = DTensor.from_local(gradient("matrix", 0), line(), [Partial()])
    refused = 0
    try:
        METHODS["AdamS"]([param]).step()
    except ValueError as error:
        refused = int("Redistribute" in str(error))
    return {"difference": distance({"": param.detach().to_local()}, {"": weight("matrix")}), "refused": refused}


# ---------------------------------------------------------------- checkpoints from four processes to two and to one

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
    trained(model, optimizer, part, parts, range(HALF, STEPS))
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
    trained(model, optimizer, part, parts, range(HALF, STEPS))
    return compared(model, trained_alone("AdamS"))


# ---------------------------------------------------------------- the process


def work(rank: int, world: int) -> None:
    store = dist.FileStore(str(DIRECTORY / f"store{world}"), world)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=TIMEOUT)
    with (DIRECTORY / f"{world}-{rank}.jsonl").open("w") as file:
        for name, (worlds, measure) in SCENARIOS.items():
            if world not in worlds or (sys.argv[2:] and sys.argv[2] not in name):
                continue
            start = time.perf_counter()
            try:
                result = measure()
            except Exception:
                result = {"error": traceback.format_exc()}
            line = {"scenario": name, **result, "seconds": round(time.perf_counter() - start, 3)}
            print(json.dumps(line), file=file, flush=True)
    dist.barrier()
    dist.destroy_process_group()


def fork(rank: int, world: int) -> int:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work(rank, world)
            status = 0
        except Exception:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return child


def main() -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    for worlds in ((4,), (2, 1)):
        for child in [fork(rank, world) for world in worlds for rank in range(world)]:
            os.waitpid(child, 0)


if __name__ == "__main__":
    main()
