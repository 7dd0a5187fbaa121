"""Networks by name: each a function of the data's facts and its own options that returns fresh weights."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module

import torch
from torch import nn

from weightdecay.checks import unknown
from weightdecay.lab.data.base import Facts
from weightdecay.lab.models.options import checked
from weightdecay.lab.run import Options

IMAGES, TOKENS = "images", "tokens"
SMALLEST = 8
"""Pixels a side that every image network can work with."""

# Network → the file it is in and the data it is for; a file is imported when a network of it is built.
NETWORKS: dict[str, tuple[str, str]] = {
    "resnet8": ("resnet", IMAGES),
    "resnet20": ("resnet", IMAGES),
    "smallcnn": ("small", IMAGES),
    "resnet18": ("resnet", IMAGES),
    "resnet34": ("resnet", IMAGES),
    "resnet50": ("resnet", IMAGES),
    "vgg16": ("vgg", IMAGES),
    "vgg16plain": ("vgg", IMAGES),
    "densenet121": ("densenet", IMAGES),
    "googlenet": ("googlenet", IMAGES),
    "lstm": ("lstm", TOKENS),
    "transformer": ("transformer", TOKENS),
}


def names() -> tuple[str, ...]:
    """Return what a run's ``network`` may be."""
    return tuple(NETWORKS)


def build(name: str, facts: Facts, seed: int, options: Options = ()) -> nn.Module:
    """Return the network of that name, its weights a function of the seed; the global generator is left alone.

    Raises: ValueError, for an unknown name or option (with the nearest), a value that an option cannot take, or data
    that the network is not for.
    """
    if name not in NETWORKS:
        raise ValueError(unknown("network", name, NETWORKS))
    file, kind = NETWORKS[name]
    _check(name, kind, facts)
    network: Callable[..., nn.Module] = getattr(import_module(f"{__name__}.{file}"), name)
    known = inspect.getfullargspec(network).kwonlyargs
    values = checked(name, options, known)
    # Drawn on the CPU, so that the weights do not depend on the device.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        return network(facts, **values)


def _check(name: str, kind: str, facts: Facts) -> None:
    given = IMAGES if facts.channels else TOKENS
    if given != kind:
        fitting = ", ".join(other for other, (_, what) in NETWORKS.items() if what == given)
        raise ValueError(
            f"the network {name!r} is for {kind}, and the data are {given}. Networks for {given}: {fitting}."
        )
    if kind == IMAGES and facts.size < SMALLEST:
        raise ValueError(
            f"images of {facts.size} pixels a side are too small for the network {name!r}: it needs {SMALLEST}. "
            "Use larger images."
        )


__all__ = ["build", "names"]
