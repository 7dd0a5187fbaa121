"""Given tensors in the place of the weights before their first step, for decays towards "start"."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from weightdecay.checks import nearest
from weightdecay.optim.base import Optimizer
from weightdecay.optim.blocks import is_packed, pack
from weightdecay.optim.groups import read_groups
from weightdecay.optim.member import START, Member, kept
from weightdecay.optim.reference import init_state
from weightdecay.optim.sharding import is_sharded, piece


@dataclass(frozen=True)
class Anchored:
    """A parameter that is pulled towards "start"."""

    param: Tensor
    index: int  # in the model, from 1
    place: int  # of its group
    name: str  # "" where no name is known

    def __str__(self) -> str:
        return repr(self.name) if self.name else f"parameter {self.index - 1}, in group {self.place}"


@torch.no_grad()
def set_anchors(
    optimizer: torch.optim.Optimizer,
    anchors: Mapping[str, Tensor] | Iterable[Tensor],
    model: torch.nn.Module | None = None,
) -> None:
    """Let ``Toward("start")`` pull towards these tensors instead of the weights before their first step.

    ``anchors`` is a mapping from the names of parameters, such as ``model.state_dict()``, of which other entries are
    left alone; or a list with one tensor for each parameter whose decay needs it, in the order of the groups. Names are
    those of ``named_parameters()``, which the optimizer was built with, or those of ``model``.

    The tensors are copied into the optimizer's state, as ``state[p]["start"]``: from there they travel in checkpoints,
    and a resumed run needs no second call. They may be set anew at any time. An optimizer that :func:`attach` gave its
    decay holds no state before its first step: call it after that one.

    Shapes: each tensor as its parameter; of a DTensor the whole tensor, or a DTensor.
    Raises: ValueError, for an optimizer without such a decay, names or tensors that are missing, another shape, and
            elements that are not finite; nothing has changed then.

    >>> import torch, weightdecay
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> optimizer = weightdecay.AdamW(model.named_parameters(), decay="toward(start)")
    >>> weightdecay.set_anchors(optimizer, {"weight": torch.ones(1, 2)})
    >>> optimizer.state[model.weight]["start"]
    tensor([[1., 1.]])
    """
    names = {id(p): name for name, p in model.named_parameters(remove_duplicate=False)} if model is not None else {}
    anchored = list(_anchored(optimizer, names))
    if not anchored:
        later = "" if isinstance(optimizer, Optimizer) else " or, where attach() gave it one, has not taken a step yet"
        raise ValueError(
            f"set_anchors({type(optimizer).__name__}): no group has a decay towards 'start'{later}. "
            "Build it with decay=Toward('start')."
        )
    if isinstance(anchors, Mapping):
        found = [_named(anchors, each) for each in anchored]
    else:
        found = list(anchors)
        if len(found) != len(anchored):
            raise ValueError(
                f"set_anchors(): {len(found)} tensors for {len(anchored)} parameters, of which the first is "
                f"{anchored[0]}. Give one for each that is pulled towards 'start', in the order of the groups."
            )
    pieces = [_piece_of(anchor, each) for anchor, each in zip(found, anchored, strict=True)]
    for each, value in zip(anchored, pieces, strict=True):
        _keep(optimizer, each, value)


def _anchored(optimizer: torch.optim.Optimizer, names: Mapping[int, str]) -> Iterator[Anchored]:
    """Yield the parameters whose decay needs the start; of an optimizer that is not ours, those that have one."""
    index = 0
    for place, group in enumerate(optimizer.param_groups):
        known: Sequence[str] = group.get("param_names") or [""] * len(group["params"])
        needs = START in group["decay"].needs if isinstance(optimizer, Optimizer) else None
        for param, name in zip(group["params"], known, strict=True):
            index += 1
            if needs or (needs is None and START in optimizer.state.get(param, {})):
                yield Anchored(param, index, place, names.get(id(param), name))


def _named(anchors: Mapping[str, Tensor], each: Anchored) -> Tensor:
    """Return the tensor of that name, whatever DDP and torch.compile put before it on either side."""
    if not each.name:
        raise ValueError(
            f"set_anchors(): {each} has no name here. Pass model=, build the optimizer with model.named_parameters(), "
            "or give a list of tensors."
        )
    by_name = {_bare(name): value for name, value in anchors.items()}
    if _bare(each.name) not in by_name:
        raise ValueError(f"set_anchors(): no anchor is called {each}.{nearest(each.name, by_name)}")
    return by_name[_bare(each.name)]


def _bare(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in ("module", "_orig_mod"))


def _piece_of(anchor: Any, each: Anchored) -> Tensor:
    """Return this process's piece of the anchor, complex numbers as pairs of reals."""
    param = each.param
    if not isinstance(anchor, Tensor):
        raise TypeError(f"set_anchors(): the anchor of {each} is a {type(anchor).__name__}, and no tensor.")
    if anchor.shape != param.shape:
        raise ValueError(
            f"set_anchors(): the anchor of {each} has the shape {tuple(anchor.shape)}, the parameter "
            f"{tuple(param.shape)}. Give a tensor of that shape: no anchor is broadcast."
        )
    if anchor.is_complex() != param.is_complex():
        raise ValueError(f"set_anchors(): the anchor of {each} is {anchor.dtype}, the parameter {param.dtype}.")
    if not math.isfinite(piece(anchor).abs().sum().double().item()):
        raise ValueError(f"set_anchors(): the anchor of {each} has elements that are not finite.")
    if is_sharded(param):
        mesh, placements = param.device_mesh, param.placements  # type: ignore[attr-defined]
        if is_sharded(anchor):
            anchor = anchor.redistribute(mesh, placements)  # type: ignore[attr-defined]
        else:
            from torch.distributed.tensor import distribute_tensor

            anchor = distribute_tensor(anchor.to(mesh.device_type), mesh, placements, src_data_rank=None)
    value = piece(anchor.detach())
    return torch.view_as_real(value) if value.is_complex() else value


def _keep(optimizer: torch.optim.Optimizer, each: Anchored, value: Tensor) -> None:
    memory = optimizer.state[each.param]
    weight = piece(each.param.detach())
    weight = torch.view_as_real(weight) if weight.is_complex() else weight
    if not isinstance(optimizer, Optimizer):
        own = piece(memory[START])
        if is_packed(own, weight):
            memory[START] = pack(value.to(weight.device))
        else:
            (torch.view_as_real(own) if own.is_complex() else own).copy_(value)
        return
    group = read_groups(optimizer)[each.place]
    init_state(optimizer, Member(each.index, each.param, weight, weight, memory, group, each.place))
    memory[START] = kept(START, value.to(weight.device), each.param, weight, optimizer.moments, group["decay"])
