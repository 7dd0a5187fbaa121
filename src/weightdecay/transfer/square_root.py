"""Batch × k ⇒ lr × √k, 1−β × k: for methods that divide by √v̂."""

from __future__ import annotations

import math
from typing import NamedTuple

from weightdecay.transfer.domain import below_one, computed, non_negative, positive, scaled

ROUNDING = 1e-12
"""Of 1 − β: a β closer to 0 than this is 0."""


class AdamScaling(NamedTuple):
    """The hyper-parameters of Adam or AdamW for another batch."""

    lr: float
    beta1: float
    beta2: float
    eps: float
    weight_decay: float


def square_root(
    lr: float, k: float, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8, weight_decay: float = 0.0
) -> AdamScaling:
    r"""The square-root rule: k times the batch takes √k times the lr, and averages over as many examples as before.

    .. math:: \eta' = \sqrt k\,\eta, \quad 1-\beta_i' = k\,(1-\beta_i), \quad \epsilon' = \epsilon/\sqrt k,
              \quad \lambda' = \sqrt k\,\lambda

    Where noise dominates the gradient, √v̂ falls as 1/√k, so that η/√v̂ grows by k as in linear scaling. Keeps the
    stochastic differential equation that Adam follows. The source has no weight decay; λ' is ours, for a pull of ηλ: it
    keeps ηλ·steps at fixed epochs, so that the decay of an example stays.

    Range:  gradients that are mostly noise (small and middling batches), and k below 1/(1−β₁), k below 1/(1−β₂).
            Derived for Adam and RMSprop alone: Padam's power is not ½, AdaBound clips, Lion takes a sign.
            Composition and inverse hold exactly: k₁ then k₂ is k₁k₂.
    Units:  k is a ratio of batch sizes.
    Raises: ValueError, where a β would fall below 0, and for values out of range.
    Source: Malladi et al. 2022, arXiv:2205.10287, Definition 5.3.

    >>> scaled = square_root(1e-3, 4, weight_decay=0.1)
    >>> print(f"{scaled.lr:g} {scaled.beta1:g} {scaled.beta2:g} {scaled.eps:g} {scaled.weight_decay:g}")
    0.002 0.6 0.996 5e-09 0.2
    """
    (k,) = positive(k=k)
    beta1, beta2 = below_one(beta1=beta1, beta2=beta2)
    (eps,) = non_negative(eps=eps)
    for name, beta in (("beta1", beta1), ("beta2", beta2)):
        if not reaches(k, beta):
            raise ValueError(
                f"k={k:g} is too much for {name}={beta:g}: 1−β × k = {k * (1 - beta):g} would leave a β below 0. "
                f"The square-root rule reaches k = {1 / (1 - beta):.3g} here; beyond it there is no Adam that follows "
                "the same equation."
            )
    lr, weight_decay = square_root_pull(lr, weight_decay, k)
    return AdamScaling(lr, _moved(beta1, k), _moved(beta2, k), scaled("eps", eps, 1 / math.sqrt(k)), weight_decay)


def square_root_pull(lr: float, weight_decay: float, k: float) -> tuple[float, float]:
    """Lr and λ of :func:`square_root` alone, which go on where no β follows: both × √k.

    >>> square_root_pull(1e-3, 0.1, 4)
    (0.002, 0.2)
    """
    lr, k = positive(lr=lr, k=k)
    (weight_decay,) = non_negative(weight_decay=weight_decay)
    return computed("lr", lr * math.sqrt(k)), scaled("weight_decay", weight_decay, math.sqrt(k))


def reaches(k: float, *betas: float) -> bool:
    """Whether k times the batch leaves every β at 0 or above, up to rounding."""
    return all(k * (1 - beta) <= 1 + ROUNDING for beta in betas)


def _moved(beta: float, k: float) -> float:
    moved = 1 - k * (1 - beta)
    computed("1 − β", 1 - moved)
    return moved if moved > ROUNDING else 0.0
