"""Optimizers with a decay attached, and who must take the same steps: our own of the same name and options."""

import torch
from cases import DECAYS
from drive import joined, weights

import weightdecay as wd
from weightdecay import attach

STEPS = 16
ADAM = {"lr": 1e-2, "betas": (0.8, 0.99), "eps": 1e-6}
SGD = {"lr": 0.05, "momentum": 0.9}

TWINS = {
    "AdamW fused": (torch.optim.AdamW, wd.Adam, ADAM, {"fused": True}),
    "AdamW": (torch.optim.AdamW, wd.Adam, ADAM, {"fused": False, "foreach": False}),
    "AdamW foreach": (torch.optim.AdamW, wd.Adam, ADAM, {"foreach": True}),
    "AdamW maximize": (torch.optim.AdamW, wd.Adam, {**ADAM, "maximize": True}, {}),
    "Adam": (torch.optim.Adam, wd.Adam, ADAM, {}),
    "Adam fused": (torch.optim.Adam, wd.Adam, ADAM, {"fused": True}),
    "RAdam": (torch.optim.RAdam, wd.RAdam, ADAM, {}),
    "SGD": (torch.optim.SGD, wd.SGD, {"lr": 0.05}, {}),
    "SGD momentum": (torch.optim.SGD, wd.SGD, SGD, {}),
    "SGD dampening": (torch.optim.SGD, wd.SGD, {**SGD, "dampening": 0.3}, {}),
    "SGD nesterov": (torch.optim.SGD, wd.SGD, {**SGD, "nesterov": True}, {}),
}
ATTACHABLE = [case for case in DECAYS if case.oracle not in ("l2", "elementwise")]
STABLE = next(case for case in ATTACHABLE if case.decay == wd.Stable())


def groups_of(params, options, strength):
    second = {"params": params[1], "lr": 0.3 * options["lr"], "weight_decay": 3 * strength}
    if "betas" in options:
        second["betas"] = (0.9, 0.9)
    return [{"params": params[0]}, second]


def pair(name, case, dtype=torch.float64, strength=None):
    """Return (weights, attached optimizer, handle) and (weights, ours)."""
    theirs, ours, options, implementation = TWINS[name]
    strength = 10 * case.strength if strength is None else strength
    a, b = weights(dtype), weights(dtype)
    built = theirs(groups_of(a, options, strength), weight_decay=strength, **options, **implementation)
    handle = attach(built, case.decay)
    options = {**options, "weight_decay": strength, "decay": case.decay, "engine": "reference"}
    mine = ours(groups_of(b, options, strength), **options)
    return (a, built, handle), (b, mine)


def build(params, cls=torch.optim.AdamW, strength=0.1, **options):
    optimizer = cls(joined(params), weight_decay=strength, **{**ADAM, **options})
    return optimizer, attach(optimizer, wd.Stable())


class Rounded(torch.optim.Optimizer):
    """Stands for the 8-bit optimizers of other libraries: Adam, whose second moment is kept under another name."""

    def __init__(self, params, lr=1e-2, betas=(0.9, 0.999), weight_decay=0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in (p for p in group["params"] if p.grad is not None):
                state = self.state[p]
                state["step"] = state.get("step", 0) + 1
                state["state2"] = (255 * p.grad.square()).to(torch.uint8)
                p.sub_(group["lr"] * p.grad.sign() + group["lr"] * group["weight_decay"] * p)


AdamW8bit = type("AdamW8bit", (Rounded,), {})
