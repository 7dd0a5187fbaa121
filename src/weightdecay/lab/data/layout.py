"""How images and weights lie in memory: channels-last where a run asks for it, and never where torch would crash.

oneDNN, which computes convolutions for torch on a CPU, writes past the end of its memory in the backward pass of one
kind of layer: a 1×1 convolution with a stride, of few channels, in channels-last, on a CPU without AVX-512 (oneDNN
issue 6035). Such a layer is computed contiguous on every CPU: the decision is made from the network alone, so that the
layout of a run is the same everywhere. All other layers, and the images, keep what the run asks for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from weightdecay.lab.run import Place, Run

FEW = 8
"""Input channels from which on oneDNN's kernel is sound: the numbers in one register of AVX2."""


def format_of(run: Run) -> torch.memory_format:
    """Return the layout that a run asks for."""
    return torch.channels_last if run.channels_last else torch.contiguous_format


def laid_out(model: nn.Module, run: Run, place: Place) -> nn.Module:
    """Return the network as it lies in memory in this run, in place.

    Weights that FSDP shards stay contiguous, as it requires.
    """
    on_cpu = torch.device(place.device).type == "cpu"
    sharded = place.world > 1 and run.strategy == "fsdp"
    if run.channels_last and not sharded and not (on_cpu and _unseen(model)):
        model = model.to(memory_format=torch.channels_last)
    for layer in fragile(model) if on_cpu else ():
        for weight in layer.parameters():
            # Not weight.contiguous(): a 1×1 weight counts as contiguous with the strides of either layout.
            weight.data = torch.empty_like(weight, memory_format=torch.contiguous_format).copy_(weight.data)
        layer.register_forward_pre_hook(_contiguous, with_kwargs=True)
    return model


def compiled(model: nn.Module, place: Place) -> None:
    """Compile the network in place. The compiler chooses channels-last by itself on a CPU, unless it is told not to."""
    on_cpu = torch.device(place.device).type == "cpu"
    model.compile(options={"layout_optimization": False} if on_cpu and (fragile(model) or _unseen(model)) else None)


def fragile(model: nn.Module) -> list[nn.Module]:
    """Return the layers that crash in channels-last.

    >>> model = nn.Sequential(nn.Conv2d(4, 8, 1, stride=2), nn.Conv2d(8, 8, 1, stride=2), nn.Conv2d(4, 8, 3, stride=2))
    >>> fragile(model) == [model[0]]
    True
    """
    return [module for module in model.modules() if _is_fragile(module)]


def _is_fragile(module: nn.Module) -> bool:
    if not isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) or module.groups > 1:
        return False
    # A transposed convolution is the backward pass of one whose inputs are its outputs.
    channels = module.in_channels if isinstance(module, nn.Conv2d) else module.out_channels
    return tuple(module.kernel_size) == (1, 1) and max(module.stride) > 1 and channels < FEW


def _unseen(model: nn.Module) -> bool:
    """Whether the network has such a weight outside of a layer of torch's: its stride stands in code."""
    layers = [module for module in model.modules() if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))]
    seen = {id(weight) for layer in layers for weight in layer.parameters()}
    loose: Iterator[Tensor] = (weight for weight in model.parameters() if id(weight) not in seen)
    return any(weight.ndim == 4 and weight.shape[2:] == (1, 1) and 1 < weight.shape[1] < FEW for weight in loose)


def _contiguous(
    layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return tuple(map(_one, args)), {name: _one(value) for name, value in kwargs.items()}


def _one(value: Any) -> Any:
    return value.contiguous() if isinstance(value, Tensor) else value
