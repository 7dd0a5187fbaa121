"""The dynamics of weight decay as closed forms in float64: what training does to a quadratic, and to free norms.

Read :class:`Quadratic`, then :func:`expected` (Theorem 2); the rest is about its parts.
"""

from __future__ import annotations

from weightdecay.theory import equilibrium, later
from weightdecay.theory.best import Best, best_weight_decay
from weightdecay.theory.bias import (
    bias,
    decoupled_bias,
    share_decided_by_decay,
    stable_bias,
    steps_to_converge,
    time_constant,
)
from weightdecay.theory.equilibrium import Equilibrium
from weightdecay.theory.loss import Excess, excess_loss, expected, stationary_variance, variance
from weightdecay.theory.quadratic import Ensemble, Quadratic
from weightdecay.theory.rates import constant, cosine, drops, outliers_and_bulk
from weightdecay.theory.shrinkage import Coupled, Responses, Shrinkage, Vanilla
from weightdecay.theory.stability import Hypothesis, Movement, gradient_gap, hypothesis, movement

__all__ = [
    "Best",
    "Coupled",
    "Ensemble",
    "Equilibrium",
    "Excess",
    "Hypothesis",
    "Movement",
    "Quadratic",
    "Responses",
    "Shrinkage",
    "Vanilla",
    "best_weight_decay",
    "bias",
    "constant",
    "cosine",
    "decoupled_bias",
    "drops",
    "equilibrium",
    "excess_loss",
    "expected",
    "gradient_gap",
    "hypothesis",
    "later",
    "movement",
    "outliers_and_bulk",
    "share_decided_by_decay",
    "stable_bias",
    "stationary_variance",
    "steps_to_converge",
    "time_constant",
    "variance",
]
