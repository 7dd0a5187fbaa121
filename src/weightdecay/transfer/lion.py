"""AdamW ↔ Lion: a smaller lr and a larger λ, with the same pull."""

from __future__ import annotations

from weightdecay.transfer.domain import computed, non_negative, positive, scaled

LION_FACTORS = (3.0, 10.0)
"""The source's range: how many times smaller Lion's lr is than AdamW's."""


def lion_from_adamw(lr: float, weight_decay: float, factor: float) -> tuple[float, float]:
    r"""Lion's lr and λ where AdamW's are known: steps are signs, which are longer than Adam's, so the lr is smaller.

    .. math:: \eta' = \eta / f, \qquad \lambda' = f\,\lambda

    Keeps the pull ηλ exactly. The weights do not settle at the same norm for that: ``theory.equilibrium`` has both.
    The way back is the factor 1/f.

    Range:  f from 3 to 10, as its authors found over their tasks; which one is to be measured. By the same source
            Lion's gain over AdamW grows with the batch.
    Units:  λ is that of ``Decoupled``.
    Raises: ValueError, for an lr or factor that is not above 0, or a negative λ.
    Source: Chen et al. 2023, arXiv:2302.06675, Section 5.

    >>> lion_from_adamw(1e-3, 0.125, 4)
    (0.00025, 0.5)
    """
    lr, factor = positive(lr=lr, factor=factor)
    (weight_decay,) = non_negative(weight_decay=weight_decay)
    return computed("lr", lr / factor), scaled("weight_decay", weight_decay, factor)
