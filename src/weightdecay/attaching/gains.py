"""By how much the update of somebody else's optimizer multiplies a gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from weightdecay.checks import unknown
from weightdecay.decay import Decay, Number
from weightdecay.optim.member import Group
from weightdecay.optim.radam import rectification
from weightdecay.optim.scalars import choose, inverse_power


@dataclass(frozen=True)
class Gain:
    """Of (group, v̄, t) one number, or one a tensor where t enters: the step counts of the group's tensors."""

    of: Callable[[Group, Number, Tensor], Number]
    needs: tuple[str, ...] = ()  # what the group must hold
    reads_mean_square: bool = False


def lr_of(group: Group) -> Number:
    """Return η of the next step: the group's lr, times d where the optimizer finds its step size d itself.

    Source: D-Adaptation (arXiv:2301.07733) and Prodigy (arXiv:2306.06101), whose groups hold d and the step count k.
    """
    lr: Number = group["lr"]
    if "d" not in group:
        return lr
    rate: Number = lr * group["d"]
    if group.get("use_bias_correction"):
        beta1, beta2 = group["betas"][:2]
        rate = rate * ((1 - beta2 ** (group["k"] + 1)) ** 0.5 / (1 - beta1 ** (group["k"] + 1)))
    return rate


def _adam(group: Group, mean_square: Number, t: Tensor) -> Number:
    return inverse_power(mean_square, 0.5)


def _radam(group: Group, mean_square: Number, t: Tensor) -> Number:
    rectified, factor = rectification(group["betas"][1], {"step": t})
    return choose(rectified, factor * inverse_power(mean_square, 0.5), 1.0)


def _ademamix(group: Group, mean_square: Number, t: Tensor) -> Number:
    """(1 + α) v̄^(−1/2): the slow moment average is added α times; α rises over the first ``t_alpha_beta3`` steps."""
    alpha, warmup = group["alpha"], group.get("t_alpha_beta3")
    if warmup:
        alpha = (t * alpha / warmup).clamp(max=alpha)
    gain: Number = (1 + alpha) * inverse_power(mean_square, 0.5)
    return gain


def _sgd(group: Group, mean_square: Number, t: Tensor) -> Number:
    momentum: float = group["momentum"]
    return (1 - group.get("dampening", 0)) / (1 - momentum) if momentum else 1.0


GAINS = {
    "adam": Gain(_adam, ("betas",), reads_mean_square=True),
    "ademamix": Gain(_ademamix, ("betas", "alpha"), reads_mean_square=True),
    "radam": Gain(_radam, ("betas",), reads_mean_square=True),
    "sgd": Gain(_sgd, ("momentum",)),
}
KNOWN = {
    # torch.optim, timm. NAdam: as SGD's, its gain is that of the filled buffer; the transient is dropped.
    **dict.fromkeys(("Adam", "AdamW", "NAdam", "NAdamW", "AdamWLegacy"), "adam"),
    **dict.fromkeys(("SGD", "SGDW"), "sgd"),
    "RAdam": "radam",
    "AdEMAMix": "ademamix",
    # bitsandbytes, torchao: Adam with its moments kept in few bits
    **dict.fromkeys(("Adam8bit", "Adam32bit", "PagedAdam", "PagedAdam8bit", "PagedAdam32bit"), "adam"),
    **dict.fromkeys(("AdamW8bit", "AdamW32bit", "PagedAdamW", "PagedAdamW8bit", "PagedAdamW32bit"), "adam"),
    **dict.fromkeys(("Adam4bit", "AdamW4bit", "AdamFp8", "AdamWFp8", "_Adam", "_AdamW"), "adam"),
    **dict.fromkeys(("SGD8bit", "SGD32bit"), "sgd"),
    # apex, DeepSpeed, ColossalAI: Adam in one kernel
    **dict.fromkeys(("FusedAdam", "DeepSpeedCPUAdam", "CPUAdam", "HybridAdam"), "adam"),
    "FusedSGD": "sgd",
}
"""The gain of an optimizer, by the name of its class or of the nearest of its bases that is listed."""
WITHOUT = {
    **dict.fromkeys(("Lion", "Lion8bit", "Lion32bit", "PagedLion", "PagedLion8bit", "PagedLion32bit"), "takes a sign"),
    **dict.fromkeys(("SignSGD", "Signum", "Rprop", "FusedLion", "DeepSpeedCPULion"), "takes a sign"),
    **dict.fromkeys(("Muon", "MuonWithAuxAdam", "SingleDeviceMuon", "DistMuon"), "makes a matrix orthogonal"),
}
"""Optimizers without a gain: what they do to a gradient instead of multiplying it."""


AWAY = ("MADGRAD", "MirrorMADGRAD", "AdamWScheduleFree", "SGDScheduleFree", "RAdamScheduleFree", "ScheduleFreeWrapper")
"""Optimizers that keep other weights in their state and make the weights anew from them."""


def find_gain(optimizer: torch.optim.Optimizer, gain: Any, decay: Decay) -> Gain | None:
    """Return the gain asked for, or that of the optimizer's type; None where the decay does not read it.

    Raises: TypeError, where the decay reads a gain that the optimizer does not have or that nobody has told;
            ValueError, for a name or a number that is no gain.
    """
    found = _explicit(gain) if gain is not None else None
    if found is not None or "mean_gain" not in decay.needs:
        return found
    kind, instead = type(optimizer).__name__, "Decoupled(), Independent() and Vanilla() need no gain"
    if gain is None:
        for cls in type(optimizer).__mro__:
            if cls.__name__ in KNOWN:
                return GAINS[KNOWN[cls.__name__]]
            if cls.__name__ in WITHOUT:
                raise TypeError(
                    f"{decay!r} reads by how much the update multiplies a gradient; {kind} multiplies none, it "
                    f"{WITHOUT[cls.__name__]}. {instead}; gain= takes a number, or a function of the group, that you "
                    "answer for."
                )
    raise TypeError(
        f"{decay!r} reads by how much the update multiplies a gradient, which is not known of {kind}"
        f'{f" with gain={gain!r}" if gain else ""}. Pass gain="adam" or "sgd" where the update is theirs, a number, or '
        f"a function of the group; {instead}."
    )


def _explicit(gain: Any) -> Gain | None:
    if isinstance(gain, str):
        if gain not in (*GAINS, "none"):
            raise ValueError(f"gain={gain!r}: {unknown('gain', gain, (*GAINS, 'none'))}")
        return GAINS.get(gain)
    if callable(gain):
        return Gain(lambda group, mean_square, t: gain(group))
    if isinstance(gain, bool) or not isinstance(gain, (int, float)):
        raise TypeError(f"gain={gain!r} is neither a name, nor a number, nor a function of the group.")
    if not 0 <= gain < math.inf:
        raise ValueError(f"gain={gain!r}: a gain is a finite number, 0 or above.")
    return Gain(lambda group, mean_square, t: float(gain))
