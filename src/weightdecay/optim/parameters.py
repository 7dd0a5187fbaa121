"""Which tensors an optimizer accepts, and in which precision it works on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from weightdecay.checks import slip

LOW = (torch.float16, torch.bfloat16)
ACCEPTED = (*LOW, torch.float32, torch.float64, torch.complex64, torch.complex128)


class Working(dict[torch.dtype, torch.dtype]):
    """The real type of moments, update and decay of a weight: float32 for 16-bit weights, else the weight's own."""

    def __missing__(self, dtype: torch.dtype) -> torch.dtype:
        return torch.promote_types(dtype.to_real(), torch.float32)


WORKING = Working({dtype: Working()[dtype] for dtype in ACCEPTED})
"""A table, as a step asks it for every tensor."""


def low_precision(weight: Tensor) -> bool:
    """Whether an update is computed in a wider type than the weight's."""
    return weight.dtype in LOW


def working_dtype(weight: Tensor) -> torch.dtype:
    """Return the type that the weight is worked on in."""
    return WORKING[weight.dtype]


class Held:
    """Which tensors the groups of one optimizer hold, found anew only where they are no longer what they were.

    The sets may be older than the groups: users put tensors into groups and take them out. So a finding is looked up in
    the groups before it is believed, and a sign of change (the number of groups, the memory of the first or the last
    tensor, as after ``model.to``) lets the sets be made again.
    """

    def __init__(self) -> None:
        self.ids: set[int] = set()
        self.addresses: set[Address] = set()
        self.mark: object = None

    def look(self, groups: Sequence[Mapping[str, Any]]) -> None:
        """Bring the sets up to date with the groups."""
        if self.mark != _mark(groups):
            self.ids = {id(p) for group in groups for p in group["params"]}
            self.addresses = {address for group in groups for p in group["params"] if (address := _address(p))}

    def add(self, groups: Sequence[Mapping[str, Any]]) -> None:
        """Take in the tensors of the last group."""
        self.ids |= {id(p) for p in groups[-1]["params"]}
        self.addresses |= {address for p in groups[-1]["params"] if (address := _address(p))}
        self.mark = _mark(groups)


def _mark(groups: Sequence[Mapping[str, Any]]) -> object:
    ends = (
        [group["params"][place] for group, place in ((groups[0], 0), (groups[-1], -1)) if group["params"]]
        if groups
        else []
    )
    return len(groups), [(id(p), _address(p)) for p in ends]


def check_parameters(
    group: Any, others: Sequence[Mapping[str, Any]], defaults: Mapping[str, Any], where: str, held: Held
) -> None:
    """Refuse what torch lets through and what would be wrong here: duplicates, tied memory, misspelt options.

    ``group["params"]`` becomes a list, so that an iterator can be read more than once. Types that torch refuses
    itself are left to it. The time grows as the number of tensors in the group, not in the ``others``.
    """
    if not isinstance(group, dict) or isinstance(group.get("params"), (set, type(None))):
        return
    _check_names(group, defaults, where)
    group["params"] = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
    held.look(others)
    ids: set[int] = set()
    seen: dict[Address, str] = {}
    for i, item in enumerate(group["params"]):
        name, param = item if isinstance(item, tuple) else (f"parameter {i}", item)
        if not isinstance(param, Tensor):
            continue
        if is_lazy(param):
            raise ValueError(f"{name} of {where} has no shape yet. Run one forward pass before building the optimizer.")
        if param.dtype not in ACCEPTED:
            raise TypeError(f"{name} of {where} is {param.dtype}; only real and complex floating types can be trained.")
        earlier = id(param) in held.ids and any(p is param for other in others for p in other["params"])
        if id(param) in ids or earlier:
            raise ValueError(f"{name} of {where} is there twice; it would move and decay twice per step. Pass it once.")
        address = _address(param)
        shared = seen.get(address) if address else None
        if address in held.addresses and any(_address(p) == address for other in others for p in other["params"]):
            shared = "an earlier group"
        if shared is not None:
            raise ValueError(
                f"{name} of {where} shares its memory with {shared}: tied weights must be one Parameter, or "
                "they would move and decay twice per step. Pass it once."
            )
        ids.add(id(param))
        if address:
            seen[address] = name


def _check_names(group: Mapping[str, Any], defaults: Mapping[str, Any], where: str) -> None:
    """Schedulers and libraries keep names of their own in groups; only what looks like a slip of ours is refused."""
    options = tuple(defaults)
    for name in group:
        if name not in defaults and isinstance(name, str) and (meant := slip(name, options)):
            raise ValueError(
                f"{name!r} in {where} is no option. Did you mean {meant!r}? A name of your own must differ from it by "
                "more than two letters."
            )


Address = tuple[torch.device, int]


def _address(param: Any) -> Address | None:
    """Where the tensor's memory begins; None where it has none of its own to compare (empty, meta, subclasses)."""
    plain = type(param) in (Tensor, torch.nn.Parameter)
    if not plain or param.layout != torch.strided or is_lazy(param) or param.numel() == 0:
        return None
    pointer = param.data_ptr()
    return (param.device, pointer) if pointer else None
