"""One loop: a Run in, a Result out, the same bits every time."""

from __future__ import annotations

import math
import platform
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import weightdecay
from weightdecay.lab.data import Images, load
from weightdecay.lab.models import build
from weightdecay.lab.run import Epoch, Result, Run
from weightdecay.lab.store import Store

CHECKPOINT_EVERY = 20.0
"""Seconds between checkpoints: a run shorter than this is quicker to train again than to keep."""

MOMENTUM = ("sgd", "sgdw", "sgds", "heavyball", "tensorflowsgd")
"""Optimizers that take ``run.momentum``; the others have their own."""


def optimizer_of(run: Run, model: nn.Module) -> weightdecay.Optimizer:
    """Return the run's optimizer over the model."""
    options = {"momentum": run.momentum} if run.optimizer in MOMENTUM else {}
    named = list(model.named_parameters())
    return weightdecay.create(run.optimizer, named, lr=run.lr, weight_decay=run.weight_decay, **options)


def train(run: Run, store: Store | None = None) -> Result:
    """Train and measure. With a store, continue where an earlier process stopped, bit for bit.

    Equal runs give equal results on one machine: order of the data and initial weights are functions of the seed,
    and the global random state is neither read nor changed. A loss that is no longer finite ends the run as
    "diverged", which is a result.
    """
    data = load(run.data, run.train_size, run.label_noise, run.seed)
    model = build(run.network, data.train_images.shape[1], data.classes, run.width, run.seed)
    model = model.to(memory_format=torch.channels_last)
    progress = Progress(model, optimizer_of(run, model))
    saved = store.load_checkpoint(run) if store else None
    if saved:
        progress.restore(saved)
    begun = kept = time.perf_counter()
    status = "finished"
    while len(progress.epochs) < run.epochs and status == "finished":
        epoch = _epoch(run, data, progress, len(progress.epochs) + 1)
        progress.epochs.append(epoch)
        if epoch.train_loss is None:
            status = "diverged"
        elif store and time.perf_counter() - kept > CHECKPOINT_EVERY:
            progress.seconds += time.perf_counter() - begun
            store.save_checkpoint(run, progress.content())
            begun = kept = time.perf_counter()
    result = Result(
        run=run,
        status=status,
        epochs=tuple(progress.epochs),
        seconds=progress.seconds + time.perf_counter() - begun,
        versions={
            "weightdecay": weightdecay.__version__,
            "torch": version("torch"),
            "python": platform.python_version(),
        },
        skipped_steps=progress.optimizer.skipped_steps,
        clamped_steps=progress.optimizer.clamped_steps,
    )
    if store:
        store.save(result)
    return result


@dataclass
class Progress:
    """What an unfinished run is made of."""

    model: nn.Module
    optimizer: weightdecay.Optimizer

    def __post_init__(self) -> None:
        self.epochs: list[Epoch] = []
        self.seconds = 0.0

    def content(self) -> dict[str, Any]:
        """Plain values and tensors."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "seconds": self.seconds,
        }

    def restore(self, content: dict[str, Any]) -> None:
        """Continue from :meth:`content`."""
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.epochs = [Epoch(**epoch) for epoch in content["epochs"]]
        self.seconds = content["seconds"]


def lr_at(run: Run, epoch: int) -> float:
    """Return the lr of an epoch (1, 2, …): times ``lr_factor`` after each milestone's fraction of the epochs."""
    return run.lr * run.lr_factor ** sum(epoch - 1 >= round(part * run.epochs) for part in run.milestones)


def _epoch(run: Run, data: Images, progress: Progress, number: int) -> Epoch:
    """Train one epoch and measure. The order is a function of (seed, epoch)."""
    lr = lr_at(run, number)
    for group in progress.optimizer.param_groups:
        group["lr"] = lr
    progress.model.train()
    images, labels = data.train_images, data.train_labels
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(run.seed * 1_000_003 + number))
    total = torch.zeros((), dtype=torch.float64)
    for batch in torch.split(order, run.batch_size):
        progress.optimizer.zero_grad()
        loss = cross_entropy(progress.model(images[batch]), labels[batch])
        torch.autograd.backward(loss)
        progress.optimizer.step()
        total += loss.detach().double() * len(batch)
    test_loss, test_error = evaluate(progress.model, data.test_images, data.test_labels)
    return Epoch(number, lr, _finite(total.item() / len(images)), _finite(test_loss), test_error)


def evaluate(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return the mean loss and the error in percent."""
    model.eval()
    with torch.no_grad():
        outputs = model(images)
        loss = cross_entropy(outputs, labels).item()
        # NaN is in no class: a diverged network is wrong on everything it cannot answer.
        right = (outputs.argmax(1) == labels) & outputs.isfinite().all(1)
    return loss, 100.0 * (1.0 - right.double().mean().item())


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
