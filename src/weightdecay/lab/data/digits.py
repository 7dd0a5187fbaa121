"""scikit-learn's handwritten digits: 1,797 real scans of 8×8 pixels that come inside the package."""

from __future__ import annotations

import torch

from weightdecay.lab.data.images import Images, wrong_labels

SPLIT_SEED = 20111152
"""The split is one and the same for all runs: they differ by what is compared, not by their test set."""


def digits(train_size: int, label_noise: float, seed: int) -> Images:
    """Return a fixed split: ``train_size`` scans to train on, the others for test; wrong labels only in training.

    Standardised by mean and deviation of the training pixels. Source: Alpaydin & Kaynak, Optical Recognition of
    Handwritten Digits, UCI Machine Learning Repository, 1998; test part of it, as scikit-learn carries it.
    Raises: ValueError, when nothing would be left for test.
    """
    from sklearn.datasets import load_digits

    raw = load_digits()
    images = torch.as_tensor(raw.images, dtype=torch.float32).unsqueeze(1)
    labels = torch.as_tensor(raw.target, dtype=torch.int64)
    if not 0 < train_size < len(images):
        raise ValueError(f"train_size={train_size}: digits has {len(images)} scans, and some must be left for test.")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(SPLIT_SEED))
    train, test = order[:train_size], order[train_size:]
    mean, deviation = images[train].mean(), images[train].std()
    images = (images - mean) / deviation
    noisy = wrong_labels(labels[train], label_noise, classes=10, seed=seed)
    return Images(images[train], noisy, images[test], labels[test], classes=10)
