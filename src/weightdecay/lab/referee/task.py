"""What the arms are tried on: a network, its data and the length of its training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

from weightdecay.checks import unknown
from weightdecay.lab.run import Metric, Result, Run, options
from weightdecay.lab.run.settings import SettingsError

OF_THE_ARM = (
    "optimizer", "lr", "weight_decay", "seed", "optimizer_options", "optimizer_digest", "weight_decay_schedule",
    "frozen",
)  # fmt: skip
"""The fields of a run that a task leaves open."""


@dataclass(frozen=True)
class Task:
    """A name, the words for it, and the fields of a run that are the same for every arm.

    ``start`` is by which fields the run differs that a run starts from; without any, a run starts from fresh weights.
    Every seed has a start of its own, trained with that seed: so a ruling holds for starts at large, and not for one
    network that was trained before; and as arms are paired by seed, all of them start from the same weights.

    ``keeps`` says that what is left of the start counts as much as what is learned: arms are tuned and judged by the
    mean of both errors, each on its own data, that of the start with the start's own last layer put back.
    """

    name: str
    words: str
    run: Mapping[str, Any]
    digest: str = ""  # of the data's content
    start: Mapping[str, Any] = field(default_factory=dict)
    keeps: bool = False

    def base(self, **changes: Any) -> Run:
        """Return a run of the task; optimizer, lr, λ and seed must be among the changes."""
        same = {**self.run, "data_digest": self.digest}
        start = Run(**{**same, **self.start, "seed": changes["seed"]}) if self.start else None
        return Run(**{**same, "start": start, **changes})

    def has(self, run: Run) -> bool:
        """Whether the run is one of the task's, of whatever arm."""
        own = {name: getattr(run, name) for name in OF_THE_ARM}
        return self.base(**own) == run

    def validated(self, result: Result) -> float | None:
        """Return what a run is chosen by, as :func:`on_scale` has it; None where that was not a finite number."""
        return self._on_scale(result, result.last_validated, result.start_validated)

    def tested(self, result: Result) -> float | None:
        """Return what a run is judged by, as :func:`on_scale` has it; None where that was not a finite number."""
        return self._on_scale(result, result.last, result.start_test)

    def _on_scale(self, result: Result, own: float | None, of_start: float | None) -> float | None:
        numbers = [own, of_start] if self.keeps else [own]
        found = [on_scale(result.metric, number) for number in numbers if number is not None]
        return fmean(found) if len(found) == len(numbers) else None

    @property
    def judged_by(self) -> str:
        """In words: the metric on the test set."""
        metric = "test perplexity" if self.of_text else "test error"
        return f"{metric}, mean of the old task and the new" if self.keeps else metric

    @property
    def steps(self) -> int:
        """Optimizer steps of a run."""
        one = self.base(optimizer="sgd", lr=0.1, weight_decay=0.0, seed=0)
        examples = one.batch_size * (one.sequence if self.of_text else 1)
        return one.epochs * math.ceil(one.train_size / examples)

    def varied(self, what: str, times: float) -> Task:
        """Return the task with another batch or width, so many times its own, and nothing else changed."""
        if what == "width":
            own = dict(self.run["network_options"])
            wider = options(own | {"width": int(own["width"] * times)})
            return replace(self, run={**self.run, "network_options": wider})
        own = self.run["batch_size"]
        start = {"batch_size": own, **self.start} if self.start else {}  # what it starts from stays what it was
        return replace(self, run={**self.run, "batch_size": int(own * times)}, start=start)

    @property
    def has_width(self) -> bool:
        """Whether its network has one width for all its layers."""
        return "width" in dict(self.run.get("network_options", ()))

    @property
    def of_text(self) -> bool:
        """Whether it reads words or characters, and is judged by a perplexity."""
        return self.run["network"] in ("lstm", "transformer")


def on_scale(metric: Metric, value: float) -> float:
    """Return the number on a scale where differences mean the same everywhere: errors in percent; 100 ln(perplexity).

    A difference of 1 is a point of error, or a perplexity that is 1 % higher.
    """
    if metric.unit == "%":
        return value
    return 100 * math.log(value) if 0 < value < math.inf else math.inf


_PHOTOS = {
    "data": "cifar10", "image_size": 16, "augment": False, "train_size": 2000, "validation_size": 2000,
    "test_size": 4000, "batch_size": 50, "epochs": 15, "network": "smallcnn", "network_options": options(width=16),
}  # fmt: skip
_DIGITS = {
    "data": "mnist", "image_size": 14, "augment": False, "train_size": 1000, "validation_size": 2000,
    "test_size": 4000, "batch_size": 64, "epochs": 24, "label_noise": 0.2, "network": "smallcnn",
    "network_options": options(width=16),
}  # fmt: skip
_LETTERS = {
    "data": "text:ptb-characters", "train_size": 50_000, "test_size": 10_000, "batch_size": 10, "sequence": 50,
    "epochs": 15, "max_grad_norm": 1.0, "milestones": (0.5, 0.75),
}  # fmt: skip
_NEW = {**_PHOTOS, "classes": "5-9", "train_size": 200, "test_size": 2000, "batch_size": 20}
_OLD = {
    "optimizer": "adam", "lr": 1e-3, "weight_decay": 0.0, "classes": "0-4", "train_size": 10_000,
    "validation_size": 0, "batch_size": 50, "epochs": 10,
}  # fmt: skip
_CNN = "three convolutions with batch norm (width 16)"
_TUNED = (
    f"{_CNN}, trained on 10,000 images of five classes of CIFAR-10, averaged to 16 × 16 pixels, "
    "then on 200 images of the other five, 15 epochs of batches of 20"
)
_LINES = "50,000 characters of Penn Treebank, 15 epochs of batches of 10 × 50"

TASKS: Mapping[str, Task] = {
    one.name: one
    for one in (
        Task("photos", f"{_CNN} on 2,000 images of CIFAR-10, averaged to 16 × 16 pixels, 15 epochs of batches of 50",
             _PHOTOS),
        Task("noisy-digits", f"{_CNN} on 1,000 images of MNIST, averaged to 14 × 14 pixels, 20 % of the training "
             "labels wrong, 24 epochs of batches of 64", _DIGITS),
        Task("lstm", f"an LSTM (2 layers of 64) on {_LINES}",
             {**_LETTERS, "network": "lstm", "network_options": options(embedding=32, hidden=64)}),
        Task("transformer", f"a Transformer (2 blocks of 32) on {_LINES}",
             {**_LETTERS, "network": "transformer", "network_options": options(embedding=32, heads=2, layers=2)}),
        Task("finetune", _TUNED, _NEW, start=_OLD),
        Task("finetune-both", f"{_TUNED}; the old classes count as much as the new ones", _NEW,
             start={**_OLD, "validation_size": 2000}, keeps=True),
        Task("smoke", "three convolutions (width 4) on 64 of scikit-learn’s digits, which only shows that it runs",
             {"data": "digits", "train_size": 64, "validation_size": 32, "test_size": 50, "batch_size": 32,
              "epochs": 2, "network": "smallcnn", "network_options": options(width=4)}),
    )
}  # fmt: skip
"""The tasks that have a name."""


def tasks(names: tuple[str, ...], data: Mapping[str, str]) -> tuple[Task, ...]:
    """Return the tasks of those names, with other data in place of some, as in ``{"cifar10": "images:FOLDER"}``.

    Raises: SettingsError, for an unknown name, with the nearest; for data that none of them reads.
    """
    found = {}
    for name in names:
        if name not in TASKS:
            raise SettingsError(unknown("task", name, TASKS))
        found[name] = TASKS[name]
    read = {task.run["data"] for task in found.values()}
    for name, other in data.items():
        if name not in read:
            raise SettingsError(f"--data {name}={other}: no task reads {name!r}. Read: {', '.join(sorted(read))}.")
    return tuple(
        replace(task, run={**task.run, "data": data.get(task.run["data"], task.run["data"])}) for task in found.values()
    )
