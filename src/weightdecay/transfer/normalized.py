"""λ ∝ 1/√steps: the rule that came with AdamW."""

from __future__ import annotations

import math

from weightdecay.transfer.domain import non_negative, positive, scaled


def normalized_weight_decay(normalized: float, batch_size: float, samples: float, epochs: float) -> float:
    r"""λ from a normalised λ that is meant to hold for every batch and length.

    .. math:: \lambda = \lambda_{\text{norm}} \sqrt{\frac{B}{N\,E}}

    Range:  AdamW and SGDW on CIFAR-10 and ImageNet32 in the source, where λ is not multiplied by the lr
            (``Independent`` here). A rule of thumb by the authors' own word.
    Units:  λ is a fraction a step at the peak; B and N are in examples, E in epochs.
    Raises: ValueError, for values out of range.
    Source: Loshchilov & Hutter 2017, arXiv:1711.05101, Appendix B.1.

    >>> normalized_weight_decay(0.05, batch_size=128, samples=50_000, epochs=100)
    0.000252982212813470...
    """
    (normalized,) = non_negative(normalized=normalized)
    batch_size, samples, epochs = positive(batch_size=batch_size, samples=samples, epochs=epochs)
    return scaled("weight_decay", normalized, math.sqrt(batch_size / samples / epochs))
