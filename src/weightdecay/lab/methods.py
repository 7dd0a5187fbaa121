"""What the lab knows of an optimizer before it has trained anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MOMENTUM = ("sgd", "sgdw", "sgds", "heavyball", "tensorflowsgd")
"""Optimizers that take a momentum; the others have their own."""


@dataclass(frozen=True)
class Method:
    r"""An optimizer as tables and figures show it, and where to look for its best λ.

    ``centre`` is where the best λ is expected, times the number of steps, because λ ∝ 1/steps (the paper's Rule 3;
    its own 5e-4 × 78,200 steps is 39). For a decay that is decoupled from the gradient it is λ·η × steps: such a
    decay shrinks the weights by ηλ a step, so it is ηλ that has an optimum. Measured at 400 steps (ResNet-8 of width
    16, 1,000 digits with a fifth of the labels wrong; three seeds, last-epoch test error in percent):

    ======  ===========================  ==========================  ===========
    SGD     λ = 0.05: 3.8 ± 0.5          at 0.03 5.5, at 0.09 12     centre 20
    SGDS    λ = 0.09: 4.0 ± 0.5          at 0.03 7.1, at 0.18 69     centre 32
    AdamW   λ·η = 0.017: 4.3 ± 1.7       at 0.01 6.2, at 0.03 62     centre 6
    Adam    λ = 3: 5.2 ± 1.6             at 1 6.9, at 6 7.6          centre 1200
    AdamS   λ = 0.1: 5.7 ± 1.1           at 0.06 6.7, at 0.17 90     centre 40
    ======  ===========================  ==========================  ===========

    The others follow by the paper's conversions (λ_SGDW = λ_S/(1 − β); Adai's lr of 1.0 is SGD's effective lr,
    0.1/(1 − 0.9); AMSGrad's is Adam's), shifted where one seed of each put the optimum elsewhere.
    """

    title: str
    base: str  # the member of its family that is the same optimizer at λ = 0
    decay: Literal["l2", "stable", "decoupled"]
    lr: float
    centre: float

    @property
    def decay_in_words(self) -> str:
        """What a step takes from a weight, in a few words."""
        return {
            "l2": "L2: λ in the gradient",
            "stable": "stable: effective lr × λ",
            "decoupled": "decoupled: lr × λ",
        }[self.decay]


METHODS = {
    "sgd": Method("SGD", "sgd", "l2", 0.1, 20.0),
    "sgds": Method("SGDS", "sgd", "stable", 0.1, 32.0),
    "sgdw": Method("SGDW", "sgd", "decoupled", 0.1, 32.0),
    "heavyball": Method("HeavyBall", "heavyball", "l2", 0.1, 20.0),
    "tensorflowsgd": Method("TensorFlowSGD", "tensorflowsgd", "l2", 0.1, 20.0),
    "adam": Method("Adam", "adam", "l2", 1e-3, 1200.0),
    "adams": Method("AdamS", "adam", "stable", 1e-3, 40.0),
    "adamw": Method("AdamW", "adam", "decoupled", 1e-3, 6.0),
    "amsgrad": Method("AMSGrad", "amsgrad", "l2", 1e-3, 1200.0),
    "amsgrads": Method("AMSGradS", "amsgrad", "stable", 1e-3, 40.0),
    "amsgradw": Method("AMSGradW", "amsgrad", "decoupled", 1e-3, 6.0),
    "adai": Method("Adai", "adai", "l2", 1.0, 20.0),
    "adais": Method("AdaiS", "adai", "stable", 1.0, 16.0),
    "adaiw": Method("AdaiW", "adai", "decoupled", 1.0, 16.0),
    "radam": Method("RAdam", "radam", "l2", 1e-3, 40.0),
    "yogi": Method("Yogi", "yogi", "l2", 1e-2, 40.0),
    "adabound": Method("AdaBound", "adabound", "l2", 1e-3, 120.0),
    "padam": Method("Padam", "padam", "l2", 0.1, 40.0),
}


def method(optimizer: str) -> Method:
    """Return what is known of an optimizer; of one added later, what its name says (Adam's lr, the paper's centre)."""
    if optimizer in METHODS:
        return METHODS[optimizer]
    return Method(optimizer, optimizer, "l2", 1e-3, 40.0)
