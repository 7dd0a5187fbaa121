"""What a user has, or wants: the numbers that the rules are about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from weightdecay.transfer.conversion import DECAYS, adam_gain, sgd_gain
from weightdecay.transfer.domain import below_one, non_negative, positive, unknown


class Optimizer(NamedTuple):
    """Of an optimizer by name: how its steps multiply a gradient, and what its λ means."""

    family: str  # sgd, adam or adai
    decay: str


OPTIMIZERS: dict[str, Optimizer] = {
    **{name: Optimizer("sgd", "l2") for name in ("sgd", "heavyball", "tensorflowsgd")},
    "sgdw": Optimizer("sgd", "decoupled"),
    "sgds": Optimizer("sgd", "stable"),
    **{name: Optimizer("adam", "l2") for name in ("adam", "amsgrad", "radam", "yogi", "adabound", "padam")},
    **{name: Optimizer("adam", "decoupled") for name in ("adamw", "amsgradw")},
    **{name: Optimizer("adam", "stable") for name in ("adams", "amsgrads")},
    "adai": Optimizer("adai", "l2"),
    "adaiw": Optimizer("adai", "decoupled"),
    "adais": Optimizer("adai", "stable"),
}
"""The optimizers of this package. A test holds the table against them."""


class MissingError(ValueError):
    """A rule needs a number that was not given; ``quantity`` names it, ``reason`` says what for."""

    def __init__(self, quantity: str, reason: str) -> None:
        super().__init__(f"{quantity} is missing: {reason}")
        self.quantity, self.reason = quantity, reason


@dataclass(frozen=True)
class Setting:
    """A training, as far as the rules see it; None is what nobody said.

    Units: ``lr`` at the peak of its schedule; ``weight_decay`` in the meaning of ``decay`` (default: the optimizer's
    own); ``batch_size`` and ``samples`` in examples, or both in tokens; ``mean_square`` is v̄, the mean of Adam's v̂ over
    the model; ``parameters`` counts the model's.

    Raises: ValueError, for an unknown optimizer or decay (with the nearest) and for numbers out of range; MissingError,
    for SGD without its momentum.
    """

    optimizer: str
    lr: float
    weight_decay: float
    batch_size: float | None = None
    epochs: float | None = None
    samples: float | None = None
    decay: str = ""
    momentum: float | None = None
    dampening: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    mean_square: float | None = None
    parameters: float | None = None
    width: float = 1.0  # relative to another setting's

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(unknown("optimizer", self.optimizer, OPTIMIZERS))
        if self.decay and self.decay not in DECAYS:
            raise ValueError(unknown("decay", self.decay, DECAYS))
        positive(lr=self.lr)
        non_negative(weight_decay=self.weight_decay, eps=self.eps)
        below_one(beta1=self.betas[0], beta2=self.betas[1])
        for name in ("batch_size", "epochs", "samples", "mean_square", "parameters"):
            value = getattr(self, name)
            if value is not None:
                positive(**{name: value})
        if self.family == "sgd":
            if self.momentum is None:
                raise MissingError(
                    "momentum", "of SGD it sets by how much a gradient moves a weight. It is 0.9 or 0 mostly."
                )
            sgd_gain(self.momentum, self.dampening)
        if self.batch_size and self.samples and self.batch_size > self.samples:
            raise ValueError(
                f"batch_size={self.batch_size:g} exceeds samples={self.samples:g}: an epoch would be less than a step. "
                "Both count examples, or both tokens."
            )

    @property
    def family(self) -> str:
        """Of optimizers: sgd, adam or adai."""
        return OPTIMIZERS[self.optimizer].family

    @property
    def meaning(self) -> str:
        """What λ means: one of the decays."""
        return self.decay or OPTIMIZERS[self.optimizer].decay

    @property
    def name(self) -> str:
        """The optimizer, and its decay where that is not its own."""
        return self.optimizer if self.meaning == OPTIMIZERS[self.optimizer].decay else f"{self.optimizer} {self.decay}"

    @property
    def gain(self) -> float | None:
        """ḡ, as far as it is known: of Adam with v̄ only."""
        if self.family == "sgd":
            return sgd_gain(self.momentum or 0.0, self.dampening)
        if self.family == "adai":
            return 1.0
        return None if self.mean_square is None else adam_gain(self.mean_square)

    @property
    def coupled(self) -> bool:
        """Whether the peak lr multiplies λ."""
        return self.meaning in ("l2", "decoupled", "stable")

    @property
    def strength(self) -> float:
        """ηλ, or λ where the lr does not multiply it: the pull at the peak, up to the gain."""
        return self.lr * self.weight_decay if self.coupled else self.weight_decay

    @property
    def pull(self) -> float | None:
        """By which fraction a step at the peak shrinks the weights; None without v̄, and for L2 that √v̂ divides."""
        if self.meaning not in ("l2", "stable"):
            return self.strength
        if self.family == "adam" and self.meaning == "l2":
            return None
        return None if self.gain is None else self.strength * self.gain

    @property
    def shrinking(self) -> float:
        """The pull; where it is not known, the strength, which is proportional to it."""
        return self.strength if self.pull is None else self.pull

    @property
    def steps(self) -> float:
        """Of the whole training, as a real number: samples · epochs / batch size. Raises: MissingError."""
        for name in ("batch_size", "epochs", "samples"):
            if getattr(self, name) is None:
                raise MissingError(
                    name, "the rules for batch, length and data count steps, samples · epochs / batch_size."
                )
        batch_size, epochs, samples = (getattr(self, name) for name in ("batch_size", "epochs", "samples"))
        return float(samples * epochs / batch_size)
