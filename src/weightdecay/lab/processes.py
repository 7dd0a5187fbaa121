"""The processes of one run: who they are, what they agree on, and a model spread over them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from weightdecay.lab.place import Place
from weightdecay.optim.sharding import is_sharded

STRATEGIES = ("ddp", "fsdp")
"""Of several processes: replicated, or sharded by FSDP2."""

SHARD_FROM = 1_000_000
"""Parameters from which on a child of the network is a unit of its own under FSDP."""


@contextlib.contextmanager
def joined(place: Place) -> Iterator[Place]:
    """Join the processes that ``torchrun`` started, if it did; yield the place with rank, world and device filled in.

    One GPU a process where there are GPUs and the place asks for one, else gloo on the CPU.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if place.device == "auto":
        place = replace(place, device="cuda" if torch.cuda.is_available() else "cpu")
    if world == 1 and "TORCHELASTIC_RUN_ID" not in os.environ:
        yield place
        return
    on_gpu = place.device.startswith("cuda")
    device = f"cuda:{os.environ['LOCAL_RANK']}" if on_gpu else place.device
    if on_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo")
    try:
        yield replace(place, rank=dist.get_rank(), world=world, device=device)
    finally:
        dist.destroy_process_group()


def spread(model: nn.Module, strategy: str, place: Place) -> nn.Module:
    """Return the model as the processes of the place train it: itself, under DDP, or sharded by FSDP2."""
    if place.world == 1:
        return model
    if strategy == "ddp":
        ids = [torch.device(place.device)] if place.device.startswith("cuda") else None
        replicated: nn.Module = nn.parallel.DistributedDataParallel(model, device_ids=ids)
        return replicated
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(torch.device(place.device).type, (place.world,))
    for child in model.children():
        if type(child) not in (nn.ModuleList, nn.ModuleDict) and _size(child) >= SHARD_FROM:
            fully_shard(child, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def _size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def bare(model: nn.Module) -> nn.Module:
    """Return the network without the wrapper of DDP."""
    if isinstance(model, nn.parallel.DistributedDataParallel):
        inner: nn.Module = model.module
        return inner
    return model


def total(values: Tensor, place: Place) -> Tensor:
    """Return the sum over the processes, in place."""
    if place.world > 1:
        dist.all_reduce(values)
    return values


def share_buffers(model: nn.Module, place: Place) -> None:
    """Give every process the first one's buffers (running statistics), so that all judge the same network."""
    if place.world > 1:
        for buffer in bare(model).buffers():
            dist.broadcast(buffer, src=0)


def from_first(content: Any, place: Place) -> Any:
    """Return what the first process holds, to every process."""
    if place.world == 1:
        return content
    box = [content]
    dist.broadcast_object_list(box, src=0)
    return box[0]


class Agreement:
    """What any process wishes, known to all of them at the same step, one step late so that nobody waits for it."""

    def __init__(self, place: Place) -> None:
        self.pending: tuple[Any, Tensor] | None = None
        # Not over the GPUs: a flag shall not wait for a kernel.
        self.group: Any = dist.new_group(backend="gloo") if place.world > 1 else None

    def __call__(self, stop: bool, keep: bool) -> tuple[bool, bool]:
        """Return whether any process wished to stop, or to keep a checkpoint, when it last asked."""
        if self.group is None:
            return stop, keep
        answer = (False, False)
        if self.pending:
            work, flags = self.pending
            work.wait()
            answer = (bool(flags[0]), bool(flags[1]))
        flags = torch.tensor([float(stop), float(keep)])
        self.pending = dist.all_reduce(flags, op=dist.ReduceOp.MAX, group=self.group, async_op=True), flags
        return answer

    def close(self) -> None:
        """Wait for the last question, so that no process leaves another asking."""
        if self.pending:
            self.pending[0].wait()
            self.pending = None


def whole(tree: Any) -> Any:
    """Return the tree of dicts and lists with every sharded tensor gathered and every tensor on the CPU.

    A reduction for each sharded tensor: every process takes part.
    """
    if isinstance(tree, Tensor):
        gathered: Any = tree.detach()
        return (gathered.full_tensor() if is_sharded(gathered) else gathered).cpu()
    if isinstance(tree, dict):
        return {key: whole(value) for key, value in tree.items()}
    return [whole(value) for value in tree] if isinstance(tree, list) else tree


def divided(tensor: Tensor, like: Tensor) -> Tensor:
    """Return the whole tensor, which every process holds, spread as ``like`` is."""
    if not is_sharded(like) or tensor.shape != like.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    target: Any = like
    part: Tensor = distribute_tensor(tensor.to(target.device), target.device_mesh, target.placements)
    return part
