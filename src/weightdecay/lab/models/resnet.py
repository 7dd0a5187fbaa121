"""Residual networks that learn small images on a CPU."""

from __future__ import annotations

from torch import nn
from torchvision.models.resnet import BasicBlock, conv1x1


def resnet8(channels: int, classes: int, width: int) -> nn.Sequential:
    """Return a stem and three residual blocks of ``width``, 2 and 4 times ``width`` channels: 7 convolutions deep.

    Strides 1, 2, 2; shortcuts by 1×1 convolution where the shape changes; PyTorch's default initialisation. Shapes:
    (n, channels, h, w) → (n, classes). Source: He et al., arXiv:1512.03385, section 4.2, with torchvision's block.
    """
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        _block(width, width, 1),
        _block(width, 2 * width, 2),
        _block(2 * width, 4 * width, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, classes),
    )


def _block(inputs: int, outputs: int, stride: int) -> nn.Module:
    shortcut = None
    if stride != 1 or inputs != outputs:
        shortcut = nn.Sequential(conv1x1(inputs, outputs, stride), nn.BatchNorm2d(outputs))
    block: nn.Module = BasicBlock(inputs, outputs, stride, shortcut)
    return block
