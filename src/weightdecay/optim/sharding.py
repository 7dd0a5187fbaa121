"""Where the elements of the model live: this process's piece of a tensor, and sums over all processes.

A number over the whole model must count every element once, however the elements are spread: replicated (DDP), sharded
(FSDP2, tensor parallel), both at once (HSDP), or dealt out by the user (ZeRO), who then names the ``process_group``.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def is_sharded(tensor: Any) -> bool:
    """Whether the tensor is a DTensor. Where nobody imported that module there is none."""
    if type(tensor) in (Tensor, torch.nn.Parameter):
        return False
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def piece(tensor: Tensor) -> Tensor:
    """Return this process's part of the tensor, sharing its memory; the tensor itself where it is not sharded."""
    if type(tensor) is Tensor or not is_sharded(tensor):
        return tensor
    sharded: Any = tensor
    local: Tensor = sharded.to_local()
    return local


def gradient_piece(param: Tensor) -> Tensor:
    """Return the part of the gradient that belongs to this process's part of the parameter."""
    grad = param.grad
    assert grad is not None
    if is_sharded(grad) and grad.placements != param.placements:  # type: ignore[attr-defined]
        grad = grad.redistribute(placements=param.placements)  # type: ignore[attr-defined]
    return piece(grad)


def is_cut(param: Tensor) -> bool:
    """Whether this process holds a piece of the tensor only."""
    return is_sharded(param) and any(not placement.is_replicate() for placement in param.placements)  # type: ignore[attr-defined]


def whole_sums(params: Sequence[Tensor], several: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
    """Return sums over the elements of tensors spread as the parameters, one row each, over all pieces; float64.

    One all-reduce for each group of processes over which some are cut, and none where none is: one under FSDP2 and
    under HSDP, two under FSDP2 with tensor parallelism. Every process must come here with the same parameters in the
    same order, and with a gradient for the same ones, as DTensors have it.
    """
    sums = [[x.double() for x in row] for row in several]
    cut: dict[Any, list[int]] = {}
    for i, param in enumerate(params):
        if is_cut(param):
            mesh, placements = param.device_mesh, param.placements  # type: ignore[attr-defined]
            for dim in (dim for dim, placement in enumerate(placements) if not placement.is_replicate()):
                cut.setdefault(mesh.get_group(dim), []).append(i)
    for group, places in cut.items():
        own = torch.stack([row[i] for row in sums for i in places])
        torch.distributed.all_reduce(own, group=group)
        wholes = iter(own.unbind())
        for row in sums:
            for i in places:
                row[i] = next(wholes)
    return sums


def whole_norms(params: Sequence[Tensor], several: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
    """Return the Euclidean norms of tensors shaped as the parameters, one row each, over all pieces of them.

    Reduced as :func:`whole_sums` is; the norm of a tensor that is whole is left as it is.
    """
    norms = [[x.norm() for x in row] for row in several]
    places = [i for i, param in enumerate(params) if is_cut(param)]
    if places:
        squares = [[row[i].double().square() for i in places] for row in norms]
        wholes = whole_sums([params[i] for i in places], squares)
        for row, sums in zip(norms, wholes, strict=True):
            found = torch.stack(sums).sqrt().to(row[places[0]].dtype).unbind()
            for i, norm in zip(places, found, strict=True):
                row[i] = norm
    return norms


def like(param: Tensor, local: Tensor) -> Tensor:
    """Return the local tensor as a piece of one that is spread as the parameter is."""
    if not is_sharded(param):
        return local
    whole: Any = param.detach()
    if torch.is_complex(whole) and not torch.is_complex(local):
        whole = torch.view_as_real(whole)
    spread: Tensor = type(whole).from_local(
        local, whole.device_mesh, whole.placements, run_check=False, shape=whole.shape, stride=whole.stride()
    )
    return spread


def zero_group() -> Any:
    """Return the processes of the ZeroRedundancyOptimizer that is building an optimizer right now; None: there is none.

    It deals the tensors out and tells nobody: its constructor, a few frames up, is the only one who knows.
    """
    module = sys.modules.get("torch.distributed.optim.zero_redundancy_optimizer")
    frame = sys._getframe(1) if module is not None else None
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, module.ZeroRedundancyOptimizer):  # type: ignore[union-attr]
            return owner.process_group
        frame = frame.f_back
    return None


class Claim:
    """What this process takes its optimizer's tensors for: the whole model, as the other processes do.

    Every process writes the shapes of its tensors into the store that the processes met at, and looks at those of its
    neighbour before its first step: two seconds at most, as the neighbour may never build an optimizer. Where none of
    the neighbour's optimizers has the same shapes, the tensors are dealt out.
    """

    STEPS = 8  # after so many the neighbour has none that steps with ours
    SECONDS = 2.0

    def __init__(self, params: Sequence[Tensor]) -> None:
        self.shapes = f"{len(params)} tensors of shapes {[tuple(p.shape) for p in params[:3]]} …"
        whole = repr([(tuple(p.shape), str(p.dtype)) for p in params])
        self.digest = hashlib.sha256(whole.encode()).hexdigest()
        self.rank, self.world = torch.distributed.get_rank(), torch.distributed.get_world_size()
        self.left = self.STEPS
        self.store: Any = torch.distributed.distributed_c10d._get_default_store()
        place = self.store.add(f"weightdecay/{self.rank}", 1)
        self.store.set(f"weightdecay/{self.rank}/{place}", self.digest)

    @classmethod
    def of(cls, params: Sequence[Tensor], process_group: Any) -> Claim | None:
        """Return the claim of an optimizer; None where there is nobody to agree with, or the user has said."""
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        if process_group is not None or not distributed or any(map(is_sharded, params)):
            return None
        if torch.distributed.get_world_size() == 1 or torch.distributed.distributed_c10d._get_default_store() is None:
            return None  # some backends meet without a store
        return cls(params)

    def holds(self, name: str) -> bool:
        """Whether the neighbour has agreed, or never will. Raises: ValueError, where it holds other tensors."""
        neighbour = (self.rank + 1) % self.world
        known: list[str] = []
        self.left -= 1
        until = time.monotonic() + (self.SECONDS if self.left == self.STEPS - 1 else 0)
        while True:
            while self.store.check([key := f"weightdecay/{neighbour}/{len(known) + 1}"]):
                known.append(self.store.get(key).decode())
            if self.digest in known:
                return True
            if time.monotonic() >= until:
                break
            time.sleep(0.002)
        if not known:
            return self.left <= 0
        raise ValueError(
            f"{name} holds {self.shapes} in process {self.rank}, and process {neighbour} holds others: the tensors are "
            "dealt out, and its step needs a number over all of them. Pass process_group= with the processes that hold "
            "them (torch.distributed.group.WORLD), or process_group=False where each process trains a model of its own."
        )


class Spread:
    """How the tensors of one optimizer are spread over processes, and the sum over all of them.

    With DTensors the processes are those of the largest mesh, which must contain the others; tensors that are not
    sharded are taken as replicated on it. ``process_group`` then only says over whom the sum goes: more processes than
    the mesh has (pipeline stages), or all that hold a part of the model where no mesh contains the others. With
    ``process_group`` and no DTensor every process holds tensors of its own.
    """

    def __init__(self, params: Sequence[Tensor], process_group: Any = None) -> None:
        if process_group is None and (flat := next((p for p in params if is_flat(p)), None)) is not None:
            raise ValueError(
                f"a parameter of shape {tuple(flat.shape)} is a flattened piece of FSDP's first version, and the step "
                "needs a number over the whole model. Pass process_group= with the processes that hold the pieces, or "
                "process_group=False where this process holds all of it."
            )
        process_group = process_group or None  # False: this process by itself
        self.group, self.processes = process_group, 1
        self.device = piece(params[0]).device if params else None  # where the backend of the group can reduce
        sharded: list[Any] = [p for p in params if is_sharded(p)]
        for placement in (placement for p in sharded for placement in p.placements):
            if placement.is_partial():
                raise ValueError(
                    f"a parameter has the placement {placement}: it is no weight but a summand of one. Redistribute it "
                    "before building the optimizer."
                )
        meshes = list(dict.fromkeys(p.device_mesh for p in sharded))
        if not meshes:
            return
        largest = max(meshes, key=lambda mesh: int(mesh.size()))
        outside = [mesh for mesh in meshes if not _ranks(mesh) <= _ranks(largest)]
        if outside and process_group is None:
            raise ValueError(
                f"parameters lie on the meshes {largest} and {outside[0]}, neither of which contains the other: over "
                "which processes the mean goes is not known. Pass process_group=."
            )
        self.processes = torch.distributed.get_world_size(process_group) if outside else int(largest.size())
        if process_group is None:
            self.group = _group_of(largest)

    @property
    def alone(self) -> bool:
        """Whether this process sees the whole model."""
        return self.group is None

    def copies(self, param: Tensor) -> int:
        """Return how many processes hold each element of this parameter."""
        if self.alone:
            return 1
        shards = 1
        if is_sharded(param):
            mesh, placements = param.device_mesh, param.placements  # type: ignore[attr-defined]
            for dim, placement in enumerate(placements):
                shards *= 1 if placement.is_replicate() else int(mesh.size(dim))
        return self.processes // shards

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over all processes, in one all-reduce; the values themselves where there is one process."""
        if self.alone:
            return values
        total = values.to(self.device or values.device)
        torch.distributed.all_reduce(total, group=self.group)
        return total.to(values.device)


def is_flat(param: Tensor) -> bool:
    """Whether the tensor is a flattened piece of FSDP's first version."""
    return bool(getattr(param, "_is_flat_param", False) or getattr(param, "_fsdp_flattened", False))


def _ranks(mesh: Any) -> set[int]:
    return set(mesh.mesh.flatten().tolist())


def _group_of(mesh: Any) -> Any:
    if mesh.ndim == 1:
        return mesh.get_group()
    if mesh.size() == torch.distributed.get_world_size():
        return torch.distributed.group.WORLD
    raise ValueError(
        f"the mesh {mesh} of the parameters has several dimensions and is not the whole world: one all-reduce needs "
        "one group. Pass process_group= with its ranks."
    )
