"""Which direction grows, and by how much a step: asked before any formula that assumes that none does."""

from __future__ import annotations

from torch import Tensor

FLAT = "take negative eigenvalues for flat: eigenvalues.clamp(min=0)"


def refuse(eigenvalues: Tensor, strength: float, lr: float) -> None:
    r"""Raise where the factor :math:`|1 - \eta(h + \lambda)|` of Eq. 2 is above 1 in a direction.

    ``lr`` is the largest one. The mean of such a direction grows without bound while that lr lasts.

    Raises: ValueError, which names the direction, the factor a step, and what to change.
    """
    curvature = eigenvalues + strength
    low, high = int(curvature.argmin()), int(curvature.argmax())
    if (moved := lr * curvature[high].item()) > 2:
        raise ValueError(
            f"direction {high} diverges: lr·(H+λ) = {lr:g}·({eigenvalues[high].item():g} + {strength:g}) = "
            f"{moved:.4g} is above 2, so it grows by {moved - 1:.4g} a step and changes sign. "
            f"Use an lr of at most {2 / curvature[high].item():.4g}."
        )
    if (moved := lr * curvature[low].item()) < 0:
        h = eigenvalues[low].item()
        raise ValueError(
            f"direction {low} diverges: H+λ = {h:g} + {strength:g} is negative, a saddle, so it grows by "
            f"1 + {-moved:.4g} a step at lr {lr:g}. Use a λ of at least {-h:.4g}, or {FLAT}."
        )


def refuse_vanilla(eigenvalues: Tensor, shrink: float, lr: float) -> None:
    r"""Raise where the factor :math:`|1 - \lambda_0 - \eta h|` of Eq. 1 is above 1 in a direction.

    The largest lr bounds both ends: towards lr 0 the factor goes to 1 − λ₀.

    Raises: as :func:`refuse`.
    """
    low, high = int(eigenvalues.argmin()), int(eigenvalues.argmax())
    if (moved := lr * (h := eigenvalues[high].item())) > 2 - shrink:
        raise ValueError(
            f"direction {high} diverges: with λ₀ = {shrink:g}, lr·H = {lr:g}·{h:g} = {moved:.4g} is above "
            f"{2 - shrink:g}, so it grows by {moved - 1 + shrink:.4g} a step and changes sign. "
            f"Use an lr of at most {(2 - shrink) / h:.4g}."
        )
    if shrink + (moved := lr * (h := eigenvalues[low].item())) < 0:
        enough = f"a λ₀ of at least {-moved:.4g}" if moved > -1 else f"a smaller lr, with a λ₀ of at least {-h:.4g}·lr"
        raise ValueError(
            f"direction {low} diverges: λ₀ + lr·H = {shrink:g} + {lr:g}·({h:g}) is negative, a saddle, so it grows by "
            f"1 + {-shrink - moved:.4g} a step. Use {enough}, or {FLAT}."
        )
