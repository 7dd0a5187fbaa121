"""The setting that a user has, and the changes that the user wants: the numbers that the rules need."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields

from weightdecay.catalog import OPTIMIZERS, OptimizerRow
from weightdecay.transfer.conversion import DECAYS, GAINLESS, adam_gain, heavy_ball_gain, pulls, sgd_gain
from weightdecay.transfer.domain import below_one, computed, known, non_negative, positive, shown


class MissingError(ValueError):
    """A rule needs a number that was not given; ``quantity`` names it, and ``reason`` gives its purpose."""

    def __init__(self, quantity: str, reason: str) -> None:
        super().__init__(f"{quantity} is missing: {reason}")
        self.quantity, self.reason = quantity, reason


@dataclass(frozen=True)
class Setting:
    """The numbers of a training that the rules need; None stands for an unknown number.

    Units: ``lr`` at the peak of its schedule; ``weight_decay`` in the meaning of ``decay`` (default: the optimizer's
    own); ``batch_size`` and ``samples`` in examples, or both in tokens; ``parameters`` counts the model's.
    ``measured_gain`` is effective_lr/lr as ``monitor.read`` and a run's epochs report it; ``mean_square`` is v̄, the
    mean of Adam's v̂ over the model, from which the gain of Adam, AMSGrad, Yogi and Padam (with ``partial`` at its
    default of 1/4) follows. Names may be in any case; numbers become floats.

    Raises: ValueError, for an unknown optimizer or decay (with the nearest), for numbers out of range or whose products
    leave the floats, and for a training of less than a step; MissingError, for SGD without its momentum.
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
    measured_gain: float | None = None
    parameters: float | None = None

    def __post_init__(self) -> None:
        self._set(optimizer=known("optimizer", self.optimizer, OPTIMIZERS))
        if self.decay != "":
            if str(self.decay).lower() == "logtime":
                raise ValueError(
                    "decay='logtime': its pull falls with t/horizon, so no single λ of another decay corresponds to "
                    "it. convert_along(λ, old, new, lrs, horizon=…) gives the λ of the same total pull over a schedule."
                )
            decay = known("decay", self.decay, DECAYS)
            self._set(decay="" if decay == self.kind.decay else decay)
        for name in ("lr", "batch_size", "epochs", "samples", "mean_square", "measured_gain", "parameters"):
            if name == "lr" or getattr(self, name) is not None:
                self._set(**{name: positive(**{name: getattr(self, name)})[0]})
        for name in ("weight_decay", "eps"):
            self._set(**{name: non_negative(**{name: getattr(self, name)})[0]})
        for name in ("momentum", "dampening"):
            if getattr(self, name) is not None:
                self._set(**{name: below_one(**{name: getattr(self, name)})[0]})
        if not isinstance(self.betas, (tuple, list)) or len(self.betas) != 2:
            raise ValueError(f"betas={shown(self.betas)}: must be two numbers, as in (0.9, 0.999).")
        self._set(betas=below_one(beta1=self.betas[0], beta2=self.betas[1]))
        self._gain_is_known()
        self._fits()

    def _set(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _gain_is_known(self) -> None:
        """Refuse what contradicts the optimizer's own gain, or cannot say it."""
        if self.family == "sgd" and self.momentum is None:
            raise MissingError(
                "momentum", "for SGD it sets the factor by which a gradient moves a weight. It is usually 0.9 or 0."
            )
        if self.method == "tensorflowsgd" and self.dampening:
            raise ValueError(f"dampening={self.dampening:g}: TensorFlow's SGD has none. Leave it out.")
        if self.family in GAINLESS:
            pulls(self.family, self.meaning)
        for name in ("mean_square", "measured_gain"):
            if getattr(self, name) is not None and self.family != "adam":
                raise ValueError(
                    f"{name}={getattr(self, name):g}: the gain of {self.optimizer} need not be measured. For SGD it "
                    "follows from momentum and dampening, for Adai it is 1, and a sign or an orthogonal matrix has "
                    "none. Leave it out."
                )
        if self.mean_square is not None and self.kind.power is None:
            raise ValueError(
                f"mean_square={self.mean_square:g}: the gain of {self.optimizer} is not a power of v̄ (RAdam multiplies "
                "v̄^(−1/2) by r_t, AdaBound clips it). Give its measured_gain, effective_lr/lr."
            )
        if self.mean_square is not None and self.measured_gain is not None:
            raise ValueError(f"mean_square={self.mean_square:g} beside measured_gain: either is enough. Pass only one.")

    def _fits(self) -> None:
        """Refuse an epoch or a training of less than a step, and products that leave the floats."""
        if self.batch_size and self.samples and self.batch_size > self.samples:
            raise ValueError(
                f"batch_size={self.batch_size:g} exceeds samples={self.samples:g}: an epoch would be less than a step. "
                "Count both in examples, or both in tokens."
            )
        if None not in (self.batch_size, self.epochs, self.samples) and not computed("steps", self.steps) >= 1:
            raise ValueError(f"epochs={self.epochs:g} of samples={self.samples:g} are less than a step. Train longer.")
        if self.weight_decay:
            for product in (self.strength, self.shrinking):
                if not 0 < product < float("inf"):
                    raise ValueError(
                        f"lr={self.lr:g} with weight_decay={self.weight_decay:g}: a step would shrink the weights by "
                        f"the fraction {product:g}, which no float holds. Check their units."
                    )

    @property
    def kind(self) -> OptimizerRow:
        """The row of the optimizer in the catalog."""
        return OPTIMIZERS[self.optimizer]

    @property
    def family(self) -> str:
        """The family of the optimizer: sgd, adam, adai, sign or orthogonal."""
        return self.kind.family

    @property
    def method(self) -> str:
        """The algorithm, whatever its decay."""
        return self.kind.base

    @property
    def meaning(self) -> str:
        """The decay that gives λ its meaning."""
        return self.decay or self.kind.decay

    @property
    def name(self) -> str:
        """The optimizer, and its decay where that is not its own."""
        return self.optimizer if self.meaning == self.kind.decay else f"{self.optimizer} {self.decay}"

    @property
    def gain(self) -> float | None:
        """ḡ, as far as it is known: the optimizer's own; of Adam and its relatives what was measured, or None."""
        if self.family == "sgd":
            of = sgd_gain if self.method == "sgd" else heavy_ball_gain
            return of(self.momentum or 0.0, self.dampening)
        if self.family == "adai":
            return 1.0
        if self.mean_square is not None and self.kind.power is not None:
            return adam_gain(self.mean_square, self.kind.power)
        return self.measured_gain

    @property
    def coupled(self) -> bool:
        """Whether the peak lr multiplies λ."""
        return self.meaning in ("l2", "decoupled", "stable", "corrected")

    @property
    def strength(self) -> float:
        """ηλ, or λ where the lr does not multiply it: the pull at the peak, up to the gain."""
        return self.lr * self.weight_decay if self.coupled else self.weight_decay

    @property
    def pull(self) -> float | None:
        """The fraction by which a step at the peak shrinks the weights; None without a gain, and for L2 under Adam."""
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
        """The steps of the whole training, as a real number: samples · epochs / batch size. Raises: MissingError."""
        for name in ("batch_size", "epochs", "samples"):
            if getattr(self, name) is None:
                raise MissingError(
                    name, "the rules for batch, length and data count steps, samples · epochs / batch_size."
                )
        batch_size, epochs, samples = (getattr(self, name) for name in ("batch_size", "epochs", "samples"))
        return float(samples / batch_size * epochs)


@dataclass(frozen=True)
class Wanted:
    """The wanted changes; None leaves a value as it is. ``width`` is a factor.

    ``lr`` is for another algorithm only: no rule converts an lr of SGD into one of Adam, or of Adam into one of Padam.

    Raises: ValueError, for values out of range, each called by its name with ``new_`` in front, and for unknown names.
    """

    batch_size: float | None = None
    epochs: float | None = None
    samples: float | None = None
    parameters: float | None = None
    width: float = 1.0
    optimizer: str | None = None
    decay: str | None = None
    lr: float | None = None
    momentum: float | None = None

    def __post_init__(self) -> None:
        checks = {"width": positive(width=self.width)[0]}
        for name in ("batch_size", "epochs", "samples", "parameters", "lr"):
            if getattr(self, name) is not None:
                checks[name] = positive(**{f"new_{name}": getattr(self, name)})[0]
        if self.momentum is not None:
            checks["momentum"] = below_one(new_momentum=self.momentum)[0]
        names: dict[str, Collection[str]] = {"optimizer": OPTIMIZERS, "decay": DECAYS}
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        texts = {name: known(name, value, names[name]) for name, value in given.items()}
        for name, value in {**checks, **texts}.items():
            object.__setattr__(self, name, value)

    @property
    def given(self) -> tuple[str, ...]:
        """The names of the wanted changes."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name) not in (None, field.default))
