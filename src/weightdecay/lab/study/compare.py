"""Which optimizer, with how much weight decay? The question as settings, and the runs that answer it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from weightdecay.checks import whole_at_least
from weightdecay.lab.run import Run, options
from weightdecay.lab.run.methods import method, portable, takes_momentum, with_code
from weightdecay.lab.run.product import MOST
from weightdecay.lab.run.settings import SettingsError, as_settings, command_line, left_out
from weightdecay.lab.study.members import Member, members, remarks
from weightdecay.lab.study.question import Point, Question

DIGITS = 1797
"""Scans in scikit-learn's handwritten digits; those not trained on are the test set."""

AUTO = "auto"
"""Where a number is expected: the default of each optimizer."""

MULTIPLES = (0.3, 1.0, 3.0)
"""The default λ's, beside 0, as multiples of where the optimum is expected."""


WIDTH = 16
"""Channels of the first stage of the network."""


@dataclass(frozen=True)
class Settings:
    """Train a small convolutional network on real data under several optimizers and weight decays, and say which wins.

    Ends with a table, two figures, results.csv and one page, compare.html, that opens offline. What has been
    trained is kept: a run that was stopped continues, and a finished comparison is only drawn again.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "weightdecay compare",
        "weightdecay compare --optimizers adamw adams --seeds 5",
        "weightdecay compare --weight-decays 0 adamw=1,10,30",
        "weightdecay compare --lrs adams=3e-4,1e-3 --out lrs",
        "weightdecay compare --optimizers adam --decays stable my_rules:Mine",
    )
    optimizers: tuple[str, ...] = ("sgd", "sgds", "adam", "adamw", "adams")
    """Optimizers: names, as weightdecay.available() lists them, or paths of your own, package.module:Class."""
    decays: Annotated[tuple[str, ...], left_out("each optimizer's own")] = ()
    """Decays to give every optimizer: names, calls as "toward(1.0)", or paths of your own, package.module:Rule(0.3)."""
    weight_decays: tuple[str, ...] = (AUTO,)
    """λ's for every optimizer, or NAME=λ[,λ...] for one of them, or for a decay; auto is 0 and three near the best."""
    lrs: tuple[str, ...] = (AUTO,)
    """Learning rates for every optimizer, or NAME=LR[,LR...] for one; auto is the optimizer's own."""
    seeds: int = 3
    """Number of seeds for each λ. A seed decides initial weights, wrong labels and order of the data."""
    epochs: int = 20
    """Passes over the training data; the default λ's are in proportion to 1/steps."""
    batch_size: int = 64
    """Images per step."""
    label_noise: float = 0.2
    """Fraction of the training labels that are replaced by a wrong one."""
    train_size: int = 1000
    """Images to train on, of 1797; the others are the test set."""
    momentum: float = 0.9
    """Momentum of SGD and its variants."""
    network: Literal["smallcnn", "resnet8"] = "smallcnn"
    """Three convolutions, or a residual network of seven, which takes twice as long. Both of width 16."""
    out: Path = Path("weightdecay-compare")
    """Folder for page, figures and runs."""
    jobs: int = 0
    """Runs at a time; 0 is one for each CPU core."""

    @property
    def names(self) -> tuple[str, ...]:
        """Optimizers, one by one."""
        return tuple(name for token in self.optimizers for name in token.split(",") if name)

    @property
    def steps(self) -> int:
        """Optimizer steps of each run."""
        return self.epochs * math.ceil(self.train_size / self.batch_size)


def default_weight_decays(member: Member, lr: float, settings: Settings) -> tuple[float, ...]:
    """Return 0 and :data:`MULTIPLES` of the expected optimum, which scales as 1/steps; see :meth:`Member.centre`.

    Rounded to two digits, so that what is printed is what was run.
    """
    centre = member.centre(lr, settings.momentum) / settings.steps
    return (0.0, *(float(f"{centre * multiple:.1e}") for multiple in MULTIPLES))


def grid(settings: Settings) -> dict[Point, tuple[Run, ...]]:
    """Return the runs of every point, in the order of the seeds.

    At λ = 0 all decays of a method are the same optimizer: those points share the runs of the method's base.

    Raises: SettingsError, before anything has started.
    """
    compared = _check(settings)
    weight_decays = _by_member("--weight-decays", settings.weight_decays, compared, _weight_decay)
    lrs = _by_member("--lrs", settings.lrs, compared, _lr)
    values = [
        (member, lr, weight_decay)
        for member in compared
        for lr in _expand(lrs[member], (method(member.optimizer).lr,))
        for weight_decay in _expand(weight_decays[member], default_weight_decays(member, lr, settings))
    ]
    if (size := len(values) * settings.seeds) > MOST:
        raise SettingsError(f"the grid makes {size:,} runs, and {MOST:,} are the most. Take fewer seeds, λ's or lrs.")
    points: dict[Point, tuple[Run, ...]] = {}
    for member, lr, weight_decay in values:
        runner = member.optimizer if weight_decay else member.base
        own = dict(member.options) if weight_decay else {}
        if takes_momentum(runner):
            own["momentum"] = settings.momentum
        run = with_code(
            Run(
                optimizer=runner,
                lr=lr,
                weight_decay=weight_decay,
                seed=0,
                epochs=settings.epochs,
                batch_size=settings.batch_size,
                optimizer_options=options(own),
                train_size=settings.train_size,
                label_noise=settings.label_noise,
                network=settings.network,
                network_options=options(width=WIDTH),
            )
        )
        point = Point(member.optimizer, lr, weight_decay, member.variant)
        points[point] = tuple(replace(run, seed=seed) for seed in range(settings.seeds))
    return points


def question(settings: Settings) -> Question:
    """Return what is asked, in the form that a report takes. Raises: SettingsError, before anything has started."""
    points = grid(settings)
    run = next(iter(points.values()))[0]
    noise = f"{100 * settings.label_noise:g} %"
    digits = "scikit-learn’s handwritten digits"
    wrong = f", {noise} of their labels replaced by a wrong one" if settings.label_noise else ""
    drops = " and ".join(f"{100 * part:g} %" for part in run.milestones)
    return Question(
        points=points,
        setting=digits + (f" with {noise} of the training labels wrong" if settings.label_noise else ""),
        command=command_line(settings, ["compare"]),
        rows=(
            (
                "Data",
                f"{run.data}: {digits}, 8 × 8 pixels, 10 classes; {settings.train_size} images to train on{wrong}; "
                f"{DIGITS - settings.train_size} for test, labels untouched",
            ),
            ("Network", f"{run.network}, width {WIDTH}"),
            (
                "Training",
                f"{settings.epochs} epochs of batches of {settings.batch_size}, {settings.steps} steps; "
                f"lr × {run.lr_factor:g} after {drops}; momentum {settings.momentum:g} for SGD",
            ),
            *(("Compared", remark) for remark in remarks(settings.names, settings.decays)),
        ),
        label_noise=settings.label_noise,
        classes=10,
        test_size=DIGITS - settings.train_size,
        steps=settings.steps,
        grid=("--weight-decays", "--lrs"),
    )


def _check(settings: Settings) -> tuple[Member, ...]:
    """Refuse what cannot be run; return what is compared, each once."""
    for name, least in (("seeds", 1), ("epochs", 1), ("batch_size", 1), ("train_size", 1), ("jobs", 0)):
        option, usual = f"--{name.replace('_', '-')}", getattr(Settings, name)
        with as_settings():
            whole_at_least(option, getattr(settings, name), least, f"The default is {usual}.")
    if settings.train_size >= DIGITS:
        raise SettingsError(
            f"--train-size {settings.train_size}: the data has {DIGITS} images and some must be left for test. "
            "Use 1000."
        )
    if settings.batch_size > settings.train_size:
        raise SettingsError(
            f"--batch-size {settings.batch_size}: there are {settings.train_size} images to train on, and no step has "
            f"more. Use {settings.train_size} for one step per epoch."
        )
    if not 0 <= settings.label_noise < 1:
        raise SettingsError(
            f"--label-noise {settings.label_noise:g}: it is a fraction of the labels, from 0 to below 1. Use 0.2."
        )
    if not 0 <= settings.momentum < 1:
        raise SettingsError(
            f"--momentum {settings.momentum:g}: from 1 on the update never forgets. Use 0 or more, below 1."
        )
    if not settings.names:
        raise SettingsError("--optimizers is empty: name at least one, as in --optimizers adamw adams.")
    return members(settings.names, settings.decays)


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


def _by_member(
    option: str, tokens: Iterable[str], compared: tuple[Member, ...], check: Callable[[float], float]
) -> dict[Member, list[float | None]]:
    """Read ``0.1 adams=1,auto``: plain numbers are for all that are not named; None stands for auto.

    A name is that of an optimizer or of a decay; the decay's numbers come before the optimizer's.
    """
    everywhere: list[float | None] = []
    named: dict[str, list[float | None]] = {}
    known = tuple(dict.fromkeys(name for member in compared for name in member.asked))
    for token in tokens:
        name, equals, numbers = token.rpartition("=")
        name = name.strip()
        if name not in known:
            name = portable(name) if ":" in name else name.lower()
        if equals and name not in known:
            raise SettingsError(
                f"{option} {token}: {name!r} is not compared. Compared: {', '.join(known)}; add it to --optimizers."
            )
        target = named.setdefault(name, []) if equals else everywhere
        for number in numbers.split(","):
            try:
                target.append(None if number == AUTO else check(float(number)))
            except _RangeError as reason:
                raise SettingsError(f"{option} {token}: {reason}, not {number}.") from None
            except ValueError:
                raise SettingsError(
                    f"{option} {token}: {number!r} is not a number. Write 0.1, or {known[0]}=0.1,1."
                ) from None
    return {
        member: next((named[name] for name in member.asked if name in named), everywhere) or [None]
        for member in compared
    }


def _expand(values: Iterable[float | None], defaults: tuple[float, ...]) -> list[float]:
    """Return the values in order, each once, with the defaults where auto stands."""
    return sorted({number for value in values for number in (defaults if value is None else (value,))})
