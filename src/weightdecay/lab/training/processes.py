"""The processes of one run: who they are, what they agree on, and a model spread over them."""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.rendezvous import rendezvous

from weightdecay.lab.run import Place
from weightdecay.optim.sharding import is_sharded

SHARD_FROM = 1_000_000
"""Parameters from which on a child of the network is a unit of its own under FSDP."""

PATIENCE = timedelta(seconds=60)
"""How long one that is about to leave waits for the others."""


@contextlib.contextmanager
def joined(place: Place) -> Iterator[Place]:
    """Join the processes that ``torchrun`` started, if it did; yield the place with rank, world and device filled in.

    One GPU per process where there are GPUs and the place asks for one, else gloo on the CPU. Where somebody has joined
    them before (this function, or a program with ``init_process_group``) those are the processes, and they stay joined.

    Raises: ValueError, where the environment speaks of several processes and does not say where they meet.
    """
    ours = not dist.is_initialized()
    world = int(os.environ.get("WORLD_SIZE", "1")) if ours else dist.get_world_size()
    if place.device == "auto":
        place = replace(place, device="cuda" if torch.cuda.is_available() else "cpu")
    if place.device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(
            f"device={place.device!r}: no GPU is visible to torch. Use 'cpu', or 'auto' for what there is."
        )
    if world == 1:
        present(place.device)
        yield place
        return
    device, backend = place.device, "gloo"
    if device.startswith("cuda"):
        device, backend = f"cuda:{os.environ['LOCAL_RANK']}", "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(device)
    if ours:
        _join(backend, world)
    try:
        yield replace(place, rank=dist.get_rank(), world=world, device=device)
        if ours:
            meet()
    finally:
        if ours:
            _leave()


def present(device: str) -> None:
    """Refuse a device that is not here, or holds no numbers. Raises: ValueError, with those that are."""
    if device == "cpu":
        return
    try:
        torch.empty(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError):
        there = ", ".join(("cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))))
        raise ValueError(f"device={device!r}: torch finds no such device. Here are {there}, and auto.") from None


def _join(backend: str, world: int) -> None:
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise ValueError(
            f"WORLD_SIZE={world} is set without {', '.join(missing)}: a run of several processes is started with "
            "torchrun. Use it, or unset WORLD_SIZE."
        )
    store, rank, world = next(rendezvous("env://"))
    # A prefix of its own: what was written the time before is still there, with addresses where nobody listens.
    store = dist.PrefixStore(f"weightdecay {next(_times)}", store)  # type: ignore[attr-defined]
    dist.init_process_group(backend, store=store, rank=rank, world_size=world)
    global _table
    _table = _Table(store)


def _leave() -> None:
    global _table
    _table = None
    dist.destroy_process_group()


@dataclass
class _Table:
    """Where the processes meet without a connection between them: the store of ``torchrun``, which outlives them."""

    store: Any
    meetings: int = 0


_table: _Table | None = None
_times = itertools.count(1)


def meet() -> None:
    """Wait until every process is here; after that each may leave. All of them come here equally often.

    Whoever closes gloo resets its connections, and what another has not read yet is lost: a last word cannot be said
    through it. Whoever comes here has all it needs, so one that waits in vain goes on.
    """
    if _table is None:  # of one process, or joined by somebody else, who leaves when everything is over
        return
    _table.meetings += 1
    key = f"meeting {_table.meetings}"
    with contextlib.suppress(RuntimeError):
        if _table.store.add(key, 1) == dist.get_world_size():
            _table.store.set(f"{key} is complete", "yes")
        _table.store.wait([f"{key} is complete"], PATIENCE)


@contextlib.contextmanager
def together(place: Place) -> Iterator[None]:
    """Around what a process may fail at alone: where one does, every process raises what the first of them raised.

    So none is left waiting for one that has gone, and a program goes on in all of them or in none. There must be no
    collective inside.
    """
    if place.world == 1:
        yield
        return
    own: Exception | None = None
    try:
        yield
    except Exception as error:
        own = error
    everyone: list[Any] = [None] * place.world
    dist.all_gather_object(everyone, None if own is None else _portable(own))
    failed = next((rank for rank, error in enumerate(everyone) if error is not None), None)
    if failed is None:
        return
    meet()
    if own is not None and failed == place.rank:
        raise own
    raise everyone[failed]


def _portable(error: Exception) -> Exception:
    """Return the error, or what it says, where another process could not be given the error itself."""
    try:
        copy = pickle.loads(pickle.dumps(error))
    except Exception:
        copy = None
    same = type(copy) is type(error) and str(copy) == str(error)
    return error if same else RuntimeError(f"{type(error).__name__}: {error}")


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
        """Wait for the last question, and for all processes, so that none leaves another asking."""
        if self.pending:
            self.pending[0].wait()
            self.pending = None
        meet()


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
