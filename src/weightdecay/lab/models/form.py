"""What torchvision's networks become here: a stem for the size of the images, and PyTorch's default initialisation."""

from __future__ import annotations

from torch import nn

from weightdecay.lab.data.base import Facts

SMALL = 64
"""Pixels a side up to which a network keeps the resolution in its stem."""


def small(facts: Facts) -> bool:
    """Whether the images are too small for the stem made for 224 pixels, which would leave a quarter of a side."""
    return facts.size <= SMALL


def default_weights(model: nn.Module) -> nn.Module:
    """Give every layer the initialisation that PyTorch gives it by default, in place; return the model.

    The paper's networks use it, where torchvision's initialise on their own.
    """
    for module in model.modules():
        reset = getattr(module, "reset_parameters", None)
        if reset is not None:
            reset()
    return model
