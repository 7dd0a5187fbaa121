"""What a decay can be attached to, and what is said where it cannot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from weightdecay.attaching.gains import AWAY
from weightdecay.attaching.options import Options
from weightdecay.checks import NON_NEGATIVE, check_ranges
from weightdecay.decay import Decay
from weightdecay.optim import scalars
from weightdecay.optim.base import Optimizer

HOOKS = ("step_pre", "step_post", "state_dict_pre", "state_dict_post", "load_state_dict_pre", "load_state_dict_post")
"""The hooks of a torch.optim.Optimizer through which a handle acts."""


NOT_OF_NORMS = {"amsgrad": "its maximum", "ams_bound": "its maximum", "centered": "the variance of the gradients"}
"""Options with which a step divides by another number than v, and by which."""


def unwrapped(optimizer: Any) -> Any:
    """Return the optimizer inside that of ``accelerator.prepare``, which steps it and shows its groups and state."""
    while type(optimizer).__name__ == "AcceleratedOptimizer":
        optimizer = optimizer.optimizer
    return optimizer


def refuse(optimizer: Any, decay: Any) -> None:
    """Refuse what no group could mend."""
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(f"attach({type(optimizer).__name__}): expected a torch.optim.Optimizer.")
    if isinstance(optimizer, Optimizer):
        raise TypeError(
            f"{type(optimizer).__name__} takes any decay itself: pass decay={decay!r} instead of attaching."
        )
    _refuse_wrapper(optimizer)
    refuse_decay(decay)


def refuse_decay(decay: Decay) -> None:
    """Refuse a decay that acts inside the optimizer's step."""
    if decay.enters_gradient:
        raise TypeError(
            f"attach() moves weights before and after the step; {decay!r} enters the gradient, and p.grad is never "
            "written. Use the optimizer's own weight_decay, where it means L2, or Adam(..., decay=...)."
        )
    if "gain" in decay.needs:
        raise TypeError(
            f"attach() moves weights before and after the step; {decay!r} needs the gain of every element, which is "
            "inside it. Use Adam(..., decay=...)."
        )


def _refuse_wrapper(optimizer: torch.optim.Optimizer) -> None:
    """Refuse an object that has torch's class but hands its step to another optimizer, or makes weights anew."""
    name = type(optimizer).__name__
    inner = next(
        ((key, value) for key, value in vars(optimizer).items() if isinstance(value, torch.optim.Optimizer)), None
    )
    _refuse_container(optimizer)
    out = f" Attach to the optimizer inside: attach(optimizer.{inner[0]}, ...)." if inner else ""
    missing = [hook for hook in HOOKS if not hasattr(optimizer, f"_optimizer_{hook}_hooks")]
    missing += [part for part in ("state", "param_groups", "defaults") if not hasattr(optimizer, part)]
    if missing or not getattr(type(optimizer).step, "hooked", False):
        raise TypeError(
            f"{name} is a torch.optim.Optimizer by its class only: its step runs no hooks, through which attach() acts."
            f"{out or ' Call super().__init__() in its constructor.'}"
        )
    if inner is not None and not _same_groups(optimizer, inner[1]):
        raise TypeError(f"{name} hands its step to another optimizer, which has groups and a λ of its own.{out}")
    if any("lr" not in group for group in optimizer.param_groups):
        raise TypeError(f"the groups of {name} have no lr, to which the decay belongs.{out}")
    if away := next((cls.__name__ for cls in type(optimizer).__mro__ if cls.__name__ in AWAY), None):
        raise TypeError(
            f"{away} keeps other weights in its state and makes the weights anew from them, so that shrinking the "
            "weights before its step is undone in part. Use its own weight_decay."
        )


def _refuse_container(optimizer: torch.optim.Optimizer) -> None:
    """Refuse an optimizer that steps a list of others, as torchtitan's container of one for each part of a model."""
    for key, value in vars(optimizer).items():
        if isinstance(value, (list, tuple)) and value and all(isinstance(v, torch.optim.Optimizer) for v in value):
            raise TypeError(
                f"{type(optimizer).__name__} hands its step to {len(value)} optimizers, which have groups and a λ of "
                f"their own. Attach to these: attach(optimizer.{key}, ...), and they share one mean."
            )


def _same_groups(a: torch.optim.Optimizer, b: torch.optim.Optimizer) -> bool:
    mine, theirs = a.param_groups, getattr(b, "param_groups", [])
    return len(mine) == len(theirs) and all(x is y for x, y in zip(mine, theirs, strict=True))


def check_group(optimizer: torch.optim.Optimizer, options: Options, where: str) -> None:
    """Refuse a group whose λ or gain is not known, or whose step is not the one that the decay takes it for."""
    name, group, decay, gain = type(optimizer).__name__, options.group, options.decay, options.gain
    if "weight_decay" not in group:
        raise ValueError(f"{where} of {name} has no weight_decay, so λ is not known. Pass attach(weight_decay=...).")
    if group["lr"] is None:
        raise ValueError(
            f"lr=None in {where}: {name} makes a step size of its own, which is not known before its step, and the "
            "decay is multiplied with it. Give the optimizer an lr."
        )
    if not scalars.on_accelerator(group["weight_decay"]):
        check_ranges(group, {"weight_decay": NON_NEGATIVE}, where)
    if group.get("differentiable"):
        raise ValueError(f"differentiable=True in {where}: attach() shrinks weights outside of autograd.")
    for key, what in NOT_OF_NORMS.items():
        if options.reads_mean_square and group.get(key):
            raise ValueError(
                f"{key}=True in {where}: {decay!r} reads the mean of v, and {what} does not follow from the norms of "
                "the gradients. Use weightdecay.AMSGrad(..., decay=...), or Decoupled()."
            )
    there = {*group, "betas"} if "beta2" in group else set(group)
    missing = [key for key in (gain.needs if "mean_gain" in decay.needs and gain else ()) if key not in there]
    if missing:
        raise ValueError(
            f"{where} of {name} has no {missing[0]!r}, from which its gain follows. Pass gain= as a number, or a "
            "function of the group."
        )


def refuse_scaled(optimizer: torch.optim.Optimizer, decay: Decay) -> None:
    """Refuse gradients that a GradScaler has not unscaled: their norms are not those of the step."""
    if getattr(optimizer, "grad_scale", None) is None:
        return
    for name in ("grad_scale", "found_inf"):
        # torch's GradScaler takes them off after the step, which will not be; left, they would spoil the next.
        if hasattr(optimizer, name):
            delattr(optimizer, name)
    raise ValueError(
        f"the gradients are still multiplied by the GradScaler's scale, and {decay!r} reads their norms. "
        "Call scaler.unscale_(optimizer) before scaler.step(optimizer)."
    )


def refuse_sparse(params: Sequence[Tensor], decay: Decay, what: str = "mean") -> None:
    """Refuse sparse gradients."""
    sparse = next((p for p in params if p.grad is not None and p.grad.layout != torch.strided), None)
    if sparse is not None:
        raise RuntimeError(
            f"a parameter of shape {tuple(sparse.shape)} has a sparse gradient, and the {what} that {decay!r} reads is "
            "over every element. Use sparse=False in the layer, or Decoupled()."
        )


class Undeclared:
    """Stands for t where a decay does not name it in its needs: whatever is computed with it is refused."""

    def _refuse(self, *others: Any) -> Any:
        raise TypeError(
            'the decay reads step.t, which attach() counts for those that name it: write needs = frozenset({"t"}), '
            "with what else it needs, into its class."
        )

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refuse
    __pow__ = __rpow__ = __lt__ = __le__ = __gt__ = __ge__ = __float__ = __int__ = __bool__ = __neg__ = _refuse
    __mod__ = __rmod__ = __floordiv__ = __rfloordiv__ = _refuse
