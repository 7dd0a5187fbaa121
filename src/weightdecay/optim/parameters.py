"""Which tensors an optimizer accepts, and in which precision it works on them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

LOW = (torch.float16, torch.bfloat16)
ACCEPTED = (*LOW, torch.float32, torch.float64, torch.complex64, torch.complex128)


def low_precision(weight: Tensor) -> bool:
    """Whether an update is computed in a wider type than the weight's."""
    return weight.dtype in LOW


def working_dtype(weight: Tensor) -> torch.dtype:
    """Return the real type of moments, update and decay: float32 for 16-bit weights, else the weight's own."""
    return torch.promote_types(weight.dtype.to_real(), torch.float32)


def check_parameters(group: Any, others: Sequence[Mapping[str, Any]], defaults: Mapping[str, Any], where: str) -> None:
    """Refuse what torch lets through and what would be wrong here: duplicates, tied memory, misspelt options.

    ``group["params"]`` becomes a list, so that an iterator can be read more than once. Types that torch refuses
    itself are left to it.
    """
    if not isinstance(group, dict) or isinstance(group.get("params"), (Tensor, set, type(None))):
        return
    _check_names(group, defaults, where)
    group["params"] = list(group["params"])
    seen = {address: "an earlier group" for other in others for address in map(_address, other["params"]) if address}
    ids = {id(p) for other in others for p in other["params"]}
    for i, item in enumerate(group["params"]):
        name, param = item if isinstance(item, tuple) else (f"parameter {i}", item)
        if not isinstance(param, Tensor):
            continue
        if is_lazy(param):
            raise ValueError(f"{name} of {where} has no shape yet. Run one forward pass before building the optimizer.")
        if param.dtype not in ACCEPTED:
            raise TypeError(f"{name} of {where} is {param.dtype}; only real and complex floating types can be trained.")
        if id(param) in ids:
            raise ValueError(f"{name} of {where} is there twice; it would move and decay twice a step. Pass it once.")
        address = _address(param)
        if address and address in seen:
            raise ValueError(
                f"{name} of {where} shares its memory with {seen[address]}: tied weights must be one Parameter, or "
                "they would move and decay twice a step. Pass it once."
            )
        ids.add(id(param))
        if address:
            seen[address] = name


def _check_names(group: Mapping[str, Any], defaults: Mapping[str, Any], where: str) -> None:
    """Schedulers and libraries keep names of their own in groups; only what looks like a slip of ours is refused."""
    for name in group:
        if name not in defaults and (near := difflib.get_close_matches(name, defaults, n=1, cutoff=0.85)):
            raise ValueError(f"{name!r} in {where} is no option. Did you mean {near[0]!r}?")


def _address(param: Any) -> tuple[torch.device, int] | None:
    """Where the tensor's memory begins; None where it has none of its own to compare (empty, meta, subclasses)."""
    plain = type(param) in (Tensor, torch.nn.Parameter)
    if not plain or param.layout != torch.strided or is_lazy(param) or param.numel() == 0:
        return None
    pointer = param.data_ptr()
    return (param.device, pointer) if pointer else None
