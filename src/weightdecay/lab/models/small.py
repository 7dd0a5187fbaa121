"""A small convolutional network: it learns images on a CPU in minutes."""

from __future__ import annotations

from torch import nn

from weightdecay.lab.data.base import Facts


def smallcnn(facts: Facts, *, width: int = 32, norm: bool = True) -> nn.Sequential:
    """Three 3×3 convolutions of ``width``, 2 and 4 times ``width`` channels, each halving the sides.

    Form: convolution, batch norm, ReLU, 2×2 max pooling, three times; the mean over pixels; one linear layer. Without
    ``norm`` a bias stands for the batch norm, and nothing in the network is invariant to the scale of its weights.
    Shapes: (n, channels, h, w) → (n, classes). Parameters: 94,762 for 3 channels and 10 classes.
    """
    layers: list[nn.Module] = []
    inputs = facts.channels
    for outputs in (width, 2 * width, 4 * width):
        layers.append(nn.Conv2d(inputs, outputs, 3, padding=1, bias=not norm))
        layers += [nn.BatchNorm2d(outputs)] if norm else []
        layers += [nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, facts.classes))
