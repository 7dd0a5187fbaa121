"""Which direction grows, and by how much a step: asked before any formula that assumes that none does."""

from __future__ import annotations

from torch import Tensor


def refuse(eigenvalues: Tensor, strength: float, lr: float, shrink: float = 0.0) -> None:
    r"""Raise where the factor :math:`|1 - \text{shrink} - \eta(h + \lambda)|` of a direction is above 1.

    ``lr`` is the largest one. The mean of such a direction grows without bound while that lr lasts.

    Raises: ValueError, which names the direction, the factor a step, and what to change.
    """
    curvature = eigenvalues + strength
    low, high = curvature.argmin(), curvature.argmax()
    if lr * curvature[high].item() > 2 - shrink:
        worst, bound = int(high), (2 - shrink) / curvature[high].item()
        raise ValueError(
            f"direction {worst} diverges: lr·(H+λ) = {lr:g}·({eigenvalues[worst].item():g} + {strength:g}) = "
            f"{lr * curvature[worst].item():.4g} is above {2 - shrink:g}, so it grows by "
            f"{lr * curvature[worst].item() - 1 + shrink:.4g} a step and changes sign. "
            f"Use an lr of at most {bound:.4g}."
        )
    if shrink + lr * curvature[low].item() < 0:
        worst = int(low)
        enough = -eigenvalues[worst].item() * (lr if shrink else 1)
        growth = -shrink - lr * curvature[worst].item()
        raise ValueError(
            f"direction {worst} diverges: H+λ = {eigenvalues[worst].item():g} + {strength:g} is negative, a saddle, so "
            f"it grows by 1 + {growth:.4g} a step at lr {lr:g}. Use a "
            f"{'λ₀' if shrink else 'λ'} of at least {enough:.4g}, or take negative eigenvalues for flat: "
            "eigenvalues.clamp(min=0)."
        )
