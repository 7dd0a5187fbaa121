"""What every optimizer takes besides its own hyper-parameters, and what it refuses with a reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

import torch

from weightdecay.optim.hyper import POSITIVE, check_ranges, unknown


class Options(TypedDict, total=False):
    """The options; :class:`~weightdecay.Optimizer` explains each."""

    maximize: bool
    peak_lr: float | None
    max_grad_norm: float | None
    engine: str
    nonfinite: str
    rounding: str
    moments: torch.dtype | None
    seed: int
    process_group: Any


TORCH_FLAGS = {
    "foreach": "the implementation is chosen by engine=",
    "fused": "the implementation is chosen by engine=",
    "capturable": "the implementation is chosen by engine=",
    "differentiable": "the step is not differentiable here",
    "amsgrad": "it is an optimizer of its own: AMSGrad, AMSGradW, AMSGradS",
    "decoupled_weight_decay": "say it with an object: decay=Decoupled()",
}
"""Keywords of torch.optim that have another name here; accepted when they are off."""

MODES = {"nonfinite": ("skip", "raise"), "rounding": ("nearest", "stochastic", "compensated")}


def refuse_unknown(name: str, others: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise TypeError for an option that the optimizer called ``name`` does not know."""
    for option, value in others.items():
        if option not in TORCH_FLAGS:
            raise TypeError(f"{name}: {unknown('option', option, known)}")
        if value:
            raise TypeError(f"{name}({option}={value!r}): {TORCH_FLAGS[option]}.")


def check_mode(option: str, value: str, known: Iterable[str]) -> None:
    """Raise ValueError for a mode that there is not."""
    if value not in known:
        raise ValueError(f"{option}={value!r}: {unknown(f'{option} mode', str(value), known)}")


def check_values(nonfinite: str, rounding: str, moments: torch.dtype | None, max_grad_norm: float | None) -> None:
    """Raise ValueError for a value that an option cannot have; TypeError for a norm that is no number."""
    check_mode("nonfinite", nonfinite, MODES["nonfinite"])
    check_mode("rounding", rounding, MODES["rounding"])
    if moments not in (None, torch.bfloat16):
        raise ValueError(f"moments={moments!r}: moments are kept in the working precision (None) or torch.bfloat16.")
    if max_grad_norm is not None:
        check_ranges({"max_grad_norm": max_grad_norm}, {"max_grad_norm": POSITIVE}, "the optimizer")
