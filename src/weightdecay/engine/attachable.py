"""What a decay can be attached to, and what is said where it cannot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from weightdecay.checks import NON_NEGATIVE, check_ranges
from weightdecay.decay import Decay
from weightdecay.engine.gains import Gain, Live
from weightdecay.optim import scalars
from weightdecay.optim.base import Optimizer
from weightdecay.optim.member import Group


def reads_mean_square(decay: Decay, gain: Gain | None) -> bool:
    """Whether the pull follows from v̄."""
    return "mean_gain" in decay.needs and gain is not None and gain.reads_mean_square


def refuse(optimizer: Any, decay: Any) -> None:
    """Refuse what no group could mend."""
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(f"attach({type(optimizer).__name__}): expected a torch.optim.Optimizer.")
    if not isinstance(decay, Decay):
        raise TypeError(
            f"decay={decay!r} is not a Decay. Pass an object: Vanilla(), Decoupled(), Independent() or Stable()."
        )
    if isinstance(optimizer, Optimizer):
        raise TypeError(
            f"{type(optimizer).__name__} takes any decay itself: pass decay={decay!r} instead of attaching."
        )
    if type(decay).couple is not Decay.couple:
        raise TypeError(
            f"attach() only shrinks weights before the step; {decay!r} enters the gradient, and p.grad is never "
            "written. Use the optimizer's own weight_decay, where it means L2, or Adam(..., decay=...)."
        )
    if not decay.uniform:
        raise TypeError(
            f"attach() only shrinks weights before the step; {decay!r} needs the gain of every element. "
            "Use Adam(..., decay=...)."
        )


def check_group(optimizer: torch.optim.Optimizer, decay: Decay, gain: Gain | None, group: Group, where: str) -> None:
    """Refuse a group whose λ or gain is not known, or whose step is not the one that the decay takes it for."""
    name = type(optimizer).__name__
    if "weight_decay" not in group:
        raise ValueError(f"{where} of {name} has no weight_decay, so λ is not known. Pass attach(weight_decay=...).")
    if not scalars.on_accelerator(group["weight_decay"]):
        check_ranges(group, {"weight_decay": NON_NEGATIVE}, where)
    if group.get("differentiable"):
        raise ValueError(f"differentiable=True in {where}: attach() shrinks weights outside of autograd.")
    if reads_mean_square(decay, gain) and group.get("amsgrad"):
        raise ValueError(
            f"amsgrad=True in {where}: {decay!r} reads the mean of v, and its maximum does not follow from "
            "the norms of the gradients. Use weightdecay.AMSGrad(..., decay=...)."
        )
    missing = [key for key in (gain.needs if "mean_gain" in decay.needs and gain else ()) if key not in group]
    if missing:
        raise ValueError(
            f"{where} of {name} has no {missing[0]!r}, from which its gain follows. Pass gain= as a number, or a "
            "function of the group."
        )


def refuse_gradients(optimizer: torch.optim.Optimizer, decay: Decay, live: Sequence[Live]) -> None:
    """Refuse gradients whose norms are not those of the step: scaled ones, and sparse ones."""
    if getattr(optimizer, "grad_scale", None) is not None:
        for name in ("grad_scale", "found_inf"):
            # torch's GradScaler takes them off after the step, which will not be; left, they would spoil the next.
            if hasattr(optimizer, name):
                delattr(optimizer, name)
        raise ValueError(
            f"the gradients are still multiplied by the GradScaler's scale, and {decay!r} reads their norms. "
            "Call scaler.unscale_(optimizer) before scaler.step(optimizer)."
        )
    sparse = next((m for m in live if m.param.grad is not None and m.param.grad.layout != torch.strided), None)
    if sparse is not None:
        raise RuntimeError(
            f"a parameter of shape {tuple(sparse.param.shape)} has a sparse gradient, and the mean that "
            f"{decay!r} reads is over every element. Use sparse=False in the layer, or Decoupled()."
        )
