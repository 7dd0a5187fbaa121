"""A network, its loss and torch's own backward pass."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel

from sharded.bag import counted, distance, line, mesh_of, seeded, state_of, whole
from sharded.table import METHODS, SCENARIOS, Measured, compared, scenario


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


PASSES = 6
"""Steps with a backward pass, which take longer and in which nothing comes late."""


def batch(t: int, part: int = 0, parts: int = 1) -> Tensor:
    return torch.randn(8, 6, generator=seeded(3, t), dtype=torch.float64).chunk(parts)[part]


def trained(
    model: nn.Module, optimizer: torch.optim.Optimizer, part: int = 0, parts: int = 1, steps: range = range(PASSES)
) -> int:
    """Each process takes its part of the batch; the mean of the gradients is that of the whole batch."""
    most = 0
    for t in steps:
        optimizer.zero_grad()
        (model(batch(t, part, parts)) - 1).square().mean().backward()
        most = max(most, counted(optimizer.step))
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
