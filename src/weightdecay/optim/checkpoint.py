"""What an optimizer writes into a checkpoint, and what it takes out of one: its own, or torch's."""

from __future__ import annotations

import difflib
import warnings
from copy import deepcopy
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from weightdecay.checks import plain
from weightdecay.optim.blocks import is_packed
from weightdecay.optim.member import COMPENSATION, START, State, kept, kept_dtype, one_number, start_of
from weightdecay.optim.parameters import low_precision, working_dtype
from weightdecay.optim.sharding import like, piece

if TYPE_CHECKING:
    from weightdecay.optim.base import Optimizer

NOT_LOADED = (
    "attached",  # to a checkpoint of torch's, by attach()
    "params",
    "param_names",
    "decay",
    "amsgrad",
    "foreach",
    "fused",
    "capturable",
    "differentiable",
    "decoupled_weight_decay",
)

V_SUM = "v_sum"
"""Σ v over this process's piece of a parameter, which an engine keeps beside v."""


def pack(optimizer: Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
    """Replace objects by their names; put what belongs to no single parameter, or to this process only, in one entry.

    The state of a parameter is then what its method keeps, each tensor spread as the parameter is, so that any number
    of processes can load what any other number wrote. Σ v of a piece is no such thing: where the entry does not travel
    (torch.distributed.checkpoint takes "state" and "param_groups" only) it is summed anew over the loaded v.
    """
    for group in state_dict["param_groups"]:
        group.update({name: plain(value) for name, value in group.items() if name not in ("params", "decay")})
        group["decay"] = repr(group["decay"])
    # Step counts of tensors that move together lie side by side in one memory; a checkpoint has each for itself.
    state = {
        key: {**values, "step": torch.as_tensor(values["step"]).clone()}
        if isinstance(values, dict) and "step" in values
        else values
        for key, values in state_dict["state"].items()
    }
    own = {"method": optimizer.method, "seed": optimizer.seed, V_SUM: optimizer.runner.sums(optimizer)}
    counters = {name: int(count) for name, count in optimizer.counters.items()}
    return {**state_dict, "state": state, "weightdecay": {**own, **counters}}


def load(optimizer: Optimizer, state_dict: dict[str, Any]) -> dict[int, float]:
    """Check the whole checkpoint, then take it over; on error the optimizer is as it was. Return the sums of v in it.

    Parameters are matched by name where both sides have names, else by their places.

    Differs from ``torch.optim.Optimizer.load_state_dict`` on purpose: moments keep the working precision (torch
    rounds them to the parameter's), tensors are copied, λ travels only with the decay that gives it its meaning.
    """
    state_dict = state_dict.copy()
    for before in optimizer._optimizer_load_state_dict_pre_hooks.values():
        state_dict = before(optimizer, state_dict) or state_dict
    saved_groups = state_dict["param_groups"]
    _check_groups(optimizer, saved_groups)
    own = state_dict.get("weightdecay", {})
    if own.get("method", optimizer.method) != optimizer.method:
        raise ValueError(
            f"the checkpoint holds the state of {own['method']}, this is {optimizer.method}: their moments do not mean "
            "the same. Build the same method, or start its state anew."
        )
    groups = [_merged(group, saved) for group, saved in zip(optimizer.param_groups, saved_groups, strict=True)]
    for i, group in enumerate(groups):
        optimizer.check(group, f"group {i} of the checkpoint")
    by_id = _matched(optimizer, saved_groups)
    group_of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    state = {
        by_id.get(key, key): _tensors(optimizer, by_id[key], group_of[id(by_id[key])], values, f"parameter {key}")
        if key in by_id
        else values
        for key, values in state_dict["state"].items()
        if values or key not in by_id
    }
    _say_what_was_kept(optimizer, saved_groups)

    for group, new in zip(optimizer.param_groups, groups, strict=True):
        group.update(new)
    optimizer.state.clear()
    optimizer.state.update(state)
    optimizer.seed = own.get("seed", optimizer.seed)
    for name in optimizer.counters:
        optimizer.counters[name] = own.get(name, 0)
    for after in optimizer._optimizer_load_state_dict_post_hooks.values():
        after(optimizer)
    places = {id(p): i for i, p in enumerate(p for group in optimizer.param_groups for p in group["params"])}
    return {places[id(by_id[key])]: total for key, total in own.get(V_SUM, {}).items() if key in by_id}


def _matched(optimizer: Optimizer, saved_groups: list[dict[str, Any]]) -> dict[Any, Tensor]:
    """Return the parameter of each id in the checkpoint."""
    ids = list(chain.from_iterable(saved["params"] for saved in saved_groups))
    params = list(chain.from_iterable(group["params"] for group in optimizer.param_groups))
    ours, theirs = _names(optimizer.param_groups), _names(saved_groups)
    if not (ours and theirs):
        return dict(zip(ids, params, strict=True))
    by_name = dict(zip(ours, params, strict=True))
    for name in theirs:
        if name not in by_name:
            near = difflib.get_close_matches(name, set(ours) - set(theirs), n=1)
            raise ValueError(
                f"the checkpoint holds the state of {name!r}, and no parameter here has that name; "
                f"{f'the nearest is {near[0]!r}' if near else f'the first here is {ours[0]!r}'}. Rename it there or "
                "here; without 'param_names' in its groups a checkpoint is matched by the places of its parameters."
            )
    return dict(zip(ids, map(by_name.__getitem__, theirs), strict=True))


def _names(groups: list[dict[str, Any]]) -> list[str]:
    """Return the name of every parameter, without what DDP and torch.compile put before it; none unless all have."""
    if not all(group.get("param_names") for group in groups):
        return []
    names = chain.from_iterable(group["param_names"] for group in groups)
    return [".".join(part for part in name.split(".") if part not in ("module", "_orig_mod")) for name in names]


def _check_groups(optimizer: Optimizer, saved: list[dict[str, Any]]) -> None:
    ours, theirs = ([len(g["params"]) for g in groups] for groups in (optimizer.param_groups, saved))
    if ours != theirs:
        raise ValueError(
            f"the checkpoint has parameter groups of {theirs} tensors, this optimizer of {ours}. "
            "Build the optimizer with the groups it was saved with."
        )
    for i, (group, other) in enumerate(zip(optimizer.param_groups, saved, strict=True)):
        method = group.get("method")
        if (before := other.get("method", method)) != method:
            raise ValueError(
                f"group {i} of the checkpoint was moved by {before!r}, and is moved by {method!r} here: their "
                "moments do not mean the same. Build the optimizer with the groups it was saved with."
            )


def _same_decay(group: dict[str, Any], saved: dict[str, Any]) -> bool:
    return bool(saved.get("decay") == repr(group["decay"]))


def _merged(group: dict[str, Any], saved: dict[str, Any]) -> dict[str, Any]:
    kept = NOT_LOADED if _same_decay(group, saved) else (*NOT_LOADED, "weight_decay")
    return {**group, **{name: deepcopy(value) for name, value in saved.items() if name not in kept}}


def _tensors(optimizer: Optimizer, param: Tensor, group: dict[str, Any], saved: State, name: str) -> State:
    """Return the state of one parameter: copied, on its device, each tensor in the type in which it is kept."""
    weight = piece(param.detach())
    weight = torch.view_as_real(weight) if torch.is_complex(weight) else weight
    present = {key: value for key, value in saved.items() if value is not None and key != V_SUM}
    fresh = optimizer.start(weight, group)
    needed = set(fresh)
    known = {"step", COMPENSATION, START, *optimizer.slots, *needed}
    needed |= {"step"} if needed and not optimizer.box(group).timeless else set()  # torch's SGD and Muon count no steps
    missing, extra = needed - set(present), set(present) - known
    if missing or extra & _all_slots(optimizer):
        raise ValueError(
            f"{name} of the checkpoint has the state {sorted(present)}, but {optimizer.method} keeps "
            f"{['step', *optimizer.slots]}: it was written by another method."
        )
    users = {key: deepcopy(present.pop(key)) for key in extra}  # what somebody keeps beside it
    state: State = {"step": torch.as_tensor(float(present.pop("step", 0.0)))}
    state.update({key: value.to(weight.device) if isinstance(value, Tensor) else value for key, value in users.items()})
    compensated = optimizer.rounding == "compensated" and low_precision(weight)
    if COMPENSATION in present and not compensated:
        del present[COMPENSATION]  # the weights stand where they were rounded to
    elif compensated:
        present.setdefault(COMPENSATION, torch.zeros_like(weight))
    for key, value in present.items():
        value = piece(value)
        value = torch.view_as_real(value) if torch.is_complex(value) else value
        if key == START and is_packed(value, weight):
            value = start_of(value, weight, working_dtype(weight))
        shape = fresh[key].shape if key in fresh else weight.shape
        if value.shape != shape:
            raise ValueError(
                f"{key} of {name} has the shape {tuple(value.shape)} in the checkpoint, the parameter "
                f"{tuple(shape)}. It belongs to another model, or to another order of parameters."
            )
        dtype = kept_dtype(key, weight, optimizer.moments, group["decay"])
        if dtype == torch.int8 or one_number(value, weight):
            state[key] = kept(key, value, param, weight, optimizer.moments, group["decay"])
            continue
        state[key] = like(param, torch.empty_like(weight, dtype=dtype).copy_(value))
    return state


def _all_slots(optimizer: Optimizer) -> set[str]:
    """Return the names of the state tensors of every method there is."""
    kinds: list[Any] = [[kind for kind in type(optimizer).__mro__ if "slots" in vars(kind)][-1]]
    found = set[str]()
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        found |= set(kind.slots)
    return found


def _say_what_was_kept(optimizer: Optimizer, saved_groups: list[dict[str, Any]]) -> None:
    """One warning, whatever the number of groups: λ of another decay is another number."""
    for group, saved in zip(optimizer.param_groups, saved_groups, strict=True):
        if not _same_decay(group, saved):
            written = f"decay={saved['decay']}" if "decay" in saved else "an optimizer of torch"
            warnings.warn(
                f"the checkpoint was written with {written}, weight_decay={saved.get('weight_decay')}: its moments are "
                f"taken over; {group['decay']!r} keeps weight_decay={group['weight_decay']} of this optimizer.",
                stacklevel=5,
            )
            return
