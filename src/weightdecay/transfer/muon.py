"""Muon's λ over width, and over batch and data: two rules from one project that do not agree."""

from __future__ import annotations

import math

from weightdecay.transfer.domain import non_negative, positive, scaled


def muon_width_weight_decay(weight_decay: float, k: float) -> float:
    r"""Width × k at the same shape and recipe: Muon's λ falls as the square of the width.

    .. math:: \lambda' = \lambda/k^2

    Swept by nanochat at widths 512, 768, 1024 and 1280: the best λ was 0.40, 0.22, 0.10 and 0.08, by its own account an
    exponent of 1.97; a straight line through the logarithms of these rounded values has 1.85.
    Depth and amount of data grew with the width there, so that the three cannot be told apart.

    Range:  Muon on the matrices of a GPT, depth growing with width, as many tokens for each parameter.
    Units:  k is a ratio of widths; λ is that of ``Decoupled``.
    Raises: ValueError, for a k that is not above 0, or a negative λ.
    Source: karpathy/nanochat, until 2026-02; then replaced by :func:`muon_horizon_weight_decay`.

    >>> round(muon_width_weight_decay(0.40, 1280 / 512), 3)
    0.064
    """
    (k,) = positive(k=k)
    (weight_decay,) = non_negative(weight_decay=weight_decay)
    return scaled("weight_decay", weight_decay, k**-2)


def muon_horizon_weight_decay(weight_decay: float, batch: float, data: float) -> float:
    r"""Batch × k_B and data × k_D: Muon's λ grows as the root of the batch and falls as the data grows.

    .. math:: \lambda' = \lambda\,\sqrt{k_B}/k_D

    At an lr that grows as √k_B this is the timescale rule τ = B/(ηλD): the fraction of the data that is remembered
    stays. It does not name the width. Where tokens go with parameters, and these with width² at one depth, it is λ/k²
    too; where the amount of data stays, :func:`muon_width_weight_decay` divides λ by k² and this rule leaves it. That
    is where the two disagree.

    Range:  Muon on the matrices of a GPT, lr ∝ √batch.
    Units:  ratios, new to old; data counts tokens over all epochs.
    Raises: ValueError, for ratios that are not above 0, or a negative λ.
    Source: karpathy/nanochat, since 2026-02: λ = λ_ref √(B/B_ref) (D_ref/D).

    >>> muon_horizon_weight_decay(0.2, batch=4, data=4)
    0.1
    """
    batch, data = positive(batch=batch, data=data)
    (weight_decay,) = non_negative(weight_decay=weight_decay)
    return scaled("weight_decay", weight_decay, math.sqrt(batch) / data)


def over_training_weight_decay(weight_decay: float, k: float) -> float:
    r"""Tokens for each parameter × k, over-training: λ grows as the root.

    .. math:: \lambda' = \sqrt k\,\lambda

    Against :func:`length_weight_decay` and :func:`timescale_weight_decay`, which lower λ when the data grows: those
    keep what a training forgets, and this is what was found best for the model. Only the abstract was read.

    Units:  k is a ratio of tokens to parameters, new to old.
    Raises: ValueError, for a k that is not above 0, or a negative λ.
    Source: arXiv:2609.04577, abstract.

    >>> over_training_weight_decay(0.1, 4)
    0.2
    """
    (k,) = positive(k=k)
    (weight_decay,) = non_negative(weight_decay=weight_decay)
    return scaled("weight_decay", weight_decay, math.sqrt(k))
