"""The optimizers that the rules know: which algorithm each is, what its λ means and how it multiplies a gradient."""

from __future__ import annotations

from typing import NamedTuple


class Optimizer(NamedTuple):
    """Of an optimizer by name."""

    family: str  # sgd, adam, adai or sign
    decay: str  # what its λ means
    method: str  # the algorithm, whatever its decay
    power: float | None = None  # p of a gain v̄^(−p); None where the gain is no power of v̄


def _adaptive(method: str, decays: dict[str, str], power: float | None = 0.5) -> dict[str, Optimizer]:
    return {name: Optimizer("adam", decay, method, power) for name, decay in decays.items()}


OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": Optimizer("sgd", "l2", "sgd"),
    "sgdw": Optimizer("sgd", "decoupled", "sgd"),
    "sgds": Optimizer("sgd", "stable", "sgd"),
    "heavyball": Optimizer("sgd", "l2", "heavyball"),
    "tensorflowsgd": Optimizer("sgd", "l2", "tensorflowsgd"),
    **_adaptive("adam", {"adam": "l2", "adamw": "decoupled", "adams": "stable"}),
    **_adaptive("amsgrad", {"amsgrad": "l2", "amsgradw": "decoupled", "amsgrads": "stable"}),
    **_adaptive("yogi", {"yogi": "l2"}),
    **_adaptive("padam", {"padam": "l2"}, power=0.25),
    **_adaptive("radam", {"radam": "l2"}, power=None),  # r_t v̄^(−1/2)
    **_adaptive("adabound", {"adabound": "l2"}, power=None),  # clipped
    "adai": Optimizer("adai", "l2", "adai"),
    "adaiw": Optimizer("adai", "decoupled", "adai"),
    "adais": Optimizer("adai", "stable", "adai"),
}
"""The optimizers of this package. A test holds the table against them."""

KNOWN = {**OPTIMIZERS, "lion": Optimizer("sign", "decoupled", "lion")}
"""Those, and one that people bring with them, through ``weightdecay.attach``."""
