"""Networks by name: each a function of the data's facts and its own options that returns fresh weights.

Names and options are known without torch; the file of a network is imported when one is built.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from weightdecay.checks import unknown
from weightdecay.lab.data.base import Facts
from weightdecay.lab.models.options import checked
from weightdecay.lab.run import Options

if TYPE_CHECKING:
    from torch import nn

IMAGES, TOKENS = "images", "tokens"
SMALLEST = 8
"""Pixels a side that every image network can work with."""

# Network → the file it is in, the data it is for, and its options.
NETWORKS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "resnet8": ("resnet", IMAGES, ("width",)),
    "resnet20": ("resnet", IMAGES, ("width",)),
    "smallcnn": ("small", IMAGES, ("width", "norm")),
    "resnet18": ("resnet", IMAGES, ()),
    "resnet34": ("resnet", IMAGES, ()),
    "resnet50": ("resnet", IMAGES, ()),
    "vgg16": ("vgg", IMAGES, ()),
    "vgg16plain": ("vgg", IMAGES, ()),
    "densenet121": ("densenet", IMAGES, ()),
    "googlenet": ("googlenet", IMAGES, ("paper_eps",)),
    "lstm": ("lstm", TOKENS, ("embedding", "hidden", "layers", "dropout")),
    "transformer": ("transformer", TOKENS, ("embedding", "heads", "layers", "dropout")),
}


def names() -> tuple[str, ...]:
    """Return what a run's ``network`` may be."""
    return tuple(NETWORKS)


def check(name: str, options: Options = ()) -> None:
    """Refuse an unknown name or option (with the nearest), or a value that an option cannot take. Raises: ValueError.

    >>> check("resnet8", (("width", 0),))
    Traceback (most recent call last):
    ValueError: width=0 of the network 'resnet8' must be a whole number of channels, 1 or more.
    """
    if name not in NETWORKS:
        raise ValueError(unknown("network", name, NETWORKS))
    checked(name, options, NETWORKS[name][2])


def build(name: str, facts: Facts, seed: int, options: Options = ()) -> nn.Module:
    """Return the network of that name, its weights a function of the seed; the global generator is left alone.

    Raises: ValueError, as :func:`check` does, for data that the network is not for, or weights that no memory holds.
    """
    import torch

    check(name, options)
    file, kind, known = NETWORKS[name]
    _check(name, kind, facts)
    network: Callable[..., nn.Module] = getattr(import_module(f"{__name__}.{file}"), name)
    # Drawn on the CPU, so that the weights do not depend on the device.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        try:
            return network(facts, **checked(name, options, known))
        except (RuntimeError, MemoryError) as error:  # as torch's allocator says it
            if "alloc" not in str(error) and not isinstance(error, MemoryError):
                raise
            given = " ".join(f"{option}={value}" for option, value in options)
            raise ValueError(f"the network {name!r} with {given} does not fit into memory. Make it smaller.") from None


def _check(name: str, kind: str, facts: Facts) -> None:
    given = IMAGES if facts.channels else TOKENS
    if given != kind:
        fitting = ", ".join(other for other, (_, what, _) in NETWORKS.items() if what == given)
        raise ValueError(
            f"the network {name!r} is for {kind}, and the data are {given}. Networks for {given}: {fitting}."
        )
    if kind == IMAGES and facts.size < SMALLEST:
        raise ValueError(
            f"images of {facts.size} pixels per side are too small for the network {name!r}: it needs {SMALLEST}. "
            "Use larger images."
        )


__all__ = ["build", "check", "names"]
