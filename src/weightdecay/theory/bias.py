"""Where training with decay ends, and how many directions decay alone decides: Corollary 1."""

from __future__ import annotations

import torch
from torch import Tensor

from weightdecay.theory.diverging import FLAT
from weightdecay.theory.numbers import Numbers, non_negative, positive, vector
from weightdecay.theory.quadratic import Quadratic, fixed


def bias(model: Quadratic, weight_decay: float) -> Tensor:
    r"""Return the distance of the regularised minimum from θ*, direction by direction.

    .. math:: \mu_i = -\frac{\lambda\,\theta^*_i}{H_i+\lambda}

    0 for λ = 0, where a direction with H_i = 0 has no minimum of its own and stays where it started.

    Raises: ValueError, for a negative λ, and where H_i + λ is not positive though λ is.
    Source: arXiv:2011.11152, Corollary 1.

    >>> bias(Quadratic([1.0, 0.0], minimum=2.0), weight_decay=1.0).tolist()
    [-1.0, -2.0]
    """
    fixed(model)
    weight_decay = non_negative("weight_decay", weight_decay)
    if weight_decay == 0:
        return model.to_given(torch.zeros_like(model.minimum))
    return model.to_given(-weight_decay / curvature(model.eigenvalues, weight_decay) * model.minimum)


def curvature(eigenvalues: Tensor, weight_decay: float, said: str = "") -> Tensor:
    """Return H + λ. Raises: ValueError, where it is not positive: there is no minimum then. ``said`` words λ there."""
    found = eigenvalues + weight_decay
    worst = int(found.argmin())
    if found[worst] <= 0:
        raise ValueError(
            f"direction {worst} has no regularised minimum: the sum of H = {eigenvalues[worst].item():g} "
            f"and {said or f'λ = {weight_decay:g}'} is not positive. Use a stronger decay, or {FLAT}."
        )
    return found


def share_decided_by_decay(eigenvalues: Numbers, weight_decay: float, factor: float = 10.0) -> float:
    r"""Return the share of directions with :math:`|H_i| \le \lambda/\text{factor}`.

    There λ alone sets both the time, 1/(ηλ), and the end, 0: each to within 1/(factor − 1), a ninth with the factor 10.
    Without decay there is none.

    Source: arXiv:2011.11152, after Corollary 2.

    >>> share_decided_by_decay([10.0, 1e-3, 1e-5, 0.0], weight_decay=5e-4)
    0.5
    """
    limit = non_negative("weight_decay", weight_decay) / positive("factor", factor)
    decided = vector("eigenvalues", eigenvalues).abs() <= limit
    return decided.double().mean().item() if limit else 0.0
