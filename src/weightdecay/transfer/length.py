"""Epochs × k ⇒ λ / k."""

from __future__ import annotations

from weightdecay.transfer.domain import computed, non_negative, positive, scaled

EPOCHS_TRIED = (50.0, 2000.0)
"""The paper's Table 3."""

PER_EPOCH, TABLE3_BATCH, TABLE3_SAMPLES = 0.1, 128, 50_000


def length_weight_decay(weight_decay: float, k: float) -> float:
    r"""λ ∝ 1/epochs: training k times as long takes a k-th of the weight decay, lr and batch as they were.

    .. math:: \lambda' = \lambda / k

    The bias −λθ*/(H+λ) asks for a small λ (Corollary 1), the 1/(ηλ) steps of the flat directions for a large one
    (Corollary 2): the smallest λ that still arrives in time is ∝ 1/steps. Keeps ηλ·steps.

    Range:  SGD on CIFAR-10, 50 to 2000 epochs. Longer training of adaptive methods is what arXiv:2405.13698 (λ stays)
            and arXiv:2505.13738 (λ falls, more slowly) say otherwise about.
    Units:  k is a ratio of epochs, or of steps at one batch size.
    Raises: ValueError, for a negative λ or a k that is not above 0.
    Source: arXiv:2011.11152, Section 4, Figure 2 and Table 3.

    >>> length_weight_decay(5e-4, 10)
    5e-05
    """
    (weight_decay,) = non_negative(weight_decay=weight_decay)
    (k,) = positive(k=k)
    return scaled("weight_decay", weight_decay, 1 / k)


def table3_weight_decay(epochs: float) -> float:
    r"""λ ≈ 0.1/epochs: a first λ for SGD where nothing has been tuned.

    .. math:: \lambda = 0.1 / \text{epochs}

    Range:  L2 (or stable) λ of SGD with momentum 0.9, lr 0.1 in steps, batch 128, ResNet18 on CIFAR-10, 50 to 2000
            epochs. 391 steps an epoch: λ·steps ≈ 39.
    Units:  λ is in loss/weight².
    Raises: ValueError, for epochs that are not above 0.
    Source: arXiv:2011.11152, Table 3.

    >>> table3_weight_decay(200)
    0.0005
    """
    (epochs,) = positive(epochs=epochs)
    return computed("weight_decay", PER_EPOCH / epochs)
