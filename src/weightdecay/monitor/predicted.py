"""What theory predicts for a tensor before a normalisation layer: the norm and the angle at which it settles."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from weightdecay.theory import equilibrium
from weightdecay.theory.equilibrium import Equilibrium

FAMILIES = {
    **dict.fromkeys(("Adam", "AdamW", "AdamS", "AdamWLegacy", "FusedAdam", "AdamW8bit", "_AdamW"), "adam"),
    **dict.fromkeys(("SGD", "SGDW", "SGDS", "HeavyBall"), "sgd"),
    "Lion": "lion",
}
"""Optimizers that the theory has a form for, by the names of their classes."""


def family_of(optimizer: object) -> str | None:
    """Return which form is that of this optimizer; None where there is none."""
    return FAMILIES.get(type(optimizer).__name__)


def predicted(
    family: str | None,
    kind: str,
    group: Mapping[str, Any],
    lr: float,
    strength: float,
    pull: float,
    size: int,
    unit_grad: float,
) -> Equilibrium | None:
    """Return the equilibrium under the present lr, λ and pull; None where theory has none.

    ``unit_grad`` is the gradient's norm at ‖θ‖ = 1: ‖g‖·‖θ‖, root mean square over some readings. A decoupled decay has
    its pull ηλ', so that a stable one is taken at the v̄ of this moment.
    """
    if family is None or group.get("nesterov") or group.get("amsgrad") or not (lr > 0 and pull > 0):
        return None
    betas, momentum, dampening = group.get("betas"), group.get("momentum", 0.0), group.get("dampening", 0.0)
    try:
        if family == "sgd" and kind == "l2":
            return equilibrium.sgd(lr, strength, unit_grad, momentum, dampening)
        if kind == "l2" or kind.startswith("cautious("):
            return None
        if family == "sgd":
            return equilibrium.sgdw(lr, pull / lr, unit_grad, momentum, dampening)
        if family == "adam" and betas:
            return equilibrium.adamw(lr, pull / lr, size, betas[0])
        if family == "lion" and betas:
            return equilibrium.lion(lr, pull / lr, size, *betas)
    except (ValueError, OverflowError):  # numbers for which there is no balance
        return None
    return None


def invariant(cosine: float, size: int) -> bool:
    """Whether a gradient is at right angles to its tensor, as it is if the loss does not depend on the norm.

    ``cosine`` is the root mean square over some readings. A gradient in a random direction has about 1/√size.
    """
    return math.isfinite(cosine) and abs(cosine) < min(2e-3, max(1e-4, 0.1 / math.sqrt(size)))
