"""The model, gradients without a loss, and the numbers that are compared."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, distribute_tensor

STEPS = 8
"""Enough for a tensor that joins late (at 3), one that misses two steps (2 and 6), and as many after a checkpoint."""
HALF = STEPS // 2  # where checkpoints are written

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
    return drawn(name, t, dtype).clone()  # whoever clips or poisons writes into it


@functools.cache
def drawn(name: str, t: int, dtype: torch.dtype) -> Tensor:
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


def counted(step: Callable[[], object]) -> int:
    """Take the step; return its collectives: gloo numbers those of each group."""
    before = collectives()
    step()
    return collectives() - before


def collectives() -> int:
    return sum(group._get_sequence_number_for_group() for group in dist.distributed_c10d._world.pg_map)


@functools.cache
def mesh_of(shape: tuple[int, ...], names: tuple[str, ...] | None = None) -> DeviceMesh:
    return init_device_mesh("cpu", shape, mesh_dim_names=names)


def line() -> DeviceMesh:
    """Return the mesh of all processes."""
    return mesh_of((dist.get_world_size(),))
