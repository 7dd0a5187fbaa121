"""How long a direction takes: Corollary 2, exactly and in the limit of small steps."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from weightdecay.theory.diverging import refuse
from weightdecay.theory.numbers import Numbers, non_negative, positive, vector
from weightdecay.theory.product import log_abs_one_minus


def steps_to_converge(eigenvalues: Numbers, lr: float, weight_decay: float, factor: float = 1 / math.e) -> Tensor:
    r"""Return after how many steps the distance to the regularised minimum has shrunk to ``factor`` of itself.

    .. math:: t_i = \frac{\log \text{factor}}{\log|1-\eta(H_i+\lambda)|}

    Not rounded up. Infinite where H_i + λ is 0 or η(H_i+λ) is 2; 0 where one step arrives.

    Raises: ValueError, where a direction diverges, and for a factor outside (0, 1).
    Source: arXiv:2011.11152, Corollary 2 (which gives the order of it).

    >>> [f"{t:.4g}" for t in steps_to_converge([1.0, 0.0], lr=0.1, weight_decay=5e-4).tolist()]
    ['9.486', '2e+04']
    """
    found = vector("eigenvalues", eigenvalues)
    lr, weight_decay = positive("lr", lr), non_negative("weight_decay", weight_decay)
    refuse(found, weight_decay, lr)
    rate = log_abs_one_minus(lr * (found + weight_decay)).neg()
    return torch.where(rate > 0, -_log(factor) / rate, torch.inf)


def time_constant(eigenvalues: Numbers, lr: float, weight_decay: float) -> Tensor:
    r"""Return :math:`1/((H_i+\lambda)\eta)`: the steps to 1/e where they are many; 1/(λη) where H_i is 0.

    Source: arXiv:2011.11152, Corollary 2, Eq. 7.

    >>> [round(t) for t in time_constant([1.0, 0.0], lr=0.1, weight_decay=5e-4).tolist()]
    [10, 20000]
    """
    found = vector("eigenvalues", eigenvalues)
    lr, weight_decay = positive("lr", lr), non_negative("weight_decay", weight_decay)
    refuse(found, weight_decay, lr)
    return 1 / (lr * (found + weight_decay))


def _log(factor: float) -> float:
    found = positive("factor", factor)
    if found >= 1:
        raise ValueError(f"factor={factor!r}: it must lie between 0 and 1, as 1/e or 0.01.")
    return math.log(found)
