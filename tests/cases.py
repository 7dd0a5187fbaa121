"""THE table: every optimizer and decay, with what a test needs to build, drive and compare them.

A new optimizer or decay adds a row here and nothing elsewhere.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
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
    decays: tuple[str, ...] = ()  # the decays that it is walked with, as the oracle calls them; (): all
    brief: bool = False  # the widest tables leave it out: what they would see, its kin shows

    @property
    def adaptive(self) -> bool:
        """Whether the gain is made of gradients: a decay that follows it reads a mean over the model."""
        return "betas" in self.cls.ranges and self.oracle not in ("adai", "lion")

    def __str__(self):
        return self.cls.__name__


class ToldLion(wd.Lion):
    """Lion with a gain that somebody answers for, so that every decay has a meaning."""

    changed_defaults: ClassVar[dict[str, Any]] = {"gain": 1.0}


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
    Method(wd.NAdam, "nadam", ({}, {"betas": (0.8, 0.95), "momentum_decay": 0.1}), decays=("stable",), brief=True),
    Method(ToldLion, "lion", ({}, {"betas": (0.8, 0.95), "gain": 0.5}), decays=("stable",), brief=True),
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

THOROUGH = [method for method in METHODS if not method.brief]
PAIRS = [
    (method, case)
    for method in METHODS
    for case in DECAYS
    if not method.decays or (case.oracle in method.decays and not case.options)
]


@dataclass(frozen=True)
class BadInput:
    """A constructor call (or a step) that must raise, and what it must say."""

    build: Callable[[list[torch.nn.Parameter]], Any]
    error: type[Exception] | tuple[type[Exception], ...]
    says: str


def _weights() -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(3))]


nan, inf = float("nan"), float("inf")

BAD_INPUTS = {
    "lr nan": BadInput(lambda p: wd.AdamS(p, lr=nan), ValueError, r"lr=nan in group 0 is outside \[0, inf\)"),
    "lr inf": BadInput(lambda p: wd.AdamS(p, lr=inf), ValueError, r"lr=inf"),
    "lr negative": BadInput(lambda p: wd.SGD(p, lr=-0.1), ValueError, r"lr=-0.1"),
    "lr text": BadInput(lambda p: wd.SGD(p, lr="1e-3"), TypeError, r"lr='1e-3' in group 0 is not a number"),
    "lr bool": BadInput(lambda p: wd.SGD(p, lr=True), TypeError, r"lr=True in group 0 is not a number"),
    "lr none": BadInput(lambda p: wd.SGD(p, lr=None), TypeError, r"lr=None in group 0 is not a number"),
    "lr complex": BadInput(lambda p: wd.SGD(p, lr=1j), TypeError, r"lr=1j in group 0 is not a number"),
    "lr complex tensor": BadInput(lambda p: wd.SGD(p, lr=torch.tensor(1j)), TypeError, r"is not a number"),
    "lr numpy vector": BadInput(lambda p: wd.SGD(p, lr=np.ones(2)), ValueError, r"array of 2 elements"),
    "lr numpy nan": BadInput(lambda p: wd.SGD(p, lr=np.float32("nan")), ValueError, r"lr=nan in group 0 is outside"),
    "lr numpy bool": BadInput(lambda p: wd.SGD(p, lr=np.True_), TypeError, r"is not a number"),
    "lr huge": BadInput(lambda p: wd.SGD(p, lr=10**400), ValueError, r"too large"),
    "strength none": BadInput(lambda p: wd.AdamS(p, weight_decay=None), TypeError, r"weight_decay=None in group 0"),
    "seed none": BadInput(lambda p: wd.AdamS(p, seed=None), TypeError, r"seed=None in the optimizer is not a whole"),
    "seed text": BadInput(lambda p: wd.AdamS(p, seed="3"), TypeError, r"seed='3' in the optimizer is not a whole"),
    "seed fraction": BadInput(lambda p: wd.AdamS(p, seed=1.5), TypeError, r"seed=1.5 in the optimizer is not a whole"),
    "clip text": BadInput(lambda p: wd.AdamS(p, max_grad_norm="1"), TypeError, r"max_grad_norm='1'"),
    "flag": BadInput(lambda p: wd.AdamS(p, maximize="yes"), TypeError, r"maximize='yes' in group 0 must be True or"),
    "betas text": BadInput(lambda p: wd.AdamS(p, betas="ab"), ValueError, r"betas='ab' in group 0: expected 2 numbers"),
    "betas number": BadInput(lambda p: wd.AdamS(p, betas=0.9), ValueError, r"betas=0.9 in group 0: expected 2 numbers"),
    "dampening of TensorFlow's": BadInput(
        lambda p: wd.TensorFlowSGD(p, momentum=0.9, dampening=0.1), ValueError, r"TensorFlowSGD has no dampening"
    ),
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
    "decay text": BadInput(
        lambda p: wd.Adam(p, decay="stabel"),
        ValueError,
        r"decay='stabel' in the optimizer: no decay .* mean 'stable'\?",
    ),
    "decay text in a group": BadInput(
        lambda p: wd.Adam([{"params": p, "decay": "vanila"}]), ValueError, r"decay='vanila' in group 0: .* 'vanilla'\?"
    ),
    "decay argument": BadInput(
        lambda p: wd.Adam(p, decay="stable(pwer=1)"), ValueError, r"'pwer'. Did you mean 'power'\? Stable takes power"
    ),
    "decay argument out of range": BadInput(
        lambda p: wd.Adam(p, decay="stable(-1)"), ValueError, r"Stable\(power=-1\): power must be a finite number"
    ),
    "decay code": BadInput(
        lambda p: wd.Adam(p, decay="stable(power=__import__('os').getpid())"), ValueError, r"is not a decay. Write a"
    ),
    "decay arithmetic": BadInput(
        lambda p: wd.Adam(p, decay="stable(1/2)"), ValueError, r"neither a literal nor a decay"
    ),
    "decay nested": BadInput(
        lambda p: wd.Adam(p, decay="stable(vanilla)"),
        ValueError,
        r"decay='stable\(vanilla\)'.*power=Vanilla\(\) .* not a number",
    ),
    "decay path": BadInput(
        lambda p: wd.Adam(p, decay="no.such.module:Rule"), ValueError, r"module 'no.such.module' .*PYTHONPATH"
    ),
    "decay path of something else": BadInput(
        lambda p: wd.Adam(p, decay="collections:OrderedDict"), ValueError, r"no decay. It must be a class derived from"
    ),
    "decay none": BadInput(lambda p: wd.Adam(p, decay=None), TypeError, r"decay=None in the optimizer is not a Decay"),
    "decay class": BadInput(
        lambda p: wd.Adam(p, decay=wd.Stable), TypeError, r"is not a Decay. Call the class: Stable\(\)"
    ),
    "power and decay": BadInput(
        lambda p: wd.AdamS(p, power=0.5, decay=wd.Stable()), TypeError, r"power=0.5 beside decay=Stable.* Give one."
    ),
    "misspelt option": BadInput(
        lambda p: wd.AdamS(p, weight_decy=0.1), TypeError, r"'weight_decy'. Did you mean 'weight_decay'\?"
    ),
    "misspelt group option": BadInput(
        lambda p: wd.AdamS([{"params": p, "weight_decays": 0.1}]), ValueError, r"Did you mean 'weight_decay'\?"
    ),
    "torch's fused": BadInput(lambda p: wd.RAdam(p, fused=True), ValueError, r"no fused kernel .* engine=\"foreach\""),
    "torch's both": BadInput(lambda p: wd.Adam(p, fused=True, foreach=True), RuntimeError, r"Give one of them"),
    "torch's fused and engine": BadInput(
        lambda p: wd.Adam(p, fused=True, engine="foreach"), ValueError, r'fused=True and engine="foreach" contradict'
    ),
    "torch's not fused and engine": BadInput(
        lambda p: wd.Adam(p, fused=False, engine="fused"), ValueError, r'fused=False and engine="fused" contradict'
    ),
    "torch's capturable": BadInput(
        lambda p: wd.Adam(p, capturable=True, engine="reference"), ValueError, r'capturable=True and engine="reference"'
    ),
    "torch's capturable loop": BadInput(
        lambda p: wd.Adam(p, capturable=True, foreach=False), ValueError, r"Leave foreach out"
    ),
    "torch's differentiable": BadInput(
        lambda p: wd.Adam(p, differentiable=True), TypeError, r"differentiable=True: .* not differentiable here"
    ),
    "torch's foreach text": BadInput(lambda p: wd.Adam(p, foreach="yes"), TypeError, r"foreach='yes': give True"),
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
    "duplicate across groups of one tensor": BadInput(
        lambda p: wd.AdamS([{"params": p[0]}, {"params": p[0]}]), ValueError, r"parameter 0 of group 1 is there twice"
    ),
    "tied": BadInput(
        lambda p: wd.AdamS([p[0], torch.nn.Parameter(p[0].data)]), ValueError, r"shares its memory with parameter 0"
    ),
    "lazy": BadInput(lambda p: wd.AdamS(torch.nn.LazyLinear(2).parameters()), ValueError, r"has no shape yet"),
    "unknown name": BadInput(
        lambda p: wd.create("adms", p), ValueError, r"no optimizer is called 'adms'. Did you mean 'adams'\? Known: ada"
    ),
}
