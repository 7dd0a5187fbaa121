"""A run: everything that decides a result, and the result it decides. Its hash is its address."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from weightdecay import checks
from weightdecay.lab.run.settings import SettingsError

PROTOCOL = 2
"""Raised when training itself changes meaning, so that results of the old meaning are not taken for the new."""

ITS_OWN = math.nan
"""In place of a learning rate: the one that the optimizer has by default. A run that is trained has a number."""

ADDED_LATER = ("test_size", "image_size", "optimizer_digest", "weight_decay_schedule", "classes", "start", "frozen")
"""Fields that older runs do not have: at 0, None, False or empty they are left out of the address, which stays."""

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

    What a field means stands below it, for a person at a command line as well. ``lr`` and ``weight_decay`` are what the
    optimizer's constructor takes.
    """

    optimizer: str
    """Name of an optimizer, as weightdecay.available() lists them, or the path of your own, package.module:Class."""
    lr: float
    """Learning rate at its peak."""
    weight_decay: float
    """λ, in the optimizer's own meaning."""
    seed: int
    """Decides initial weights, order of the data, augmentation, dropout and wrong labels."""
    epochs: int = 25
    """Passes over the training data."""
    batch_size: int = 64
    """Examples per step, over all processes; of a text, columns that are read side by side."""
    optimizer_options: Options = ()
    """Options of the optimizer's constructor, by name."""
    optimizer_digest: str = ""
    """What stands for the code of a user's own optimizer and decay."""
    max_grad_norm: float = 0.0
    """Norm of all gradients together to which they are clipped; 0 clips none."""
    schedule: str = "step"
    """Learning rate over time: step, cosine, restarts or constant."""
    milestones: tuple[float, ...] = (0.4, 0.8)
    """Of step: fractions of the epochs after which the learning rate is multiplied by the factor."""
    lr_factor: float = 0.1
    """Of step: that factor."""
    warmup: float = 0.0
    """Epochs in which the learning rate grows linearly from 0."""
    restart_period: float = 14.0
    """Of restarts: epochs of the first cosine."""
    restart_factor: float = 2.0
    """Of restarts: how many times as long each cosine is as the one before."""
    weight_decay_schedule: str = ""
    """λ over time, as cosine, rise(0.1, 1) or hold_drop(0.4, 0.65); left out, λ is constant."""
    data: str = "digits"
    """Data set: digits, cifar10, cifar100, mnist, imagenet, ptb, pydoc, images:FOLDER or text:FILE."""
    data_digest: str = ""
    """What stands for the content of data whose name does not fix it: a folder, a text, a user's own."""
    train_size: int = 0
    """Examples to train on; 0 takes all."""
    validation_size: int = 0
    """Examples held out of the training set, to choose an epoch by; 0 holds out none."""
    label_noise: float = 0.0
    """Fraction of the training labels that are replaced by a wrong one."""
    test_size: int = 0
    """Examples of the test set to be judged on; of a text, tokens of each part; 0 takes all."""
    image_size: int = 0
    """Downscale images to this side length, in pixels; 0 keeps them."""
    classes: str = ""
    """Learn only these classes of images, by number, as 0-4 or 5,7,9; left out, all."""
    augment: bool = True
    """Crop and flip images at random, where the data set has that."""
    sequence: int = 35
    """Tokens of a text per step."""
    network: str = "resnet8"
    """Network: smallcnn, resnet8, resnet20, resnet18, resnet34, resnet50, vgg16, vgg16plain, densenet121, googlenet,
    lstm or transformer."""
    network_options: Options = ()
    """Options of the network, by name."""
    # arithmetic: it decides the last bits
    dtype: str = "float32"
    """Arithmetic: float32, float64, or bfloat16 (autocast; weights stay float32)."""
    channels_last: bool = True
    """Let images and weights lie channels-last in memory, which is faster; see data/layout.py for the exceptions."""
    compile: bool = False
    """Compile the network with torch.compile."""
    processes: int = 1
    """Processes that train it together, under torchrun."""
    strategy: str = "ddp"
    """Of several processes: ddp replicates the network, fsdp shards it."""
    start: Run | None = None
    """The run whose weights at the end this one starts from; left out, from fresh ones."""
    frozen: bool = False
    """Leave what came from the start as it is, running statistics too, and train the rest."""

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

    @functools.cached_property
    def address(self) -> str:
        """Sixteen hexadecimal digits that name this run and no other."""
        known = {name: value for name, value in asdict(self).items() if value or name not in ADDED_LATER}
        if self.start is not None:
            known["start"] = self.start.address
            if re.search(r"\bstart\b", str(dict(self.optimizer_options).get("decay"))):
                known["fresh"] = "without decay"  # once it was pulled towards the values that it was drawn with
        content = json.dumps({"protocol": PROTOCOL, **known}, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def line(self) -> tuple[Run, ...]:
        """Return the run, the one it starts from, and so on until the one that starts from fresh weights."""
        return (self, *(self.start.line() if self.start is not None else ()))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Run:
        """The inverse of ``dataclasses.asdict`` after a passage through JSON, where tuples are lists."""
        start = values.get("start")
        plain = {name: _tuples(value) for name, value in values.items()}
        return cls(**{**plain, "start": None if start is None else cls.from_json(start)})


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
    fresh: tuple[str, ...] = ()  # tensors that the start did not give; of a run with a start
    start_test: float | None = None  # the metric on the test set of the start, with the start's own last layer
    start_validated: float | None = None  # the same on the start's validation set; None where it held out none

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
    def last_validated(self) -> float | None:
        """The metric on the validation set at the last epoch; None without one. Infinite if not finite."""
        held_out = any(epoch.validation is not None or epoch.validation_loss for epoch in self.epochs)
        return _number(self.epochs[-1].validation) if held_out else None

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
                "fresh": tuple(values.get("fresh", ())),
            }
        )


def _number(value: float | None) -> float:
    return math.inf if value is None else value
