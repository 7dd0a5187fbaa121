"""A network of modules that look at four scales side by side."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from weightdecay.lab.data.base import Facts


@dataclass(frozen=True)
class Widths:
    """Channels of one inception module."""

    ones: int  # of the 1×1 convolution
    threes: tuple[int, int]  # before and after the 3×3
    fives: tuple[int, int]  # before and after the two 3×3 that stand for a 5×5
    pooled: int  # after max pooling

    @property
    def total(self) -> int:
        """Channels that come out."""
        return self.ones + self.threes[1] + self.fives[1] + self.pooled


# Table 1 of the paper; between the stages the sides are halved.
STAGES = (
    (Widths(64, (96, 128), (16, 32), 32), Widths(128, (128, 192), (32, 96), 64)),
    (
        Widths(192, (96, 208), (16, 48), 64),
        Widths(160, (112, 224), (24, 64), 64),
        Widths(128, (128, 256), (24, 64), 64),
        Widths(112, (144, 288), (32, 64), 64),
        Widths(256, (160, 320), (32, 128), 128),
    ),
    (Widths(256, (160, 320), (32, 128), 128), Widths(384, (192, 384), (48, 128), 128)),
)

EPS = 1e-5


class Inception(nn.Module):
    """Four branches over one input, their channels joined. Shapes: (n, inputs, h, w) → (n, widths.total, h, w)."""

    def __init__(self, inputs: int, widths: Widths, eps: float) -> None:
        super().__init__()
        (three, threes), (five, fives) = widths.threes, widths.fives
        self.ones = nn.Sequential(*_unit(inputs, widths.ones, 1))
        self.threes = nn.Sequential(*_unit(inputs, three, 1), *_unit(three, threes, 3, padding=1))
        self.fives = nn.Sequential(
            *_unit(inputs, five, 1),
            *_unit(five, fives, 3, padding=1, eps=eps),
            *_unit(fives, fives, 3, padding=1),
        )
        self.pooled = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), *_unit(inputs, widths.pooled, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Look at four scales."""
        return torch.cat([self.ones(x), self.threes(x), self.fives(x), self.pooled(x)], 1)


def googlenet(facts: Facts, *, paper_eps: bool = False) -> nn.Sequential:
    """A 3×3 convolution and nine inception modules with batch norm; no auxiliary classifiers.

    Form: weiaicunzai/pytorch-cifar100's, made for 32 pixels per side, and the same for all sizes: at 224 pixels it
    costs some fifty times as much. The mean over the pixels that are left, dropout 0.4; PyTorch's default
    initialisation.
    ``paper_eps``: the paper's code passes the number of channels where batch norm expects ε, once in every module
    (issue 96 of that repository), which nearly silences the branch of 5×5; True repeats that.
    Shapes: (n, channels, h, w) → (n, classes). Parameters: 6,166,250 for 3 channels and 10 classes.
    Source: Szegedy et al., arXiv:1409.4842.
    """
    layers = _unit(facts.channels, 192, 3)
    inputs = 192
    for i, stage in enumerate(STAGES):
        if i:
            layers.append(nn.MaxPool2d(3, stride=2, padding=1))
        for widths in stage:
            layers.append(Inception(inputs, widths, float(widths.fives[1]) if paper_eps else EPS))
            inputs = widths.total
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.4), nn.Linear(inputs, facts.classes)
    )


def _unit(inputs: int, outputs: int, kernel: int, padding: int = 0, eps: float = EPS) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, padding=padding),
        nn.BatchNorm2d(outputs, eps=eps),
        nn.ReLU(inplace=True),
    ]
