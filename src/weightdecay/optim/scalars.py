"""Arithmetic on one number, whether it is a Python float or a 0-d tensor that must not be waited for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from weightdecay.decay import Number


def readable(device: torch.device) -> bool:
    """Whether a number there can be read without waiting for anything."""
    return device.type == "cpu"


def on_accelerator(value: Any) -> bool:
    """Whether reading the number would wait for a device."""
    return isinstance(value, Tensor) and not readable(value.device)


def host_number(value: Number) -> Number:
    """Return a 0-d tensor that can be read at once as a float; another, which stays on its device, as it is."""
    return value.item() if isinstance(value, Tensor) and readable(value.device) else value


def choose(condition: bool | Tensor, yes: Number, no: Number) -> Number:
    """Return ``yes`` where the condition holds, else ``no``; both are computed."""
    if isinstance(condition, Tensor):
        if not isinstance(yes, Tensor):  # two Python numbers would become float32
            yes = torch.full((), yes, dtype=torch.float64, device=condition.device)
        return torch.where(condition, yes, no)
    return yes if condition else no


def clip(value: Number, low: Number, high: Number) -> Number:
    """Return the value, not below ``low`` and not above ``high``."""
    value = choose(value < low, low, value)
    return choose(value > high, high, value)


def capped(pull: Any) -> Any:
    """Return the pull, at most 1: more would carry a weight past what it is pulled towards."""
    return min(float(pull), 1.0) if isinstance(pull, (int, float)) else pull.clamp(max=1)
