"""``Trainer`` of transformers, and TRL's, which are its subclasses: an optimizer, λ over time, readings."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from weightdecay.attaching.refusals import unwrapped
from weightdecay.integrations.building import Kind, build, kind_of, scheduled
from weightdecay.monitor import Watch, watch
from weightdecay.schedule import Scheduler


class NothingDecaysWarning(UserWarning):
    """λ is 0 in every group, most likely because ``TrainingArguments.weight_decay`` was left at its default."""


def optimizer_for(
    args: Any, optimizer: Kind = "adams", *, preset: str | None = "transformers", **options: Any
) -> tuple[Callable[[], Callable[..., Any]], dict[str, Any]]:
    """Return what ``Trainer(optimizer_cls_and_kwargs=…)`` takes, for any optimizer, decay and selection.

    ``args``
        The ``TrainingArguments``. Their ``learning_rate`` and ``weight_decay`` hold where ``lr=`` and ``weight_decay=``
        are not given; ``adam_beta1``, ``adam_beta2``, ``adam_epsilon`` where they are not at their defaults.
    ``optimizer``
        A name of ``weightdecay.available()``, a path "package.module:Class", or any class of torch's kind, to which
        ``decay=`` is attached.
    ``preset``
        "transformers" decays what the Trainer decays. None is the choice of :func:`weightdecay.select`.
    ``options``
        ``weight_decay``, ``decay``, ``roles``, ``rules``, as of :func:`weightdecay.integrations.building.build`;
        others go to the class.

    A :class:`NothingDecaysWarning` is given where λ is 0 because nobody said anything: ``TrainingArguments`` has 0.0.

    Raises: ValueError, for an unknown name; what :func:`~weightdecay.integrations.building.build` raises, when training
            begins.
    Source: transformers 5.24, ``Trainer.create_optimizer``, ``is_optimizer_factory``.
    """
    cls = kind_of(optimizer)
    takes = inspect.signature(cls).parameters
    given: dict[str, Any] = {"lr": args.learning_rate, "weight_decay": args.weight_decay}
    betas, usual = (args.adam_beta1, args.adam_beta2), (0.9, 0.999)
    if "betas" in takes and betas != usual:
        given["betas"] = betas
    if "eps" in takes and args.adam_epsilon != 1e-8:
        given["eps"] = args.adam_epsilon
    if "weight_decay" not in options and args.weight_decay == 0 and not options.get("roles"):
        warnings.warn(_zero(cls.__name__), NothingDecaysWarning, stacklevel=2)
    if getattr(cls, "takes_model", False) and preset == "transformers":
        preset = None  # nobody has asked for it
    # The Trainer takes any function without arguments for a factory, and calls what it returns with the model.
    return lambda: _build, {"optimizer": optimizer, "preset": preset, **given, **options}


def _build(model: Any, args: Any = None, **options: Any) -> Any:
    """Return the optimizer. axolotl hands the training arguments over, too."""
    return build(model, **options)


class WeightDecayCallback(TrainerCallback, ExportableState):
    """λ over time, readings of the decay for every tracker, and a word where nothing decays.

    ``schedule``
        A shape of :mod:`weightdecay.schedule`, or its text: "cosine". Its length is the Trainer's ``max_steps``; its
        state is in the Trainer's checkpoints, so that a resumed run repeats the uninterrupted one.
    ``monitor``
        Whether :func:`weightdecay.monitor.watch` reads the optimizer. Its numbers go into every log of the training
        loss, "weightdecay/group0/pull" and so on. Sharded tensors (FSDP) want ``monitor=False``.
    ``every``
        One step in how many is read; by default the Trainer's ``logging_steps``.

    Pass it through :meth:`add_to`: callbacks of ``Trainer(callbacks=[…])`` come after those of the trackers, which
    would miss the numbers. Leave ``restore_callback_states_from_checkpoint`` off: it moves callbacks behind the
    trackers.

    Raises: ValueError, when training begins: for a ``Plateau``, which reads a metric, and what ``Scheduler`` raises.
    Source: transformers 5.24, ``CallbackHandler``, ``TrainerState.stateful_callbacks``.
    """

    def __init__(self, schedule: Any = None, monitor: bool = True, every: int | None = None) -> None:
        self.schedule, self.monitor, self.every = schedule, monitor, every
        self.scheduler: Scheduler | None = None
        self.watching: Watch | None = None
        self.first = False
        """Whether the trackers come after this callback."""
        self.resumed: dict[str, Any] | None = None

    def add_to(self, trainer: Any) -> WeightDecayCallback:
        """Put this callback before all others of a Trainer, those of trackers among them; return it."""
        trainer.callback_handler.callbacks.insert(0, self)
        self.first = True
        return self

    # ---------------------------------------------------------------- the Trainer's events

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Find the optimizer, and go on where a checkpoint was."""
        optimizer = unwrapped(kwargs["optimizer"])
        if not any(float(group.get("weight_decay", 0.0)) for group in optimizer.param_groups):
            warnings.warn(_zero(type(optimizer).__name__), NothingDecaysWarning, stacklevel=2)
        if self.schedule is not None:
            self.scheduler = scheduled(optimizer, self.schedule, state.max_steps, "a Trainer")
            saved = self.resumed or _saved(state.stateful_callbacks.get(type(self).__name__))
            if state.global_step > 0 and saved is not None:
                self.scheduler.load_state_dict(saved)
            self.resumed = None
        # The Trainer writes into this row when it saves, and a checkpoint that was saved without us has none.
        state.stateful_callbacks.setdefault(type(self).__name__, self.state())
        if self.monitor:
            every = self.every or max(1, math.ceil(state.logging_steps or 1))
            self.watching = watch(optimizer, kwargs.get("model"), every=every)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write λ of the next step, unless a gradient scaler has skipped this one."""
        if self.scheduler is not None and not getattr(kwargs["optimizer"], "step_was_skipped", False):
            self.scheduler.step()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Add the last reading to what the trackers are about to be given, and to the history."""
        if self.watching is None or logs is None or "loss" not in logs:
            return
        readings = self.watching.readings()
        logs.update(readings)
        state.log_history[-1].update(readings)
        if not self.first and args.report_to:
            self.first = True  # said once
            warnings.warn(
                f"{', '.join(args.report_to)} came before this callback, and did not get its readings. "
                "Instead of Trainer(callbacks=[…]) write WeightDecayCallback(…).add_to(trainer).",
                stacklevel=2,
            )

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop watching; what was read stays readable."""
        if self.watching is not None:
            self.watching.close()

    # ---------------------------------------------------------------- checkpoints

    def state(self) -> dict[str, Any]:
        """Return what the Trainer writes into ``trainer_state.json``: plain values."""
        shape = None if self.schedule is None else str(self.schedule)
        return {
            "args": {"schedule": shape, "monitor": self.monitor, "every": self.every},
            "attributes": {"resumed": None if self.scheduler is None else self.scheduler.state_dict()},
        }


def _saved(rows: Any) -> dict[str, Any] | None:
    """Return the state of the scheduler in a checkpoint. Of several callbacks of this class it is the last one's."""
    row = rows[-1] if isinstance(rows, list) else rows
    found: dict[str, Any] | None = None if row is None else row["attributes"]["resumed"]
    return found


def _zero(name: str) -> str:
    return (
        f"{name} decays nothing: λ is 0.0 in every group, which is the default of TrainingArguments. Set "
        "TrainingArguments(weight_decay=…): 5e-4 is a value to start from for AdamS and Adam with L2, "
        "0.01 to 0.1 for AdamW. To train without decay on purpose, write optimizer_for(args, weight_decay=0.0)."
    )
