"""A run: everything that decides a result, and the result it decides. Its hash is its address."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from weightdecay import checks
from weightdecay.lab.run.settings import SettingsError

PROTOCOL = 2
"""Raised when training itself changes meaning, so that results of the old meaning are not taken for the new."""

ADDED_LATER = ("test_size", "image_size", "optimizer_digest", "weight_decay_schedule")
"""Fields that older runs do not have: at 0 or empty they are left out of the address: those runs keep theirs."""

Option = bool | int | float | str
Options = tuple[tuple[str, Option], ...]
"""Options by name, sorted: ``(("momentum", 0.9), ("nesterov", True))``."""


def options(values: Mapping[str, Option] | None = None, **more: Option) -> Options:
    """Return options in the form a :class:`Run` keeps.

    >>> options(nesterov=True, momentum=0.9)
    (('momentum', 0.9), ('nesterov', True))
    """
    return tuple(sorted({**(values or {}), **more}.items()))


@dataclass(frozen=True)
class Run:
    """One training run. Two runs with equal fields give equal results on one machine; nothing else decides them.

    Units: ``lr`` and ``weight_decay`` are what the optimizer's constructor takes; ``milestones`` are fractions of the
    epochs, ``warmup`` and ``restart_period`` epochs; ``label_noise`` is the fraction of training labels replaced by a
    different class; sizes are examples (of a text, tokens), 0 standing for all (``train_size``, ``test_size``) or none
    (``validation_size``).
    """

    optimizer: str
    lr: float
    weight_decay: float
    seed: int
    epochs: int = 25
    batch_size: int = 64
    optimizer_options: Options = ()
    optimizer_digest: str = ""  # of the code of a user's own optimizer and decay
    max_grad_norm: float = 0.0  # 0: no clipping
    # the learning rate over time; see schedule.py
    schedule: str = "step"
    milestones: tuple[float, ...] = (0.4, 0.8)
    lr_factor: float = 0.1
    warmup: float = 0.0
    restart_period: float = 14.0
    restart_factor: float = 2.0
    weight_decay_schedule: str = ""  # λ over time, as weightdecay.schedule reads it: "cosine"; empty: constant
    # the data; see data/
    data: str = "digits"
    data_digest: str = ""  # of data whose name does not fix its content: a folder, a text, a user's own
    train_size: int = 0
    validation_size: int = 0
    label_noise: float = 0.0
    test_size: int = 0
    image_size: int = 0  # pixels a side that images are averaged down to; 0: as they are
    augment: bool = True
    sequence: int = 35  # tokens in a step of a language model
    # the network; see models/
    network: str = "resnet8"
    network_options: Options = ()
    # arithmetic: it decides the last bits
    dtype: str = "float32"  # float64; bfloat16: autocast, weights stay float32
    channels_last: bool = True  # of images and weights; layers that would crash so are excepted, see layout.py
    compile: bool = False
    processes: int = 1
    strategy: str = "ddp"  # or fsdp; of several processes

    def __post_init__(self) -> None:
        # A whole number where a float is meant is the same run: it must have the same address.
        for each in fields(self):
            value = getattr(self, each.name)
            if each.type == "float" and type(value) is int:
                object.__setattr__(self, each.name, float(value))
        object.__setattr__(self, "milestones", tuple(map(float, self.milestones)))
        for table in ("optimizer_options", "network_options"):
            values = tuple((name, _tuples(_plain(name, value, table))) for name, value in getattr(self, table))
            object.__setattr__(self, table, values)

    def __str__(self) -> str:
        return (
            f"{self.optimizer} on {self.data} with {self.network}, lr {self.lr:g}, λ {self.weight_decay:g}, "
            f"seed {self.seed} ({self.address})"
        )

    @property
    def address(self) -> str:
        """Sixteen hexadecimal digits that name this run and no other."""
        known = {name: value for name, value in asdict(self).items() if value or name not in ADDED_LATER}
        content = json.dumps({"protocol": PROTOCOL, **known}, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Run:
        """The inverse of ``dataclasses.asdict`` after a passage through JSON, where tuples are lists."""
        return cls(**{name: _tuples(value) for name, value in values.items()})


def _plain(name: str, value: Any, table: str) -> Any:
    """Return an option as Python's own value. Raises: SettingsError, for an object: its address would not tell it."""
    value = checks.plain(value)
    parts = value if isinstance(value, (tuple, list)) else value.values() if isinstance(value, dict) else (value,)
    if all(part is None or isinstance(part, (bool, int, float, str, tuple, list, dict)) for part in parts):
        return value
    instead = "Write it as a number or a text."
    if name == "decay":
        from weightdecay.decay import Decay, spelled

        if isinstance(value, Decay):
            instead = f'Write it as a text: decay="{spelled(value)}".'
    raise SettingsError(
        f"{table}: {name}={value!r} is an object, and the address of a run is made of plain values: two objects could "
        f"share one. {instead}"
    )


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, (list, tuple)) else value


@dataclass(frozen=True)
class Metric:
    """The number that judges a trained network on the test set; lower is better."""

    name: str  # "test error"
    unit: str  # "%", or ""


ERROR = Metric("test error", "%")
PERPLEXITY = Metric("test perplexity", "")


@dataclass(frozen=True)
class Epoch:
    """What one epoch measured. Losses are means over examples; None stands for a number that is not finite.

    ``test`` and ``validation`` are the metric of the result: errors in percent or a perplexity.
    """

    epoch: int  # 1, 2, …
    lr: float  # of the epoch's last step
    train_loss: float | None  # running mean over the epoch's batches, against the (noisy) training labels
    test_loss: float | None
    test: float | None
    validation_loss: float | None = None
    validation: float | None = None
    effective_lr: float | None = None  # lr × the mean gain of the last step; None: the optimizer defines none
    grad_norm: float | None = None  # of the whole model, in the last step
    weight_norm: float | None = None


@dataclass(frozen=True)
class Result:
    """A finished run. ``status`` is ``"finished"`` or ``"diverged"`` (the training loss stopped being finite)."""

    run: Run
    status: str
    epochs: tuple[Epoch, ...]
    seconds: float  # of training and measuring, over all the processes that took it up one after the other
    metric: Metric = ERROR
    where: str = ""  # device and processes
    versions: dict[str, str] = field(default_factory=dict)
    weights: str = ""  # SHA-256 of the trained weights: equal for equal runs
    skipped_steps: int = 0
    clamped_steps: int = 0

    @property
    def last(self) -> float:
        """The metric at the last epoch; a diverged run has that of the epoch it reached. Infinite if not finite."""
        return _number(self.epochs[-1].test)

    @property
    def best(self) -> float:
        """The lowest metric over epochs: the paper's number. It peeks at the test set."""
        return min(_number(epoch.test) for epoch in self.epochs)

    @property
    def selected(self) -> float | None:
        """The metric on the test set at the epoch that is best on the validation set; None without one."""
        judged = [epoch for epoch in self.epochs if epoch.validation is not None]
        return _number(min(judged, key=lambda epoch: _number(epoch.validation)).test) if judged else None

    @property
    def validated(self) -> float | None:
        """The lowest metric on the validation set over epochs; None without one. Infinite if never finite."""
        judged = [epoch.validation for epoch in self.epochs if epoch.validation is not None]
        return min(judged, default=math.inf if any(epoch.validation_loss for epoch in self.epochs) else None)

    def late(self, quantity: str, part: float) -> float:
        """The mean of an epoch's quantity over the last part of the epochs, at least the last. Infinite if not finite.

        ``quantity`` is the name of a field of :class:`Epoch`, ``part`` a fraction of the epochs.
        """
        count = max(1, round(part * len(self.epochs)))
        values = [getattr(epoch, quantity) for epoch in self.epochs[-count:]]
        return math.inf if None in values else sum(values) / count

    def gain(self, epoch: int) -> float | None:
        """The mean gain in the last step of an epoch, counted from 0, or from −1 at the end; None where there is none.

        The gain is by how much an update multiplies a gradient: the effective lr over the lr, 1/√v̄ of Adam.
        """
        one = self.epochs[epoch]
        return one.effective_lr / one.lr if one.effective_lr and one.lr else None

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for ``json.dump``."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Result:
        """The inverse of :meth:`to_json`."""
        return cls(
            **{
                **values,
                "run": Run.from_json(values["run"]),
                "metric": Metric(**values["metric"]),
                "epochs": tuple(Epoch(**epoch) for epoch in values["epochs"]),
            }
        )


def _number(value: float | None) -> float:
    return math.inf if value is None else value
