"""What an optimizer writes into a checkpoint, and what it takes out of one: its own, or torch's."""

from __future__ import annotations

import warnings
from copy import deepcopy
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from weightdecay.optim.member import COMPENSATION, State, kept_dtype
from weightdecay.optim.parameters import low_precision
from weightdecay.optim.sharding import is_sharded, like, piece

if TYPE_CHECKING:
    from weightdecay.optim.base import Optimizer

NOT_LOADED = (
    "attached",  # to a checkpoint of torch's, by attach()
    "params",
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
        group["decay"] = repr(group["decay"])
    state, sums = dict(state_dict["state"]), {}
    for key, param in enumerate(chain.from_iterable(group["params"] for group in optimizer.param_groups)):
        if V_SUM in state.get(key, {}):
            state[key] = {name: value for name, value in state[key].items() if name != V_SUM}
            if not is_sharded(param):
                sums[key] = float(optimizer.state[param][V_SUM])
    own = {"method": optimizer.method, "seed": optimizer.seed, V_SUM: sums}
    counters = {name: int(count) for name, count in optimizer.counters.items()}
    return {**state_dict, "state": state, "weightdecay": {**own, **counters}}


def load(optimizer: Optimizer, state_dict: dict[str, Any]) -> None:
    """Check the whole checkpoint, then take it over; on error the optimizer is as it was.

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
    params = list(chain.from_iterable(group["params"] for group in optimizer.param_groups))
    ids = list(chain.from_iterable(saved["params"] for saved in saved_groups))
    by_id = dict(zip(ids, params, strict=True))
    group_of = {id(p): group for group in optimizer.param_groups for p in group["params"]}

    sums = own.get(V_SUM, {})

    def taken(key: Any, values: State) -> State:
        param = by_id[key]
        state = _tensors(optimizer, param, group_of[id(param)], values, f"parameter {key}")
        if key in sums and not is_sharded(param):
            state[V_SUM] = torch.tensor(sums[key], dtype=torch.float64)
        return state

    state = {
        by_id.get(key, key): taken(key, values) if key in by_id else values
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


def _check_groups(optimizer: Optimizer, saved: list[dict[str, Any]]) -> None:
    ours, theirs = ([len(g["params"]) for g in groups] for groups in (optimizer.param_groups, saved))
    if ours != theirs:
        raise ValueError(
            f"the checkpoint has parameter groups of {theirs} tensors, this optimizer of {ours}. "
            "Build the optimizer with the groups it was saved with."
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
    # torch.distributed.checkpoint fills a flat checkpoint up with whatever names the state has now, v_sum among them.
    present = {key: value for key, value in saved.items() if value is not None and key != V_SUM}
    needed = set(optimizer.start(weight, group))
    needed |= {"step"} if needed else set()  # torch's SGD counts no steps, and none of its numbers depends on them
    missing, extra = needed - set(present), set(present) - {"step", COMPENSATION, *optimizer.slots}
    if missing or extra:
        raise ValueError(
            f"{name} of the checkpoint has the state {sorted(present)}, but {optimizer.method} keeps "
            f"{['step', *optimizer.slots]}: it was written by another method."
        )
    state: State = {"step": torch.as_tensor(float(present.pop("step", 0.0)))}
    compensated = optimizer.rounding == "compensated" and low_precision(weight)
    if COMPENSATION in present and not compensated:
        del present[COMPENSATION]  # the weights stand where they were rounded to
    elif compensated:
        present.setdefault(COMPENSATION, torch.zeros_like(weight))
    for key, value in present.items():
        value = piece(value)
        value = torch.view_as_real(value) if torch.is_complex(value) else value
        if value.shape != weight.shape:
            raise ValueError(
                f"{key} of {name} has the shape {tuple(value.shape)} in the checkpoint, the parameter "
                f"{tuple(weight.shape)}. It belongs to another model, or to another order of parameters."
            )
        kept = kept_dtype(key, weight, optimizer.moments)
        state[key] = like(param, torch.empty_like(weight, dtype=kept).copy_(value))
    return state


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
