"""A network in which every layer sees the outputs of all layers before it."""

from __future__ import annotations

import torchvision
from torch import nn

from weightdecay.lab.data.base import Facts
from weightdecay.lab.models.form import default_weights, small


def densenet121(facts: Facts) -> nn.Module:
    """Four dense blocks of 6, 12, 24 and 16 layers, each adding 32 channels.

    Form: torchvision's; up to 64 pixels per side with a bare 3×3 stem of stride 1 (no norm, no pooling), as in
    kuangliu/pytorch-cifar, which joins channels in the other order: the same functions, channels renumbered. PyTorch's
    default initialisation. Shapes: (n, channels, h, w) → (n, classes).
    Parameters: 6,956,298 at 32 pixels for 3 channels and 10 classes. Source: Huang et al., arXiv:1608.06993.
    """
    model: nn.Module = torchvision.models.densenet121(num_classes=facts.classes)
    features = model.features
    assert isinstance(features, nn.Sequential)
    if small(facts):
        features.conv0 = nn.Conv2d(facts.channels, 64, 3, padding=1, bias=False)
        features.norm0 = features.relu0 = features.pool0 = nn.Identity()
    else:
        features.conv0 = nn.Conv2d(facts.channels, 64, 7, stride=2, padding=3, bias=False)
    return default_weights(model)
