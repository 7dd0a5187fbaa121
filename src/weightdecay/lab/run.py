"""A run: everything that decides a result, and the result it decides. Its hash is its address."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from typing import Any

PROTOCOL = 1
"""Raised when training itself changes meaning, so that results of the old meaning are not taken for the new."""


@dataclass(frozen=True)
class Run:
    """One training run. Two runs with equal fields give equal results; nothing else decides them.

    Units: ``label_noise`` is the fraction of training labels replaced by a different class; ``milestones`` are
    fractions of the epochs after which the lr is multiplied by ``lr_factor``; ``lr`` and ``weight_decay`` are what
    the optimizer's constructor takes.
    """

    optimizer: str
    lr: float
    weight_decay: float
    seed: int
    epochs: int = 25
    batch_size: int = 64
    momentum: float = 0.9
    milestones: tuple[float, ...] = (0.4, 0.8)
    lr_factor: float = 0.1
    data: str = "digits"
    train_size: int = 1000
    label_noise: float = 0.2
    network: str = "resnet8"
    width: int = 16

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.epochs * math.ceil(self.train_size / self.batch_size)

    @property
    def address(self) -> str:
        """Sixteen hexadecimal digits that name this run and no other."""
        fields = json.dumps({"protocol": PROTOCOL, **asdict(self)}, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(fields.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Epoch:
    """What one epoch measured. Losses are means over examples (None: not finite), errors are percent."""

    epoch: int  # 1, 2, …
    lr: float  # of the epoch's last step
    train_loss: float | None  # running mean over the epoch's batches, against the (noisy) training labels
    test_loss: float | None
    test_error: float


@dataclass(frozen=True)
class Result:
    """A finished run. ``status`` is ``"finished"`` or ``"diverged"`` (the training loss stopped being finite)."""

    run: Run
    status: str
    epochs: tuple[Epoch, ...]
    seconds: float
    versions: dict[str, str]
    skipped_steps: int = 0
    clamped_steps: int = 0

    @property
    def last_error(self) -> float:
        """Test error at the last epoch in percent; a diverged run has the error of the epoch it reached."""
        return self.epochs[-1].test_error

    @property
    def best_error(self) -> float:
        """Lowest test error over epochs in percent: the paper's number. It peeks at the test set."""
        return min(epoch.test_error for epoch in self.epochs)

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for ``json.dump``."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Result:
        """The inverse of :meth:`to_json`."""
        run = dict(values["run"])
        run["milestones"] = tuple(run["milestones"])
        epochs = tuple(Epoch(**epoch) for epoch in values["epochs"])
        return cls(**{**values, "run": Run(**run), "epochs": epochs})
