"""Batch × k ⇒ λ × k."""

from __future__ import annotations

from weightdecay.transfer.domain import non_negative, positive, scaled

BATCHES_TRIED = (128.0, 16384.0)
"""The paper's smallest and largest batch."""


def batch_weight_decay(weight_decay: float, k: float) -> float:
    r"""The paper's rule: k times the batch takes k times the weight decay, lr and epochs as they were.

    .. math:: \lambda' = k\,\lambda, \qquad \eta' = \eta

    A k-th of the steps then does the same decay: ηλ·steps stays, and the flat directions, which take 1/(ηλ) steps
    (Corollary 2), arrive in the same number of epochs.

    Range:  the paper shows it for Adam, AdamW and AdamS from batch 128 to 16384 (ResNet18 and VGG16 on CIFAR-10).
    Units:  λ' is in the unit of λ, whatever that is; k is a ratio of batch sizes.
    Raises: ValueError, for a negative λ or a k that is not above 0.
    Source: arXiv:2011.11152, Section 4, Figures 3, 9 and 16.

    >>> batch_weight_decay(5e-4, 128)
    0.064
    """
    (weight_decay,) = non_negative(weight_decay=weight_decay)
    (k,) = positive(k=k)
    return scaled("weight_decay", weight_decay, k)
