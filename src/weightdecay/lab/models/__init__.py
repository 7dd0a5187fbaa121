"""Networks by name: each a function of (channels, classes, width) that returns a module with fresh weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from weightdecay.lab.models.resnet import resnet8
from weightdecay.optim.hyper import unknown

MODELS: dict[str, Callable[[int, int, int], nn.Module]] = {"resnet8": resnet8}


def build(name: str, channels: int, classes: int, width: int, seed: int) -> nn.Module:
    """Return the network of that name, its weights a function of the seed; the global generator is left alone.

    Raises: ValueError for an unknown name, with the nearest.
    """
    if name not in MODELS:
        raise ValueError(unknown("network", name, MODELS))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MODELS[name](channels, classes, width)


__all__ = ["MODELS", "build"]
