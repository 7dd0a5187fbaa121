"""Width × k: what μP's lr ∝ 1/width asks of λ."""

from __future__ import annotations

import math

from weightdecay.transfer.domain import computed, non_negative, positive, scaled


def independent_width(lr: float, weight_decay: float, k: float) -> tuple[float, float]:
    r"""Independent decay over widths: the lr of hidden matrices falls as 1/k, and the pull ηλ stays.

    .. math:: \eta' = \eta/k, \qquad \lambda' = k\,\lambda

    The same as leaving λ alone under :class:`weightdecay.decay.Independent`, whose pull does not contain the peak lr.
    Keeps the timescale 1/(ηλ) of the weights.

    Range:  Adam's hidden matrices in μP; lr and λ of vectors (biases, norms) and of embeddings stay. For SGD μP leaves
            the lr of hidden matrices as it is, and with it λ. No source covers L2 under Adam, which has no pull.
    Units:  k is a ratio of widths; λ is that of ``Decoupled``.
    Raises: ValueError, for an lr or k that is not above 0, or a negative λ.
    Source: lr: Tensor Programs V, arXiv:2203.03466, Table 3; λ: arXiv:2309.14322 (independent decay transfers over
            widths), arXiv:2405.13698 (τ stays), arXiv:2510.19093 (it is this λ that makes the lr transfer).

    >>> independent_width(1e-2, 0.125, 4)
    (0.0025, 0.5)
    """
    lr, k = positive(lr=lr, k=k)
    (weight_decay,) = non_negative(weight_decay=weight_decay)
    return computed("lr", lr / k), scaled("weight_decay", weight_decay, k)


def square_root_width(lr: float, weight_decay: float, k: float) -> tuple[float, float]:
    r"""The other answer: λ ∝ √width, so that the top singular values keep their size relative to the layer.

    .. math:: \eta' = \eta/k, \qquad \lambda' = \sqrt k\,\lambda

    Measured there: singular values ∝ √(η/λ)·k^0.75 in the steady state; √(η'/λ')·k^0.75 is then k^(−3/4 + 3/4).

    Range:  AdamW, LLaMA-like transformers in the steady state; matrices only, vectors with λ = 0.
    Units, Raises: as :func:`independent_width`.
    Source: Fan et al. 2025, arXiv:2510.15262.

    >>> square_root_width(1e-2, 0.125, 4)
    (0.0025, 0.25)
    """
    lr, k = positive(lr=lr, k=k)
    (weight_decay,) = non_negative(weight_decay=weight_decay)
    return computed("lr", lr / k), scaled("weight_decay", weight_decay, math.sqrt(k))
