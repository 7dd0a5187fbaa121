"""Images and labels in memory, and labels that are wrong on purpose."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Images:
    """A data set of images. Shapes: images (n, channels, height, width), float32, standardised; labels (n,), int64."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: int


def wrong_labels(labels: Tensor, fraction: float, classes: int, seed: int) -> Tensor:
    """Return the labels with that fraction, rounded down, replaced by another class, drawn evenly.

    A function of the seed alone: every optimizer trained with one seed sees the same wrong labels.
    """
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(labels), generator=generator)[: int(fraction * len(labels))]
    shift = torch.randint(1, classes, (len(chosen),), generator=generator)
    noisy = labels.clone()
    noisy[chosen] = (labels[chosen] + shift) % classes
    return noisy
