"""What the tests of schedules share: a training's learning rates, and optimizers to be scheduled."""

import math

import torch

import weightdecay as wd
from weightdecay.schedule import Rise

T = 30
PI = math.pi


def lr_of(t, total=T):
    """A warm-up of three steps and a cosine: what the shapes that follow the lr are told."""
    return 0.2 * (min(1.0, (t + 1) / 3)) * 0.5 * (1 + math.cos(PI * t / total))


LRS = [lr_of(t) for t in range(T)]
ETA = [lr / max(LRS) for lr in LRS]


def parameter():
    return torch.nn.Parameter(torch.ones(2, dtype=torch.float64))


def adamw(lr=0.1, weight_decay=0.1, cls=torch.optim.AdamW, **options):
    return cls([parameter()], lr=lr, weight_decay=weight_decay, **options)


def two_groups(**options):
    groups = [{"params": [parameter()], "name": "matrices"}, {"params": [parameter()], "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=0.1, weight_decay=0.2, **options)


def built(name, params, **more):
    """An optimizer over the two groups of drive.py, each with a λ and an lr of its own."""
    make, options = OPTIMIZERS[name]
    groups = [{"params": params[0]}, {"params": params[1], "lr": 3e-3, "weight_decay": 0.3}]
    return make(groups, lr=1e-2, weight_decay=0.1, **options, **more)


def attached(groups, **options):
    optimizer = torch.optim.AdamW(groups, **options)
    wd.attach(optimizer, wd.Stable())
    return optimizer


OPTIMIZERS = {
    "torch AdamW": (torch.optim.AdamW, {"foreach": False}),
    "torch AdamW foreach": (torch.optim.AdamW, {"foreach": True}),
    "torch AdamW fused": (torch.optim.AdamW, {"fused": True}),
    "torch SGD": (torch.optim.SGD, {"momentum": 0.9}),
    "attached": (attached, {}),
    "reference": (wd.AdamS, {"engine": "reference"}),
    "foreach": (wd.AdamS, {"engine": "foreach"}),
    "fused": (wd.AdamS, {"engine": "fused"}),
    "auto": (wd.AdamS, {"engine": "auto"}),
    "compiled": (wd.AdamS, {"engine": "compiled"}),
}
SHAPES = {0: "warmup(4, cosine * follow)", 1: Rise(0.1, 1.0)}
STEPS = 12
