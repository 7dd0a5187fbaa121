"""λ over time, for any optimizer of torch.optim's kind, beside any scheduler of the learning rate."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from weightdecay.schedule.shape import length_of
from weightdecay.schedule.writer import WRITERS, Writer


class Scheduler(LRScheduler):
    r"""Writes :math:`\lambda_t = \lambda\,f(t)` into the groups of an optimizer, where λ is each group's own.

    ``shape``
        For all groups: a shape (``Cosine()``), its text (``"cosine"``), a number, or a function of the fraction of
        training. Or a table ``{group: shape}``, where a group is its place or its ``"name"``; groups that are not in it
        are left alone.
    ``key``
        What of a group is written: ``weight_decay``, or any other number.
    ``total_steps``
        The length of the training, for shapes that count in fractions of it. The optimizer steps, not epochs.

    ``step()`` comes after ``optimizer.step()``, as that of torch's schedulers of the lr, before or after theirs; a
    shape that reads the lr reads that of the step about to be taken in any case. ``step(metric)`` is one step, and
    lets every ``Plateau`` see the metric. A group whose λ is 0 keeps 0. A λ that is a tensor is written in place. The
    scheduler keeps nothing in the groups: what it began from is in its own ``state_dict``.

    It is a ``torch.optim.lr_scheduler.LRScheduler`` so that frameworks that ask for one take it, and
    ``ChainedScheduler([lr_scheduler, scheduler])`` goes where there is place for one only.

    Raises: TypeError or ValueError, where shape, group, key or length make no sense together, when it is built;
    ValueError, in the first step, where no group has a λ above 0.

    >>> import torch
    >>> optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))], lr=1e-3, weight_decay=0.1)
    >>> scheduler = Scheduler(optimizer, "linear(1, 0)", total_steps=4)
    >>> for _ in range(2):
    ...     optimizer.step()
    ...     scheduler.step()
    >>> optimizer.param_groups[0]["weight_decay"]
    0.05
    """

    def __init__(
        self,
        optimizer: Any,
        shape: Any,
        key: str = "weight_decay",
        total_steps: int | None = None,
    ) -> None:
        if not isinstance(getattr(optimizer, "param_groups", None), list):
            hint = " Pass handle.optimizer." if hasattr(optimizer, "mean_square") else ""
            raise TypeError(f"{type(optimizer).__name__} is not an optimizer: it has no param_groups.{hint}")
        total = None if total_steps is None else length_of(total_steps)
        self.optimizer = optimizer
        self.writer = Writer(shape, key, total, optimizer)
        if total is not None:  # absent rather than None: accelerate compares it where it is there
            self.total_steps = total
        self._step_count = 1
        self.base_lrs = [group.get("initial_lr", group.get("lr")) for group in optimizer.param_groups]
        self._register()
        self.writer.write(optimizer.param_groups)

    def _register(self) -> None:
        """Let the optimizer call the writer before each step, in the place of an earlier writer of the same groups."""
        writer = self.writer
        inner = hooked(self.optimizer)
        self._hook = None
        for hook_id, hook in list(inner._optimizer_step_pre_hooks.items()) if inner is not None else ():
            if isinstance(hook, Writer) and hook.key == writer.key and overlap(hook, writer):
                del inner._optimizer_step_pre_hooks[hook_id]
        if any("lr" in shape.needs for shape in writer.shapes.values()):
            if inner is None:
                raise TypeError(
                    f"{type(self.optimizer).__name__} takes no hooks, by which a shape that follows the lr is told of "
                    "a step. Pass the optimizer that it wraps."
                )
            self._hook = inner.register_step_pre_hook(writer)
        vars(self.optimizer).setdefault(WRITERS, {})[writer.key] = writer

    # ---------------------------------------------------------------- torch's contract

    def step(self, metric: Any = None) -> None:
        """Go on to the next step of the optimizer; let plateaus see a metric, where there is one."""
        writer = self.writer
        if metric is not None:
            writer.judge(metric)
        if self.optimizer.param_groups and not any(writer.bases.values()):
            raise ValueError(
                f"every scheduled group of {type(self.optimizer).__name__} has {writer.key}=0, which a shape "
                f"multiplies. Build the optimizer with {writer.key} above 0."
            )
        writer.count += 1
        self._step_count += 1
        writer.write(self.optimizer.param_groups)

    @property
    def last_epoch(self) -> int:
        """How many steps were taken; torch's word for it."""
        return self.writer.count

    @last_epoch.setter
    def last_epoch(self, value: int) -> None:
        raise TypeError(
            "the steps of a weight-decay schedule cannot be set from outside, as SequentialLR does. Write the sequence "
            'as a shape, as in Scheduler(optimizer, "sequence(linear(0, 1), cosine, at=100)", …).'
        )

    def get_last_value(self) -> list[Any]:
        """Return λ of each group as it now is; None where a group has none."""
        return self._copies(self.writer.key)

    def get_last_lr(self) -> list[Any]:
        """Return the lr of each group as it now is: loggers ask every scheduler for it."""
        return self._copies("lr")

    def get_lr(self) -> list[Any]:
        """Return the lr of each group as it now is."""
        return self.get_last_lr()

    def _copies(self, key: str) -> list[Any]:
        values = [group.get(key) for group in self.optimizer.param_groups]
        return [value.detach().clone() if isinstance(value, Tensor) else value for value in values]

    def state_dict(self) -> dict[str, Any]:
        """Return plain values: the step, what every group began from, what plateaus have seen. Shapes are code."""
        return self.writer.state(len(self.optimizer.param_groups))

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on where a scheduler of the same shape was; λ is written at once, before or after the optimizer's load.

        Raises: ValueError, for a state of something else, or of another number of groups; nothing has changed then.
        """
        state, writer, groups = state_dict, self.writer, self.optimizer.param_groups
        own = writer.state(len(groups))
        if missing := [name for name in own if name not in state]:
            raise ValueError(f"this is not a state of a weight-decay Scheduler: it lacks {', '.join(missing)}.")
        if state["key"] != writer.key:
            raise ValueError(f"this is the state of a schedule of {state['key']!r}, and this one is of {writer.key!r}.")
        if len(state["bases"]) != len(groups):
            raise ValueError(
                f"the state is of {len(state['bases'])} groups, and the optimizer has {len(groups)}. "
                "Build it with the groups that it was saved with."
            )
        for name in ("total_steps", "shapes"):
            if state[name] != own[name]:
                warnings.warn(
                    f"the checkpoint was written with {name}={state[name]!r}; this scheduler keeps {own[name]!r}.",
                    stacklevel=2,
                )
        writer.load(state)
        self._step_count = writer.count + 1
        writer.write(groups)

    def remove(self) -> None:
        """End the schedule: λ stays as it is, and no shape follows the lr any more."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    # ---------------------------------------------------------------- copies

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_hook"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._register()

    def __repr__(self) -> str:
        writer = self.writer
        shapes = writer.shapes.get(-1) or {place: str(shape) for place, shape in writer.shapes.items()}
        total = "" if writer.total is None else f" of {writer.total}"
        return f"Scheduler({type(self.optimizer).__name__}, {shapes}, key={writer.key!r}, step {writer.count}{total})"


def hooked(optimizer: Any) -> Any:
    """Return the optimizer that calls hooks before a step: this one, or one that it wraps; None where there is none."""
    seen = set()
    while optimizer is not None and id(optimizer) not in seen:
        if "_optimizer_step_pre_hooks" in vars(optimizer):
            return optimizer
        seen.add(id(optimizer))
        optimizer = vars(optimizer).get("optimizer")
    return None


def overlap(one: Writer, other: Writer) -> bool:
    """Whether two writers write into a group that both know."""
    places = range(1 + max((*one.bases, *other.bases), default=0))
    return any(one.of(place) is not None and other.of(place) is not None for place in places)
