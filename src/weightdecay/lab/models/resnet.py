"""Residual networks: for small images on a CPU, and those of the paper."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import pad

from weightdecay.lab.data.base import Facts
from weightdecay.lab.models.form import default_weights, small

Shortcut = Callable[[int, int, int], nn.Module]
"""(channels in, channels out, stride) → what takes the place of the identity where the shape changes."""


def resnet8(facts: Facts, *, width: int = 16) -> nn.Sequential:
    """A stem and three residual blocks of ``width``, 2 and 4 times ``width`` channels: 7 convolutions deep.

    Form: strides 1, 2, 2; shortcuts by 1×1 convolution where the shape changes; PyTorch's default initialisation.
    Shapes: (n, channels, h, w) → (n, classes). Parameters: 77,754 for 1 channel and 10 classes.
    Source: He et al., arXiv:1512.03385, section 4.2.
    """
    return _thin(facts, width, 1, projection)


def resnet20(facts: Facts, *, width: int = 16) -> nn.Sequential:
    """A stem and three stages of three residual blocks of ``width``, 2 and 4 times ``width`` channels.

    Form: strides 1, 2, 2; shortcuts without parameters (the paper's option A: every second pixel, new channels are
    zero), so that all weights are on the residual paths; PyTorch's default initialisation.
    Shapes: (n, channels, h, w) → (n, classes). Parameters: 269,722 for 3 channels and 10 classes.
    Source: He et al., arXiv:1512.03385, section 4.2.
    """
    return _thin(facts, width, 3, Padded)


def resnet18(facts: Facts) -> nn.Module:
    """Four stages of two basic blocks, 64 to 512 channels.

    Form: torchvision's; up to 64 pixels per side with a 3×3 stem of stride 1 and no pooling, and PyTorch's default
    initialisation for all sizes, both as in kuangliu/pytorch-cifar. Shapes: (n, channels, h, w) → (n, classes).
    Parameters: 11,173,962 at 32 pixels for 10 classes. Source: He et al., arXiv:1512.03385.
    """
    return _wide("resnet18", facts)


def resnet34(facts: Facts) -> nn.Module:
    """Four stages of 3, 4, 6 and 3 basic blocks, 64 to 512 channels; otherwise as :func:`resnet18`.

    Parameters: 21,282,122 at 32 pixels for 10 classes.
    """
    return _wide("resnet34", facts)


def resnet50(facts: Facts) -> nn.Module:
    """Four stages of 3, 4, 6 and 3 bottlenecks, 256 to 2048 channels; otherwise as :func:`resnet18`.

    Form: the stride is in a bottleneck's 3×3 convolution, as in kuangliu/pytorch-cifar; He et al. have it in the first
    1×1. Parameters: 25,557,032 at 224 pixels for 1000 classes; 23,520,842 at 32 pixels for 10.
    """
    return _wide("resnet50", facts)


class Block(nn.Module):
    """Two 3×3 convolutions, each with batch normalisation, and a shortcut around them.

    torchvision's ``BasicBlock``, number for number: here so that a small network, in every worker, does without
    torchvision, which imports torch's compiler and takes as long as torch itself.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) → (n, outputs, ⌈h/stride⌉, ⌈w/stride⌉)."""
        y: Tensor = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y.add_(x if self.downsample is None else self.downsample(x)))  # type: ignore[no-any-return]


class Padded(nn.Module):
    """The shortcut without parameters: every ``stride``-th pixel, and zeros for the new channels."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.more, self.stride = outputs - inputs, stride

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) → (n, outputs, ⌈h/stride⌉, ⌈w/stride⌉)."""
        return pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))


def projection(inputs: int, outputs: int, stride: int) -> nn.Module:
    """The shortcut by 1×1 convolution."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


def _thin(facts: Facts, width: int, blocks: int, shortcut: Shortcut) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(facts.channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    ]
    inputs = width
    for outputs, first in ((width, 1), (2 * width, 2), (4 * width, 2)):
        for stride in (first, *[1] * (blocks - 1)):
            changes = stride != 1 or inputs != outputs
            layers.append(Block(inputs, outputs, stride, shortcut(inputs, outputs, stride) if changes else None))
            inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, facts.classes))


def _wide(name: str, facts: Facts) -> nn.Module:
    import torchvision

    model: nn.Module = torchvision.models.get_model(name, num_classes=facts.classes)
    if small(facts):
        model.conv1 = nn.Conv2d(facts.channels, 64, 3, padding=1, bias=False)
        model.maxpool = nn.Identity()
    else:
        model.conv1 = nn.Conv2d(facts.channels, 64, 7, stride=2, padding=3, bias=False)
    return default_weights(model)
