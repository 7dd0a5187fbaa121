"""Decays that part when the lr moves, or with time: what equals what along a whole training."""

from __future__ import annotations

import math
from collections.abc import Iterable

from weightdecay.transfer.conversion import EXACT, Conversion
from weightdecay.transfer.domain import known, non_negative, positive, scaled

PULLS = ("decoupled", "independent", "vanilla", "corrected", "logtime")
SAME_TOTAL = "same total pull"
"""What a conversion promises where no λ makes the pulls equal at every step."""


def convert_along(
    weight_decay: float, old: str, new: str, lrs: Iterable[float], *, horizon: float | None = None
) -> Conversion:
    r"""Return the λ of ``new`` that takes as much as λ of ``old`` along the learning rates of a training.

    =============  ================================================
    decay          pull at step t over λ, with the lr η_t
    =============  ================================================
    decoupled      :math:`\eta_t`
    independent    :math:`\eta_t/\eta_{\max}`
    vanilla        1
    corrected      :math:`\eta_t^2/\eta_{\max}`
    logtime        :math:`(\eta_t/\eta_{\max})/(1+t/T)`
    =============  ================================================

    .. math:: \lambda' = \lambda\,\sum_t f_{\text{old}}(t) \Big/ \sum_t f_{\text{new}}(t)

    "exact" where the pulls are then equal at every step: between decoupled and independent always, with corrected and
    vanilla at a constant lr. Elsewhere "same total pull": the sum of all pulls is the same and the path is another one.
    Over a cosine from the peak to 0 corrected decay wants 4/3 of decoupled's λ.

    ``lrs`` are those of all steps, in their order; ``horizon`` T is LogTime's. Stable decay and L2 depend on gradients:
    :func:`convert` speaks of them.

    Units:  lrs in the optimizer's unit, horizon in steps.
    Raises: ValueError, for unknown names, no lr above 0, lrs below 0, and logtime without a horizon.
    Source: derived here, from the definitions; AdamC's is arXiv:2506.02285.

    >>> lrs = [0.5 + 0.5 * math.cos(math.pi * t / 10_000) for t in range(10_000)]
    >>> found = convert_along(0.1, "decoupled", "corrected", lrs)
    >>> round(found.weight_decay, 4), found.holds
    (0.1333, 'same total pull')
    """
    (weight_decay,) = non_negative(weight_decay=weight_decay)
    old, new = (known("decay", name, PULLS) for name in (old, new))
    if horizon is not None:
        (horizon,) = positive(horizon=horizon)
    elif "logtime" in (old, new):
        raise ValueError("horizon is missing: LogTime's pull falls with t/horizon. Pass horizon=, in steps.")
    each = [non_negative(lr=lr)[0] for lr in lrs]
    peak = max(each, default=0.0)
    if not peak:
        raise ValueError(f"{len(each)} lrs, of which none is above 0: nothing decays. Pass the lr of every step.")
    before, after = (_pulls(name, each, peak, horizon) for name in (old, new))
    factor = math.fsum(before) / math.fsum(after)
    equal = all(math.isclose(a, factor * b, rel_tol=1e-9, abs_tol=1e-300) for a, b in zip(before, after, strict=True))
    why = "equal pulls at every step" if equal else "equal sums of pulls; they come at other times"
    return Conversion(scaled("weight_decay", weight_decay, factor), EXACT if equal else SAME_TOTAL, why)


def _pulls(decay: str, lrs: list[float], peak: float, horizon: float | None) -> list[float]:
    """Return pull/λ at every step."""
    if decay == "vanilla":
        return [1.0] * len(lrs)
    if decay == "logtime" and horizon is not None:
        return [lr / peak / (1 + t / horizon) for t, lr in enumerate(lrs, 1)]
    power = {"decoupled": (1, 0), "independent": (1, 1), "corrected": (2, 1)}[decay]
    return [lr ** power[0] / peak ** power[1] for lr in lrs]
