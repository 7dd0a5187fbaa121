"""Which optimizer, with how much weight decay? The question as settings, and the runs that answer it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from weightdecay.lab.run import Run

DIGITS = 1797
"""Scans in scikit-learn's handwritten digits; those not trained on are the test set."""

AUTO = "auto"
"""Where a number is expected: the default of each optimizer."""

MULTIPLES = (0.3, 1.0, 3.0)
"""The default λ's, beside 0, as multiples of where the optimum is expected."""


class SettingsError(ValueError):
    """A setting that cannot be run: the message names the option, its value, the reason and the way out."""


@dataclass(frozen=True)
class Method:
    r"""What the lab knows of an optimizer before it has trained anything.

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


@dataclass(frozen=True)
class Settings:
    """Train a small residual network on real data under several optimizers and weight decays, and say which wins.

    Ends with a table, two figures, results.csv and one page, compare.html, that opens offline. What has been
    trained is kept: a run that was stopped continues, and a finished comparison is only drawn again.

    Some questions it answers:

        weightdecay compare
        weightdecay compare --optimizers adamw adams --seeds 5
        weightdecay compare --weight-decays 0 adamw=1,10,30
        weightdecay compare --lrs adams=3e-4,1e-3 --out lrs
    """

    optimizers: tuple[str, ...] = ("sgd", "sgds", "adam", "adamw", "adams")
    """Names, as in weightdecay.available()."""
    weight_decays: tuple[str, ...] = (AUTO,)
    """λ's for every optimizer, or NAME=λ[,λ...] for one. auto: 0 and three around the expected optimum."""
    lrs: tuple[str, ...] = (AUTO,)
    """Learning rates for every optimizer, or NAME=LR[,LR...] for one. auto: 0.1 for SGD, 0.001 for Adam."""
    seeds: int = 3
    """Seeds for each cell. A seed decides initial weights, wrong labels and order of the data."""
    epochs: int = 25
    """Passes over the training data. The default λ's scale as 1/steps."""
    batch_size: int = 64
    """Images in a step."""
    label_noise: float = 0.2
    """Fraction of the training labels that are replaced by a wrong one."""
    train_size: int = 1000
    """Images to train on, of 1797; the others are for test."""
    momentum: float = 0.9
    """Momentum of SGD and its variants."""
    out: Path = Path("weightdecay-compare")
    """Folder for the page, the figures and the runs."""
    jobs: int = 0
    """Runs at the same time. 0: one for each CPU core."""

    @property
    def steps(self) -> int:
        """Optimizer steps of each run."""
        return self.epochs * math.ceil(self.train_size / self.batch_size)


@dataclass(frozen=True)
class Point:
    """One place of the grid: an optimizer, its lr and its λ. Its runs differ by seed only."""

    optimizer: str
    lr: float
    weight_decay: float


def default_weight_decays(optimizer: str, lr: float, settings: Settings) -> tuple[float, ...]:
    """Return 0 and :data:`MULTIPLES` of the expected optimum, which scales as 1/steps; see :class:`Method`.

    Rounded to two digits, so that what is printed is what was run.
    """
    known = method(optimizer)
    centre = known.centre / settings.steps
    if known.decay == "decoupled":
        centre /= lr
        if known.base == "sgd":
            centre *= 0.1 / (1 - settings.momentum)  # λ_SGDW = λ_L2/(1 − β); the centre is for β = 0.9
    return (0.0, *(float(f"{centre * multiple:.1e}") for multiple in MULTIPLES))


def grid(settings: Settings) -> dict[Point, tuple[Run, ...]]:
    """Return the runs of every point, in the order of the seeds.

    At λ = 0 all decays of a method are the same optimizer: those points share the runs of the method's base.

    Raises: SettingsError, before anything has started.
    """
    optimizers = _check(settings)
    weight_decays = _by_optimizer("--weight-decays", settings.weight_decays, optimizers, _weight_decay)
    lrs = _by_optimizer("--lrs", settings.lrs, optimizers, _lr)
    points: dict[Point, tuple[Run, ...]] = {}
    for optimizer in optimizers:
        for lr in _expand(lrs[optimizer], (method(optimizer).lr,)):
            for weight_decay in _expand(weight_decays[optimizer], default_weight_decays(optimizer, lr, settings)):
                runner = optimizer if weight_decay else method(optimizer).base
                points[Point(optimizer, lr, weight_decay)] = tuple(
                    Run(
                        optimizer=runner,
                        lr=lr,
                        weight_decay=weight_decay,
                        seed=seed,
                        epochs=settings.epochs,
                        batch_size=settings.batch_size,
                        momentum=settings.momentum,
                        train_size=settings.train_size,
                        label_noise=settings.label_noise,
                    )
                    for seed in range(settings.seeds)
                )
    return points


def plan(settings: Settings) -> list[Run]:
    """Return every run once: all points with the first seed, then all with the second, so that early looks are fair.

    Raises: SettingsError, before anything has started.
    """
    by_seed = zip(*grid(settings).values(), strict=True)
    return list(dict.fromkeys(run for runs in by_seed for run in runs))


def command(settings: Settings) -> str:
    """Return the command line that asks this question again: what differs from the defaults."""
    import shlex

    words = ["weightdecay", "compare"]
    for field in fields(settings):
        value = getattr(settings, field.name)
        if value != field.default:
            values = value if isinstance(value, tuple) else (value,)
            words += ["--" + field.name.replace("_", "-"), *map(str, values)]
    return shlex.join(words)


def _check(settings: Settings) -> tuple[str, ...]:
    """Refuse what cannot be run; return the optimizers in lower case, each once."""
    for name, least in (("seeds", 1), ("epochs", 1), ("batch_size", 1), ("train_size", 1), ("jobs", 0)):
        value = getattr(settings, name)
        if value < least:
            default = getattr(Settings, name)
            raise SettingsError(
                f"--{name.replace('_', '-')} {value}: it must be {least} or more. The default is {default}."
            )
    if settings.train_size >= DIGITS:
        raise SettingsError(
            f"--train-size {settings.train_size}: the data has {DIGITS} images and some must be left for test. "
            "Use 1000."
        )
    if not 0 <= settings.label_noise < 1:
        raise SettingsError(
            f"--label-noise {settings.label_noise:g}: it is a fraction of the labels, from 0 to below 1. Use 0.2."
        )
    if not 0 <= settings.momentum < 1:
        raise SettingsError(
            f"--momentum {settings.momentum:g}: from 1 on the update never forgets. Use 0 or more, below 1."
        )
    names = [name.lower() for token in settings.optimizers for name in token.split(",") if name]
    if not names:
        raise SettingsError("--optimizers is empty: name at least one, as in --optimizers adamw adams.")
    import weightdecay
    from weightdecay.optim.hyper import unknown

    for name in names:
        if name not in weightdecay.available():
            raise SettingsError(unknown("optimizer", name, weightdecay.available()))
    return tuple(dict.fromkeys(names))


class _RangeError(Exception):
    """Why a number is refused."""


def _weight_decay(value: float) -> float:
    if not 0 <= value < math.inf:
        raise _RangeError("a weight decay is a finite number, 0 or above")
    return value + 0.0  # −0.0 is 0.0


def _lr(value: float) -> float:
    if not 0 < value < math.inf:
        raise _RangeError("a learning rate is a finite number above 0")
    return value


def _by_optimizer(
    option: str, tokens: Iterable[str], optimizers: tuple[str, ...], check: Callable[[float], float]
) -> dict[str, list[float | None]]:
    """Read ``0.1 adams=1,auto``: plain numbers are for every optimizer that is not named; None stands for auto."""
    everywhere: list[float | None] = []
    named: dict[str, list[float | None]] = {}
    for token in tokens:
        name, equals, numbers = token.rpartition("=")
        name = name.strip().lower()
        if equals and name not in optimizers:
            raise SettingsError(
                f"{option} {token}: {name!r} is not compared. Compared: {', '.join(optimizers)}; "
                "add it to --optimizers."
            )
        target = named.setdefault(name, []) if equals else everywhere
        for number in numbers.split(","):
            try:
                target.append(None if number == AUTO else check(float(number)))
            except _RangeError as reason:
                raise SettingsError(f"{option} {token}: {reason}, not {number}.") from None
            except ValueError:
                raise SettingsError(
                    f"{option} {token}: {number!r} is not a number. Write 0.1, or {optimizers[0]}=0.1,1."
                ) from None
    return {name: named.get(name, everywhere) or [None] for name in optimizers}


def _expand(values: Iterable[float | None], defaults: tuple[float, ...]) -> list[float]:
    """Return the values in order, each once, with the defaults where auto stands."""
    return sorted({number for value in values for number in (defaults if value is None else (value,))})
