"""Lightning: ``configure_optimizers`` in one line, λ over time, readings for every logger."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from weightdecay.integrations.building import Kind, build, scheduled
from weightdecay.monitor import Watch, watch
from weightdecay.monitor.watch import PREFIX

if TYPE_CHECKING or "pytorch_lightning" not in sys.modules or "lightning" in sys.modules:
    from lightning.pytorch import Callback
else:  # the same under its older name, for those who have imported that one
    from pytorch_lightning import Callback


def configure(
    module: Any,
    optimizer: Kind = "adams",
    *,
    schedule: Any = None,
    lr_scheduler: Callable[[torch.optim.Optimizer], Any] | None = None,
    total_steps: int | None = None,
    **options: Any,
) -> Any:
    """Return what ``configure_optimizers`` of a LightningModule returns.

    ``optimizer``, ``options``
        As of :func:`weightdecay.integrations.building.build`: lr, weight_decay, decay, preset, roles, rules, and what
        the class takes. To a class that is not ours ``decay=`` is attached.
    ``schedule``
        λ over time: a shape of :mod:`weightdecay.schedule`, or its text.
    ``lr_scheduler``
        A function of the optimizer that returns the scheduler of the lr, which is stepped in every step.
    ``total_steps``
        The length of both; by default the Trainer's ``estimated_stepping_batches``.

    Under manual optimization Lightning steps no scheduler: call ``scheduler.step()`` for each of
    ``self.lr_schedulers()``.

    Raises: ValueError, for a ``Plateau``, and what ``build`` and ``Scheduler`` raise.
    Source: Lightning 2.6, ``LightningModule.configure_optimizers``.
    """
    built = build(module, optimizer, **options)
    configs = []
    if lr_scheduler is not None:
        configs.append(every_step(lr_scheduler(built), "lr"))
    if schedule is not None:
        configs.append(decay_schedule(built, schedule, steps_of(module) if total_steps is None else total_steps))
    return ([built], configs) if configs else built


def decay_schedule(optimizer: torch.optim.Optimizer, schedule: Any, total_steps: int | None = None) -> dict[str, Any]:
    """Return λ over time as one of the dicts that ``configure_optimizers`` may list beside that of the lr.

    Raises: ValueError, for a ``Plateau``, and what ``Scheduler`` raises.
    """
    return every_step(scheduled(optimizer, schedule, total_steps, "Lightning"), "weight_decay")


def every_step(scheduler: Any, name: str) -> dict[str, Any]:
    """Return Lightning's dict of a scheduler that is stepped after each step of the optimizer, not after each epoch."""
    return {"scheduler": scheduler, "interval": "step", "frequency": 1, "name": name}


def steps_of(module: Any) -> int | None:
    """Return how many steps the training will take; None where it has no end."""
    steps = module.trainer.estimated_stepping_batches
    return int(steps) if math.isfinite(steps) else None


class WeightDecayMonitor(Callback):  # type: ignore[misc, unused-ignore]
    """Logs what :func:`weightdecay.monitor.watch` reads: "weightdecay/group0/pull" and so on.

    Several optimizers are told apart: "weightdecay/optimizer0/group0/pull". The numbers are in
    ``trainer.callback_metrics``, too.

    ``every``
        One step in how many is read; by default the Trainer's ``log_every_n_steps``.
    ``tensors``
        Whether every tensor is logged, not only the groups.

    Raises: ValueError, when training begins, for sharded tensors, as ``watch`` does.
    """

    def __init__(self, every: int | None = None, tensors: bool = False) -> None:
        super().__init__()
        self.every, self.tensors = every, tensors
        self.watching: list[Watch] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin to watch every optimizer."""
        every = self.every or trainer.log_every_n_steps or 1
        self.watching = [watch(each, pl_module, every=every, tensors=self.tensors) for each in trainer.optimizers]
        self._logged = [0] * len(self.watching)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any, **kwargs: Any) -> None:
        """Log the readings that are new."""
        found: dict[str, float] = {}
        for i, each in enumerate(self.watching):
            if each.steps // each.every > self._logged[i]:
                self._logged[i] = each.steps // each.every
                start = f"{PREFIX}/" if len(self.watching) == 1 else f"{PREFIX}/optimizer{i}/"
                found |= {start + name.removeprefix(f"{PREFIX}/"): x for name, x in each.readings().items()}
        if not found:
            return
        trainer.callback_metrics.update({name: torch.tensor(x) for name, x in found.items()})
        for logger in trainer.loggers:
            # The axis of Lightning's own callbacks: batches, however many optimizers step in one.
            logger.log_metrics(found, step=trainer.fit_loop.epoch_loop._batches_that_stepped)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Stop watching; what was read stays readable."""
        for each in self.watching:
            each.close()
