"""By how much the update of somebody else's optimizer multiplies a gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from weightdecay.attaching.second import Second, beta2_of
from weightdecay.checks import unknown
from weightdecay.decay import Decay, Number
from weightdecay.optim.adam import inverse_power
from weightdecay.optim.member import Group
from weightdecay.optim.radam import rectification
from weightdecay.optim.scalars import choose


@dataclass(frozen=True)
class Gain:
    """Of (group, v̄, t) one number, or one per tensor where t enters: the step counts of the group's tensors."""

    of: Callable[[Group, Number, Tensor], Number]
    needs: tuple[str, ...] = ()  # what the group must hold
    second: Second | None = None  # how v is kept, whose mean enters
    reads_t: bool = False  # else the step counts it is given may be any

    @property
    def reads_mean_square(self) -> bool:
        """Whether it follows from v̄."""
        return self.second is not None


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
    rectified, factor = rectification(beta2_of(group), {"step": t})
    return choose(rectified, factor * inverse_power(mean_square, 0.5), 1.0)


def _ademamix(group: Group, mean_square: Number, t: Tensor) -> Number:
    """(1 + α) v̄^(−1/2): the slow moment average is added α times; α rises over the first ``t_alpha_beta3`` steps."""
    alpha, warmup = group["alpha"], group.get("t_alpha_beta3")
    if warmup:
        alpha = (t * alpha / warmup).clamp(max=alpha)
    gain: Number = (1 + alpha) * inverse_power(mean_square, 0.5)
    return gain


def _rmsprop(group: Group, mean_square: Number, t: Tensor) -> Number:
    """v̄^(−1/2), without bias correction, times the gain of a filled momentum buffer."""
    gain: Number = inverse_power(mean_square, 0.5) / (1 - group["momentum"])
    return gain


def _sgd(group: Group, mean_square: Number, t: Tensor) -> Number:
    """(1 − dampening)/(1 − momentum). optimi writes dampening=True for a dampening as large as the momentum."""
    momentum, dampening = group["momentum"], group.get("dampening", 0)
    if not momentum or dampening is True:
        return 1.0
    return float((1 - dampening) / (1 - momentum))


_RMSPROP = Second(beta2=lambda group: float(group["alpha"]), corrected=lambda group: False, key="square_avg")
_ADOPT = Second(corrected=lambda group: False, lagging=True)
GAINS = {
    "adam": Gain(_adam, ("betas",), Second()),
    "ademamix": Gain(_ademamix, ("betas", "alpha"), Second(), reads_t=True),
    "adopt": Gain(_adam, ("betas",), _ADOPT),
    "radam": Gain(_radam, ("betas",), Second(), reads_t=True),
    "rmsprop": Gain(_rmsprop, ("alpha", "momentum"), _RMSPROP),
    "sgd": Gain(_sgd, ("momentum",)),
}
KNOWN = {
    # torch.optim, timm. NAdam: as SGD's, its gain is that of the filled buffer; the transient is dropped.
    **dict.fromkeys(("Adam", "AdamW", "NAdam", "NAdamW", "AdamWLegacy"), "adam"),
    **dict.fromkeys(("SGD", "SGDW"), "sgd"),
    "RAdam": "radam",
    "AdEMAMix": "ademamix",
    "RMSprop": "rmsprop",
    **dict.fromkeys(("ADOPT", "Adopt"), "adopt"),
    # Adam's v under another momentum (LaProp), as a mean over blocks (Adam-mini), before a clip (StableAdamW)
    **dict.fromkeys(("LaProp", "AdamMini", "StableAdamW"), "adam"),
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
        return _as_kept(found, optimizer)
    kind, instead = type(optimizer).__name__, "Decoupled(), Independent() and Vanilla() need no gain"
    if gain is None:
        for cls in type(optimizer).__mro__:
            if cls.__name__ in KNOWN:
                return _as_kept(GAINS[KNOWN[cls.__name__]], optimizer)
            if cls.__name__ in WITHOUT:
                raise TypeError(
                    f"{decay!r} needs the gain of the update; {kind} has none, because it "
                    f"{WITHOUT[cls.__name__]}. {instead}; gain= takes a number, or a function of the group, at your "
                    "own responsibility."
                )
    raise TypeError(
        f"{decay!r} needs the gain of the update, which is not known for {kind}"
        f'{f" with gain={gain!r}" if gain else ""}. Pass gain="adam" or "sgd" where the update is theirs, a number, or '
        f"a function of the group; {instead}."
    )


def _as_kept(gain: Gain | None, optimizer: torch.optim.Optimizer) -> Gain | None:
    """Return the gain, with v as this optimizer keeps it.

    optimi, whose groups hold ``beta2``, and StableAdamW correct β₂ in every step, by which v itself is v̂.
    """
    if gain is None or gain.second is None or gain.second.lagging:
        return gain
    is_hat = type(optimizer).__name__ == "StableAdamW" or any("beta2" in group for group in optimizer.param_groups)
    return replace(gain, second=replace(gain.second, key=None)) if is_hat else gain


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
