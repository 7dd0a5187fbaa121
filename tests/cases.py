"""THE table: every optimizer and decay, with what a test needs to build, drive and compare them.

A new optimizer or decay adds a row here and nothing elsewhere.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

import weightdecay as wd


@dataclass(frozen=True)
class Method:
    """An optimizer, the oracle that speaks for it, and options worth trying."""

    cls: type[wd.Optimizer]
    oracle: str
    variants: tuple[dict[str, Any], ...] = ({},)
    lr: float = 1e-3
    couples_direction: bool = False  # u_t itself depends on a mean over the model
    starts_above_zero: bool = False  # v is not 0 before the first gradient

    def __str__(self):
        return self.cls.__name__


METHODS = [
    Method(
        wd.SGD,
        "sgd",
        (
            {},
            {"momentum": 0.9},
            {"momentum": 0.9, "dampening": 0.3},
            {"momentum": 0.9, "nesterov": True},
        ),
        lr=0.05,
    ),
    Method(wd.HeavyBall, "heavyball", ({}, {"momentum": 0.9}, {"momentum": 0.9, "dampening": 0.9}), 0.05),
    Method(wd.TensorFlowSGD, "tensorflow_sgd", ({"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}), 0.05),
    Method(wd.Adam, "adam", ({"eps": 1e-12}, {"betas": (0.8, 0.95)})),
    Method(wd.AMSGrad, "amsgrad", ({}, {"betas": (0.8, 0.95)})),
    Method(wd.Adai, "adai", ({}, {"betas": (0.3, 0.9)}), 0.1, couples_direction=True),
    Method(wd.Yogi, "yogi", ({}, {"initial_accumulator": 0.0}), 1e-2, starts_above_zero=True),
    Method(wd.AdaBound, "adabound", ({}, {"final_lr": 0.5, "gamma": 0.01})),
    Method(wd.Padam, "padam", ({}, {"partial": 0.125}), 1e-2),
    Method(wd.RAdam, "radam", ({}, {"betas": (0.8, 0.95)})),
]


@dataclass(frozen=True)
class DecayCase:
    """A decay, the oracle's name for it, and a strength at which ten steps show it."""

    decay: wd.Decay
    oracle: str
    strength: float
    options: dict[str, Any] = field(default_factory=dict)
    by_gain: bool = False  # needs a gradient to act

    def __str__(self):
        return repr(self.decay)


DECAYS = [
    DecayCase(wd.L2(), "l2", 0.01),
    DecayCase(wd.Vanilla(), "vanilla", 1e-3),
    DecayCase(wd.Decoupled(), "decoupled", 0.1),
    DecayCase(wd.Independent(), "independent", 1e-3),
    DecayCase(wd.Stable(), "stable", 1e-3, by_gain=True),
    DecayCase(wd.Stable(power=0.25), "stable", 1e-3, {"power": 0.25}, by_gain=True),
    DecayCase(wd.Elementwise(), "elementwise", 1e-4, by_gain=True),
]

PAIRS = [(method, case) for method in METHODS for case in DECAYS]


@dataclass(frozen=True)
class BadInput:
    """A constructor call (or a step) that must raise, and what it must say."""

    build: Callable[[list[torch.nn.Parameter]], Any]
    error: type[Exception]
    says: str


def _weights() -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(3))]


nan, inf = float("nan"), float("inf")

BAD_INPUTS = {
    "lr nan": BadInput(lambda p: wd.AdamS(p, lr=nan), ValueError, r"lr=nan in group 0 is outside \[0, inf\)"),
    "lr inf": BadInput(lambda p: wd.AdamS(p, lr=inf), ValueError, r"lr=inf"),
    "lr negative": BadInput(lambda p: wd.SGD(p, lr=-0.1), ValueError, r"lr=-0.1"),
    "lr text": BadInput(lambda p: wd.SGD(p, lr="1e-3"), TypeError, r"lr='1e-3' in group 0 is not a number"),
    "lr vector": BadInput(lambda p: wd.SGD(p, lr=torch.ones(2)), ValueError, r"tensor of 2 elements"),
    "decay strength nan": BadInput(lambda p: wd.AdamW(p, weight_decay=nan), ValueError, r"weight_decay=nan"),
    "decay strength negative": BadInput(lambda p: wd.SGDS(p, weight_decay=-1), ValueError, r"weight_decay=-1"),
    "beta1": BadInput(lambda p: wd.Adam(p, betas=(1.0, 0.9)), ValueError, r"betas\[0\]=1 in group 0 .* \[0, 1\)"),
    "beta2": BadInput(lambda p: wd.Adam(p, betas=(0.9, nan)), ValueError, r"betas\[1\]=nan"),
    "one beta": BadInput(lambda p: wd.Adam(p, betas=(0.9,)), ValueError, r"expected 2 numbers"),
    "eps": BadInput(lambda p: wd.Adam(p, eps=-1e-8), ValueError, r"eps=-1e-08"),
    "momentum": BadInput(lambda p: wd.SGD(p, momentum=1.0), ValueError, r"momentum=1"),
    "dampening": BadInput(lambda p: wd.SGD(p, dampening=1.0, momentum=0.9), ValueError, r"dampening=1"),
    "nesterov": BadInput(lambda p: wd.SGD(p, nesterov=True), ValueError, r"nesterov=True .* momentum above 0"),
    "nesterov dampening": BadInput(
        lambda p: wd.SGD(p, momentum=0.9, dampening=0.1, nesterov=True), ValueError, r"dampening of 0"
    ),
    "adai eps": BadInput(lambda p: wd.Adai(p, eps=0), ValueError, r"eps=0 .* \(0, 1\)"),
    "adai beta0": BadInput(lambda p: wd.Adai(p, betas=(-0.1, 0.99)), ValueError, r"betas\[0\]=-0.1"),
    "yogi accumulator": BadInput(lambda p: wd.Yogi(p, initial_accumulator=nan), ValueError, r"initial_accumulator=nan"),
    "padam partial": BadInput(lambda p: wd.Padam(p, partial=0.0), ValueError, r"partial=0 "),
    "padam partial above": BadInput(lambda p: wd.Padam(p, partial=0.7), ValueError, r"partial=0.7"),
    "adabound final": BadInput(lambda p: wd.AdaBound(p, final_lr=0), ValueError, r"final_lr=0"),
    "adabound gamma": BadInput(lambda p: wd.AdaBound(p, gamma=0.0), ValueError, r"AdaBound divides by both"),
    "adabound lr 0": BadInput(lambda p: wd.AdaBound(p, lr=0.0), ValueError, r"AdaBound divides by both"),
    "peak lr": BadInput(lambda p: wd.Adam(p, peak_lr=nan), ValueError, r"peak_lr=nan"),
    "independent above peak": BadInput(
        lambda p: wd.Adam(p, lr=0.3, peak_lr=0.1, decay=wd.Independent()),
        ValueError,
        r"lr=0.3 exceeds peak_lr=0.1 in group 0; Independent\(\) divides by peak_lr. Set peak_lr",
    ),
    "independent peak 0": BadInput(
        lambda p: wd.Adam(p, lr=0.0, decay=wd.Independent()), ValueError, r"peak_lr=0 in group 0"
    ),
    "power": BadInput(lambda p: wd.AdamS(p, power=nan), ValueError, r"Stable\(power=nan\)"),
    "stable eps": BadInput(lambda p: wd.Stable(eps=-1.0), ValueError, r"Stable\(eps=-1.0\)"),
    "decay text": BadInput(lambda p: wd.Adam(p, decay="stable"), TypeError, r"decay='stable' .* Stable\(\)"),
    "decay class": BadInput(lambda p: wd.Adam(p, decay=wd.Stable), TypeError, r"is not a Decay. Pass an object"),
    "misspelt option": BadInput(
        lambda p: wd.AdamS(p, weight_decy=0.1), TypeError, r"'weight_decy'. Did you mean 'weight_decay'\?"
    ),
    "misspelt group option": BadInput(
        lambda p: wd.AdamS([{"params": p, "weight_decays": 0.1}]), ValueError, r"Did you mean 'weight_decay'\?"
    ),
    "torch's fused": BadInput(lambda p: wd.AdamW(p, fused=True), TypeError, r"fused=True\): .* engine="),
    "torch's amsgrad": BadInput(lambda p: wd.AdamW(p, amsgrad=True), TypeError, r"AMSGradW"),
    "torch's decoupled": BadInput(
        lambda p: wd.RAdam(p, decoupled_weight_decay=True), TypeError, r"decay=Decoupled\(\)"
    ),
    "engine": BadInput(lambda p: wd.Adam(p, engine="referense"), ValueError, r"Did you mean 'reference'\?"),
    "nonfinite": BadInput(lambda p: wd.Adam(p, nonfinite="skp"), ValueError, r"Did you mean 'skip'\?"),
    "rounding": BadInput(lambda p: wd.Adam(p, rounding="up"), ValueError, r"Known: compensated, nearest, stochastic"),
    "no parameters": BadInput(lambda p: wd.AdamS([]), ValueError, r"empty parameter list"),
    "a tensor": BadInput(lambda p: wd.AdamS(p[0]), TypeError, r"iterable of Tensors"),
    "a number": BadInput(lambda p: wd.AdamS([1.0]), TypeError, r"can only optimize Tensors"),
    "integers": BadInput(lambda p: wd.AdamS([torch.ones(2, dtype=torch.long)]), TypeError, r"torch.int64"),
    "duplicate": BadInput(lambda p: wd.AdamS([p[0], p[0]]), ValueError, r"parameter 1 of group 0 is there twice"),
    "duplicate across groups": BadInput(
        lambda p: wd.AdamS([{"params": p}, {"params": p[:1]}]), ValueError, r"parameter 0 of group 1 is there twice"
    ),
    "tied": BadInput(
        lambda p: wd.AdamS([p[0], torch.nn.Parameter(p[0].data)]), ValueError, r"shares its memory with parameter 0"
    ),
    "lazy": BadInput(lambda p: wd.AdamS(torch.nn.LazyLinear(2).parameters()), ValueError, r"has no shape yet"),
    "unknown name": BadInput(
        lambda p: wd.create("adms", p), ValueError, r"no optimizer is called 'adms'. Did you mean 'adams'\? Known: ada"
    ),
}
