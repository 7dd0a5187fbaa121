"""What ``weight_decay`` means for the groups of an optimizer: its decay, and the pull at the present learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from weightdecay.attaching import Handle
from weightdecay.attaching.gains import GAINS, lr_of
from weightdecay.decay import L2, Decay, Decoupled, Step
from weightdecay.decay.parse import decay_of
from weightdecay.optim import Optimizer

DECOUPLED = ("AdamW", "Muon", "Adafactor")
"""Optimizers of torch that multiply the weight by 1 − lr·λ (torch 2.15)."""
COUPLED = ("SGD", "Adam", "NAdam", "RAdam", "Adamax", "Adagrad", "Adadelta", "RMSprop", "ASGD")
"""Those that add λθ to the gradient; Adam, NAdam and RAdam do not where a group says ``decoupled_weight_decay``."""


@dataclass(frozen=True)
class Meaning:
    """What one group's λ does."""

    decay: str
    """Its name for the table: the repr of a decay, or "as its own"."""
    pull: float | None
    """The fraction by which a weight shrinks in one step at the present lr; None where it is not known."""
    rule: Decay | None
    """The decay itself, where it is one of this package's kind."""
    keeps_small: bool = False
    """Whether a pull below the spacing of the numbers is kept, by rounding stochastically or with compensation."""
    unread: str = ""
    """The decay in the group, where nothing reads it."""


def meaning_of(optimizer: Any, place: int) -> Meaning:
    """Return what λ of the group at this place means.

    This package's optimizers and attached handles are asked; those of torch are known by the class whose ``step`` runs.
    Any other optimizer does "as its own", and no pull is claimed. A list of groups has no meaning yet.
    """
    group = optimizer.param_groups[place]
    if isinstance(optimizer, Optimizer):
        decay = decay_of(group["decay"], f"group {place}")
        pull = _pull(decay, group, group["peak_lr"], _at(optimizer.pulls, place))
        return Meaning(repr(decay), pull, decay, keeps_small=optimizer.rounding != "nearest")
    unread = repr(group["decay"]) if "decay" in group else ""
    if not isinstance(optimizer, torch.optim.Optimizer):
        return Meaning(unread or "–", None, decay_of(group["decay"], f"group {place}") if unread else None)
    handle = Handle.of(optimizer)
    if handle is not None:
        decay = decay_of(group.get("decay", handle.decay), f"group {place}")
        return Meaning(repr(decay), _pull(decay, group, _at(handle.peak_lrs, place), _at(handle.pulls, place)), decay)
    kind = _kind(optimizer)
    if kind in DECOUPLED or (kind in COUPLED and group.get("decoupled_weight_decay")):
        return Meaning("Decoupled()", _product(group), Decoupled(), unread=unread)
    if kind in COUPLED:
        gain = float(GAINS["sgd"].of(group, 1.0, torch.ones(()))) if kind == "SGD" else None
        lr_strength = _product(group)
        pull = None if gain is None or lr_strength is None else gain * lr_strength
        return Meaning("L2()", pull, L2(), keeps_small=True, unread=unread)
    named = "as its own" if "weight_decay" in group else "has none"
    return Meaning(f"{named} ({type(optimizer).__name__})", None, None, unread=unread)


def _kind(optimizer: torch.optim.Optimizer) -> str:
    """The class of torch whose step runs; nothing where a subclass or a wrapper has its own."""
    step = type(optimizer).step
    return step.__qualname__.partition(".")[0] if step.__module__.startswith("torch.optim.") else ""


def _at(numbers: list[float], place: int) -> float | None:
    return numbers[place] if place < len(numbers) else None


def _product(group: Mapping[str, Any]) -> float | None:
    lr, strength = group.get("lr"), group.get("weight_decay")
    return None if lr is None or strength is None else float(lr) * float(strength)


def _pull(decay: Decay, group: Any, peak_lr: Any, measured: float | None) -> float | None:
    """The pull from λ and lr where they are enough; else that of the last step, if there was one."""
    if decay.enters_gradient:
        return None
    strength = float(group["weight_decay"])
    if strength == 0:
        return 0.0
    lr = float(lr_of(group))
    try:
        return float(decay.pull(Step(strength, lr, lr if peak_lr is None else float(peak_lr))))
    except TypeError:  # it reads a fact of the step
        return measured or None
