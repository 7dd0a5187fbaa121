"""Batch × k ⇒ lr × k."""

from __future__ import annotations

from weightdecay.transfer.domain import computed, positive

LARGEST_BATCH = 8192
"""The batch up to which the source kept its accuracy, ResNet-50 on ImageNet with a warm-up of five epochs."""


def linear_lr(lr: float, k: float) -> float:
    r"""Linear scaling: k times the batch takes k times the learning rate, λ as it was.

    .. math:: \eta' = k\,\eta, \qquad \lambda' = \lambda

    k small steps from nearby points are one step k times as long. Keeps η/B, and with it ηλ·steps at fixed epochs.

    Range:  SGD with momentum and a warm-up, up to a batch of 8192 in the source (ImageNet). Not for adaptive methods,
            which divide by the gradient's size: the paper's Figure 3 has Adam getting worse by it.
    Units:  k is a ratio of batch sizes, without dimension.
    Raises: ValueError, for an lr or k that is not above 0.
    Source: Goyal et al. 2017, arXiv:1706.02677, Section 2.1.

    >>> linear_lr(0.1, 8)
    0.8
    """
    lr, k = positive(lr=lr, k=k)
    return computed("lr", lr * k)
