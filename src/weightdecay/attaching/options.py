"""One group of somebody else's optimizer as a step sees it."""

from __future__ import annotations

from operator import is_
from typing import Any

from weightdecay.attaching.gains import Gain, lr_of
from weightdecay.decay import Decay, Number
from weightdecay.optim.groups import number, volatile
from weightdecay.optim.member import Group

NUMBERS = ("lr", "weight_decay", "peak_lr", "betas", "beta2", "alpha", "momentum", "dampening", "d")
"""What is read of a group, and may have been written as any kind of number."""


class Options:
    """One group as a step sees it: its numbers as floats, whatever somebody wrote; found anew where somebody did."""

    def __init__(self, group: Group, decay: Decay, peak_lr: float | None = None) -> None:
        self.group = group
        self._lr = group.get("lr")  # when the decay was attached
        self.decay = decay
        """The group's own, where it has one."""
        self.gain: Gain | None = None
        self.peak_lr = peak_lr
        """η_max; None before the first step, and what the schedulers built until then have written counts."""
        self.seen: Group = {}
        self.uniform = True
        """Whether the decay is one number for each tensor (:attr:`~weightdecay.decay.Decay.uniform`)."""
        self._values: list[Any] = []
        self._volatile: list[str] = []  # what can change without being written: tensors, lists

    @property
    def reads_mean_square(self) -> bool:
        """Whether the pull follows from v̄."""
        return "mean_gain" in self.decay.needs and self.gain is not None and self.gain.reads_mean_square

    def changed(self) -> bool:
        """Whether something was written into the group, or may have been."""
        values = list(self.group.values())
        same = len(values) == len(self._values) and all(map(is_, values, self._values))
        return not same or bool(self._volatile)

    def read(self) -> None:
        """Look at the group anew."""
        group = self.group
        there = [name for name in NUMBERS if name in group and not isinstance(group[name], bool)]
        self.seen = {**group, **{name: number(group[name]) for name in there}}
        peak = self._peak()
        if "d" in group:  # in units of d: the schedule's part of it is the same
            peak = peak * number(group["d"])
            self.seen["lr"] = lr_of(self.seen)
        self.seen["peak_lr"] = peak
        self._volatile = [name for name in there if volatile(group[name])]
        self._values = list(group.values())
        self.uniform = self.decay.uniform

    def begin(self) -> None:
        """Let η_max be what it is now."""
        if self.peak_lr is None:
            self.peak_lr = float(self._peak())

    def _peak(self) -> Number:
        """Return η_max: what the group or attach() says, else what a scheduler has written, else the lr at attach()."""
        if (written := self.group.get("peak_lr")) is not None:
            peak: Number = number(written)
            return peak
        if self.peak_lr is not None:
            return self.peak_lr
        written = [self.group.get("max_lr"), self.group.get("initial_lr"), self._lr]
        return float(next(lr for lr in written if lr is not None))

    def forget(self) -> None:
        """Look at the group anew in the next step, whatever it holds."""
        self._values = []
