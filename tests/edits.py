"""What people do to an optimizer in mid-run, each edit as the steps at which something is done.

``EDITS[name]`` is {t: functions of the optimizer}, called before step t. ``GRADIENTS[name]`` is a function of (t, which
tensor, gradient, tensor) that returns what the tensor gets in step t.
"""

import copy
import functools
from collections import defaultdict

import numpy as np
import torch

import weightdecay as wd

SHAPES = [[(4, 3, 2, 2), (5,)], [(6, 4), (), (7,)]]
FEW = [[(4, 3, 2, 2)], [(6, 4)]]
"""For whom every tensor costs: a compiler."""
STEPS, AT = 9, 4
LOUD = 30.0  # what the gradients of the steps before the edit are multiplied by: what is remembered of them shows


def weights(dtype=torch.float64, seed=0, shapes=SHAPES):
    rng = np.random.RandomState(seed)
    return [[torch.nn.Parameter(torch.tensor(rng.standard_normal(s)).to(dtype)) for s in group] for group in shapes]


@functools.cache
def numbers(t, which):
    return torch.from_numpy(np.random.RandomState(1000 * t + which).standard_normal(128))


def gradient(t, which, param, scale=1.0):
    """Of any shape, so that a tensor may change its own."""
    return (scale * numbers(t, which)[: param.numel()]).to(param.dtype).reshape(param.shape)


def flat(groups):
    return [p for group in groups for p in group]


def tensors(optimizer):
    return [p for group in optimizer.param_groups for p in group["params"]]


def drive(optimizer, steps, edit=None, change=None):
    """Take the steps, with what is edited before each and changed of each gradient."""
    for t in steps:
        for what in (edit or {}).get(t, ()):
            what(optimizer)
        for which, p in enumerate(tensors(optimizer)):
            value = gradient(t, which, p, LOUD if t < AT else 1.0)
            p.grad = value if change is None else change(t, which, value, p)
        optimizer.step()


def moments(optimizer, p):
    """Those of the tensor's own shape."""
    return [name for name, value in optimizer.state[p].items() if name != "step" and value.shape == p.shape]


# ---------------------------------------------------------------- state


def every_moment(f):
    """Replace every moment by a function of it."""

    def edit(optimizer):
        for p in tensors(optimizer):
            for name in moments(optimizer, p):
                optimizer.state[p][name] = f(optimizer.state[p][name])

    return edit


def every_moment_in_place(f):
    def edit(optimizer):
        for p in tensors(optimizer):
            for name in moments(optimizer, p):
                f(optimizer.state[p][name])

    return edit


def first_row_zero(moment):
    (moment[0] if moment.dim() else moment).zero_()


def set_state(make):
    def edit(optimizer):
        optimizer.state = make(optimizer)

    return edit


def first(optimizer):
    return tensors(optimizer)[0]


def delete_entry(optimizer):
    del optimizer.state[first(optimizer)]


def empty_entry(optimizer):
    optimizer.state[first(optimizer)] = {}


def copy_entry(optimizer):
    optimizer.state[first(optimizer)] = copy.deepcopy(optimizer.state[first(optimizer)])


def zero_step(optimizer):
    optimizer.state[first(optimizer)]["step"].zero_()


def set_step(optimizer):
    optimizer.state[first(optimizer)]["step"] = torch.tensor(50.0)


def zero_steps(optimizer):
    for p in tensors(optimizer):
        optimizer.state[p]["step"].zero_()


def swap_entries(optimizer):
    """Give two vectors each other's state, as a merge of models does."""
    a, b = (p for p in tensors(optimizer) if p.dim() == 1)
    a_state, b_state = optimizer.state[a], optimizer.state[b]
    for name in moments(optimizer, a):
        small = a_state[name].clone()
        a_state[name] = b_state[name][:5].clone()
        b_state[name] = torch.cat([small, b_state[name][5:]])


STATE = {
    "state cleared": {AT: [lambda o: o.state.clear()]},
    "state replaced": {AT: [set_state(lambda o: defaultdict(dict))]},
    "state copied": {AT: [set_state(lambda o: defaultdict(dict, {p: dict(s) for p, s in o.state.items()}))]},
    "an entry deleted": {AT: [delete_entry]},
    "an entry set to {}": {AT: [empty_entry]},
    "an entry cleared": {AT: [lambda o: o.state[first(o)].clear()]},
    "an entry copied": {AT: [copy_entry]},
    "moments zeroed in place": {AT: [every_moment_in_place(torch.Tensor.zero_)]},
    "rows zeroed in place": {AT: [every_moment_in_place(first_row_zero)]},
    "moments scaled in place, twice": {
        AT: [every_moment_in_place(lambda m: m.mul_(0.5))],
        AT + 2: [every_moment_in_place(lambda m: m.mul_(0.5))],
    },
    "moments replaced": {AT: [every_moment(lambda m: 0.5 * m)]},
    "moments copied": {AT: [every_moment(torch.clone)]},
    "moments swapped": {AT: [swap_entries]},
    "a step zeroed in place": {AT: [zero_step]},
    "a step replaced": {AT: [set_step]},
    "all steps zeroed in place": {AT: [zero_steps]},
}
RESET = ("state cleared", "state replaced")  # from there on the path of a new optimizer

# ---------------------------------------------------------------- tensors


def replace(of_weight, of_moment):
    """Put a new Parameter in the place of the first of each group; its state moves along (Gaussian splatting)."""

    def edit(optimizer):
        for group in optimizer.param_groups:
            old = group["params"][0]
            new = torch.nn.Parameter(of_weight(old.detach()))
            state = optimizer.state.pop(old)
            if of_moment is not None:
                for name in state:
                    state[name] = of_moment(state[name]) if state[name].shape == old.shape else state[name]
                optimizer.state[new] = state
            group["params"][0] = new

    return edit


def replace_and_leave_state(optimizer):
    for group in optimizer.param_groups:
        group["params"][0] = torch.nn.Parameter(group["params"][0].detach().clone())


def set_data(make):
    def edit(optimizer):
        for p in tensors(optimizer):
            p.data = make(p.data)

    return edit


def set_shape_and_reset(optimizer):
    p = first(optimizer)
    p.grad = None
    p.data = p.data[:2].clone()
    optimizer.state[p] = {}


def into_one_buffer(optimizer):
    """Make every weight a view of one flat tensor, as libraries that fuse or offload do."""
    flat = torch.cat([p.data.reshape(-1) for p in tensors(optimizer)])
    start = 0
    for p in tensors(optimizer):
        p.data = flat[start : start + p.numel()].view_as(p)
        start += p.numel()


@torch.no_grad()
def move_in_place(optimizer):
    for p in tensors(optimizer):
        p.mul_(0.9).add_(0.01)


def transposed(x):
    return x.t().contiguous().t() if x.dim() == 2 else x


def channels_last(x):
    return x.to(memory_format=torch.channels_last) if x.dim() == 4 else x


ROWS = [0, 2]

TENSORS = {
    "pruned": {AT: [replace(lambda p: p[ROWS].clone(), lambda m: m[ROWS])]},
    "extended": {AT: [replace(lambda p: torch.cat([p, 0.5 * p[:2]]), lambda m: torch.cat([m, 0 * m[:2]]))]},
    "replaced with state": {AT: [replace(torch.clone, torch.clone)]},
    "replaced, the same moments": {AT: [replace(torch.clone, lambda m: m)]},
    "replaced, moments zeroed": {AT: [replace(torch.clone, torch.zeros_like)]},
    "replaced without state": {AT: [replace(torch.clone, None)]},
    "replaced, state left behind": {AT: [replace_and_leave_state]},
    "replaced in every step": {t: [replace(torch.clone, torch.clone)] for t in range(AT, STEPS)},
    "data replaced": {AT: [set_data(lambda p: 0.9 * p)]},
    "data replaced by a copy": {AT: [set_data(torch.clone)]},
    "data of another shape, state reset": {AT: [set_shape_and_reset]},
    "data transposed in memory": {AT: [set_data(transposed)]},
    "data channels-last": {AT: [set_data(channels_last)]},
    "data in one buffer": {AT: [into_one_buffer]},
    "channels-last and back": {AT: [set_data(channels_last)], AT + 3: [set_data(torch.Tensor.contiguous)]},
    "moments channels-last": {AT: [every_moment(channels_last)]},
    "moments transposed in memory": {AT: [every_moment(transposed)]},
    "moved in place": {AT: [move_in_place]},
    "requires_grad off and on": {
        AT: [lambda o: first(o).requires_grad_(False)],
        AT + 3: [lambda o: first(o).requires_grad_(True)],
    },
}

# ---------------------------------------------------------------- groups


def write(key, value, group=0):
    """Write into a group; a function is of what was there."""

    def edit(optimizer):
        there = optimizer.param_groups[group]
        there[key] = value(there[key]) if callable(value) else value

    return edit


def mutate_betas(optimizer):
    optimizer.param_groups[0]["betas"][0] = 0.5
    optimizer.param_groups[0]["betas"][1] = 0.8


def another_tensor():
    return torch.nn.Parameter(torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3))


def add_group(optimizer):
    optimizer.add_param_group({"params": [another_tensor()], "lr": 0.5 * optimizer.param_groups[0]["lr"]})


def copy_groups(optimizer):
    optimizer.param_groups[0] = dict(optimizer.param_groups[0])
    optimizer.param_groups[1]["params"] = list(optimizer.param_groups[1]["params"])


def move_the_border(optimizer):
    """The last tensor of the first group becomes the first of the second: the order of the model stays as it is."""
    first, second = (group["params"] for group in optimizer.param_groups)
    second.insert(0, first.pop())


def replace_groups(optimizer):
    """As a library that copies groups does; the lr is written into the copy only."""
    optimizer.param_groups[:] = [dict(group) for group in optimizer.param_groups]
    optimizer.param_groups[0]["lr"] *= 0.5


def move_to_other_group(optimizer):
    a, b = optimizer.param_groups
    b["params"].append(a["params"].pop())


def setting(name, value):
    return lambda optimizer: setattr(optimizer, name, value)


GROUPS = {
    "lr": {AT: [write("lr", lambda lr: 0.5 * lr)]},
    "lr 0 and back": {AT: [write("lr", 0.0)], AT + 2: [write("lr", 1e-3)]},
    "lr a tensor": {AT: [write("lr", lambda lr: torch.tensor(0.5 * lr, dtype=torch.float64))]},
    "lr a tensor, filled": {
        AT: [write("lr", lambda lr: torch.tensor(lr, dtype=torch.float64))],
        AT + 2: [lambda o: o.param_groups[0]["lr"].mul_(0.5)],
    },
    "weight_decay": {AT: [write("weight_decay", lambda x: 3 * x)]},
    "weight_decay off": {AT: [write("weight_decay", 0.0)]},
    "weight_decay off and on": {AT: [write("weight_decay", 0.0, 1)], AT + 3: [write("weight_decay", 1e-3, 1)]},
    "betas": {AT: [write("betas", (0.5, 0.8))]},
    "betas in every step": {t: [write("betas", (0.5 + 0.02 * t, 0.9))] for t in range(AT, STEPS)},
    "betas mutated in place": {AT - 3: [write("betas", list)], AT: [mutate_betas]},
    "momentum": {AT: [write("momentum", 0.5)]},
    "momentum off and on": {AT: [write("momentum", 0.0, 1)], AT + 2: [write("momentum", 0.9, 1)]},
    "eps": {AT: [write("eps", 1e-2)]},
    "decay": {AT: [write("decay", wd.Independent())]},
    "decay by the mean": {AT: [write("decay", wd.Stable(power=0.25))]},
    "decay by element": {AT: [write("decay", wd.Elementwise())]},
    "decay into the gradient": {AT: [write("decay", wd.L2())]},
    "maximize": {AT: [write("maximize", True)]},
    "a group added": {AT: [add_group]},
    "a tensor added to a group": {AT: [lambda o: o.param_groups[0]["params"].append(another_tensor())]},
    "a tensor removed from a group": {AT: [lambda o: o.param_groups[0]["params"].pop()]},
    "a group removed": {AT: [lambda o: o.param_groups.pop()]},
    "the order of tensors": {AT: [lambda o: o.param_groups[1]["params"].reverse()]},
    "the order of groups": {AT: [lambda o: o.param_groups.reverse()]},
    "groups copied": {AT: [copy_groups]},
    "a tensor moved to another group": {AT: [move_to_other_group]},
    "the border between groups moved": {AT: [move_the_border]},
    "groups replaced by copies": {AT: [replace_groups]},
    "clipping set": {AT: [setting("max_grad_norm", 1.0)]},
    "clipping off": {0: [setting("max_grad_norm", 1.0)], AT: [setting("max_grad_norm", None)]},
    "nonfinite set": {AT: [setting("nonfinite", "raise")]},
}
NEEDS = {
    **{name: "betas" for name in GROUPS if name.startswith("betas")},
    **{name: "momentum" for name in GROUPS if name.startswith("momentum")},
    "eps": "eps",
}

# ---------------------------------------------------------------- checkpoints


def reload(optimizer):
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))


def save(optimizer):
    optimizer.saved = copy.deepcopy(optimizer.state_dict())


def load(optimizer):
    optimizer.load_state_dict(optimizer.saved)


def ask(optimizer):
    optimizer.state_dict()


zero_moments = every_moment_in_place(torch.Tensor.zero_)

CHECKPOINTS = {
    "state_dict": {t: [ask] for t in range(STEPS)},
    "reloaded": {AT: [reload]},
    "an earlier checkpoint": {AT - 2: [save], AT + 2: [load]},
    "saved, then edited": {AT: [ask, zero_moments]},
    "loaded, then edited": {AT: [reload, zero_moments]},
    "edited, then reloaded": {AT: [zero_moments, reload]},
    "loaded, then cleared": {AT: [reload, lambda o: o.state.clear()]},
    "loaded, then channels-last": {AT: [reload, set_data(channels_last)]},
    "channels-last, then loaded": {AT: [set_data(channels_last), reload]},
    "loaded, then replaced": {AT: [reload, replace(torch.clone, torch.clone)]},
}

# ---------------------------------------------------------------- hooks


def halve_gradients(optimizer, *_):
    for p in tensors(optimizer):
        p.grad.mul_(0.5)


def replace_gradients(optimizer, *_):
    for p in tensors(optimizer):
        p.grad = 0.5 * p.grad


def lower_lr(optimizer, *_):
    for group in optimizer.param_groups:
        group["lr"] *= 0.9


@torch.no_grad()
def project(optimizer, *_):
    for p in tensors(optimizer):
        p.clamp_(-1, 1)


def forget(optimizer, *_):
    optimizer.state[first(optimizer)].clear()


HOOKS = {
    "a hook halves gradients": {AT: [lambda o: o.register_step_pre_hook(halve_gradients)]},
    "a hook replaces gradients": {AT: [lambda o: o.register_step_pre_hook(replace_gradients)]},
    "a hook lowers the lr": {AT: [lambda o: o.register_step_pre_hook(lower_lr)]},
    "a hook projects weights": {AT: [lambda o: o.register_step_post_hook(project)]},
    "a hook forgets a state": {AT: [lambda o: o.register_step_post_hook(forget)]},
}

EDITS = {**STATE, **TENSORS, **GROUPS, **CHECKPOINTS, **HOOKS}

NEUTRAL = (
    *("state copied", "an entry copied", "moments copied", "replaced with state", "replaced, the same moments"),
    *("replaced in every step", "data replaced by a copy", "data transposed in memory", "data channels-last"),
    *("data in one buffer", "channels-last and back", "moments channels-last", "moments transposed in memory"),
    *("requires_grad off and on", "groups copied", "state_dict", "reloaded", "loaded, then channels-last"),
    *("channels-last, then loaded", "loaded, then replaced", "nonfinite set"),
)
"""Edits that change no number: the path is as if nothing had been done."""


# ---------------------------------------------------------------- gradients


def some_missing(t, which, grad, p):
    return None if which in (0, 3) and AT <= t < AT + 2 else grad


def all_missing(t, which, grad, p):
    return None if t in (AT, AT + 1) else grad


def one_stops(t, which, grad, p):
    return None if which == 1 and t >= AT else grad


def one_joins(t, which, grad, p):
    return None if which == 2 and t < AT else grad


def in_turn(t, which, grad, p):
    return grad if (which + t) % 2 else None


def other_type(t, which, grad, p):
    if t < AT or t > AT + 2 or which > 1:
        return grad
    p.grad, p.grad_dtype = None, None  # torch: any type
    return grad.float()


def other_layout(t, which, grad, p):
    return channels_last(transposed(grad)) if t >= AT else grad


def layouts_in_turn(t, which, grad, p):
    return channels_last(transposed(grad)) if t % 2 else grad


def expanded(t, which, grad, p):
    return grad[:1].expand(grad.shape) if grad.dim() and t >= AT else grad


def same_memory(t, which, grad, p):
    """zero_grad(set_to_none=False), or a flat buffer of gradients: always the same tensor."""
    return grad if p.grad is None else p.grad.detach().copy_(grad)


def same_memory_for_a_while(t, which, grad, p):
    return same_memory(t, which, grad, p) if t % 4 else grad


GRADIENTS = {
    "some gradients missing": some_missing,
    "all gradients missing": all_missing,
    "a gradient stops": one_stops,
    "a gradient joins": one_joins,
    "gradients in turn": in_turn,
    "gradients of another type": other_type,
    "gradients of another layout": other_layout,
    "layouts of gradients in turn": layouts_in_turn,
    "gradients expanded": expanded,
    "gradients in the same memory": same_memory,
    "gradients in the same memory for a while": same_memory_for_a_while,
}
