"""Which decay the groups of an optimizer have, whoever wrote it, and what it pulls in a step."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from weightdecay.attaching.gains import GAINS, KNOWN, lr_of
from weightdecay.attaching.handle import Handle
from weightdecay.decay import Cautious, Decay, Number
from weightdecay.measuring import MeasureError, measure
from weightdecay.optim import SGD, Adam, Optimizer

UNKNOWN = "unknown"
MASKED = "cautious("


@dataclass(frozen=True)
class GroupDecay:
    """How λ becomes a pull in a group. ``recorded``: the step itself says its pull."""

    kind: str  # as the catalog or weightdecay.measure has it; UNKNOWN
    recorded: bool = False
    ratio: float = 1.0  # of the pull to the formula of the kind
    masked: bool = False

    @property
    def plain(self) -> bool:
        """Whether the decay is one number times the weight, or times its masked elements, so that it can be told."""
        return self.kind not in (UNKNOWN, "l2")


def decays_of(optimizer: torch.optim.Optimizer, told: str | None) -> list[GroupDecay]:
    """Return the decay of every group. ``told`` is the kind of a plain optimizer, for one who knows it.

    An own optimizer and an attached handle know theirs. Torch's own say it in their groups. Others are measured, once,
    by :func:`weightdecay.measure`, with the options of the optimizer.
    """
    if isinstance(optimizer, Optimizer):
        return [_of_decay(group["decay"]) for group in optimizer.param_groups]
    if (handle := Handle.of(optimizer)) is not None:
        return [_of_decay(handle.decay_of_group(place)) for place in range(len(optimizer.param_groups))]
    known: list[GroupDecay] = []
    measured: GroupDecay | None = None
    for group in optimizer.param_groups:
        if told is not None:
            known.append(GroupDecay(told, masked=told.startswith(MASKED)))
        elif "weight_decay" not in group:
            known.append(GroupDecay("none"))
        elif type(optimizer).__module__.startswith("torch.optim") and "decoupled_weight_decay" in group:
            known.append(GroupDecay("decoupled" if group["decoupled_weight_decay"] else "l2"))
        elif type(optimizer) is torch.optim.SGD:
            known.append(GroupDecay("l2"))
        else:
            measured = measured or _measured(optimizer)
            known.append(measured)
    return known


def pull_of(decay: GroupDecay, group: Mapping[str, Any], peak_lr: Number, gain: Number | None) -> Number:
    """Return the pull of a group whose step does not record it; NaN where it cannot be told.

    For L2 under SGD it is what the decay amounts to while the lr is small: ηλ(1−dampening)/(1−momentum).
    """
    strength, lr = group.get("weight_decay", 0.0), lr_of(dict(group))
    formulas: dict[str, Callable[[], Number]] = {
        "none": lambda: 0.0,
        "vanilla": lambda: strength,
        "decoupled": lambda: lr * strength,
        "independent": lambda: strength * lr / peak_lr,
        "corrected": lambda: strength * lr * lr / peak_lr,
    }
    if gain is not None and (decay.kind == "stable" or (decay.kind == "l2" and "momentum" in group)):
        formulas[decay.kind] = lambda: lr * strength * gain
    kind = decay.kind.removeprefix(MASKED).removesuffix(")")
    return formulas[kind]() * decay.ratio if kind in formulas else math.nan


def gain_name(optimizer: torch.optim.Optimizer) -> str | None:
    """Return "adam" or "sgd" for optimizers whose gain is 1/√v̄ or a constant; None for others."""
    if isinstance(optimizer, Optimizer):
        return _own(optimizer)
    name = next((KNOWN[cls.__name__] for cls in type(optimizer).__mro__ if cls.__name__ in KNOWN), None)
    return name if name in ("adam", "sgd") else None


def gain_of(name: str | None, group: Mapping[str, Any], mean_square: Number | None) -> Number | None:
    """Return by how much the update multiplies a gradient; None where that is not known."""
    if name == "sgd" and "momentum" in group:
        return GAINS["sgd"].of(dict(group), 0.0, torch.ones(()))
    if name == "adam" and mean_square is not None:
        return GAINS["adam"].of(dict(group), mean_square, torch.ones(()))
    return None


def _own(optimizer: torch.optim.Optimizer) -> str | None:
    """Return the gain of ours: subclasses of Adam have others, but for those that only have another decay."""
    if isinstance(optimizer, SGD):
        return "sgd"
    return "adam" if isinstance(optimizer, Adam) and optimizer.method == Adam.method else None


def _of_decay(decay: Decay) -> GroupDecay:
    if decay.enters_gradient:
        return GroupDecay("l2")
    name = repr(decay).partition("(")[0].lower()
    if decay.uniform:
        return GroupDecay(name, recorded=True)
    if type(decay) is Cautious and decay.decay.uniform:
        inner = repr(decay.decay).partition("(")[0].lower()
        return GroupDecay(f"{MASKED}{inner})", recorded=True, masked=True)
    return GroupDecay(UNKNOWN, recorded=True)


def _measured(optimizer: torch.optim.Optimizer) -> GroupDecay:
    """Measure the class, built with the options that this optimizer was built with."""
    known = inspect.signature(type(optimizer)).parameters
    skipped = ("lr", "weight_decay", "params", "fused", "capturable")
    options = {
        name: value
        for name, value in optimizer.defaults.items()
        if name in known and name not in skipped and value != known[name].default
    }
    try:
        got = measure(type(optimizer), **options)
    except MeasureError:
        return GroupDecay(UNKNOWN)
    if got.kind in ("unnamed", "elementwise") or got.low < 0:
        return GroupDecay(UNKNOWN)
    scaled = "d" in optimizer.param_groups[0] or math.isnan(got.low) or got.kind == "l2"  # lr_of knows d itself
    return GroupDecay(got.kind, ratio=1.0 if scaled else (got.low + got.high) / 2, masked=got.kind.startswith(MASKED))
