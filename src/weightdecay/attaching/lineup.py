"""Which tensors take part in a step of somebody else's optimizer, found once and kept until something changes."""

from __future__ import annotations

from collections import Counter
from operator import attrgetter, is_
from typing import Any

import torch
from torch import Tensor

from weightdecay.attaching.gains import Gain, lr_of
from weightdecay.decay import Decay, Number
from weightdecay.engine.buckets import BARE, Attendance
from weightdecay.optim.groups import number, volatile
from weightdecay.optim.member import Group
from weightdecay.optim.sharding import gradient_piece, piece

_DTYPE = attrgetter("dtype")
NUMBERS = ("lr", "weight_decay", "peak_lr", "betas", "momentum", "dampening", "d")
"""What is read of a group, and may have been written as any kind of number."""


class Lineup:
    """The tensors with a gradient, in the order of the groups.

    What may change between two steps is looked at in every one: which tensors the groups hold; which of them have a
    gradient, of what kind, size and type. No gradient is kept.
    """

    def __init__(self) -> None:
        self.live: list[Tensor] = []
        self.groups: list[slice] = []
        """Which of the live tensors belong to each group."""
        self.places: list[int] = []
        """Of the group of every live tensor."""
        self.names: list[tuple[int, int]] = []
        """Group, and place in the group, of every live tensor."""
        self.stamp = 0
        """Rises whenever the tensors are found anew."""
        self.bare = True  # neither DTensors nor complex numbers: weights and gradients are what the step sees
        self.device = torch.device("cpu")
        self._there = Attendance()
        self._valid = False

    def follow(self, optimizer: torch.optim.Optimizer) -> list[Tensor]:
        """Return this process's pieces of the gradients, complex numbers as pairs of reals."""
        grads = self._unchanged(optimizer)
        if grads is None:
            self._valid = False
            grads = self._find(optimizer)
            self._valid = True
        return grads if self.bare else [real(gradient_piece(p)) for p in self.live]

    def weights(self, members: slice) -> list[Tensor]:
        """Return this process's pieces of the weights of one group, sharing their memory."""
        some = self.live[members]
        return some if self.bare else [piece(p.detach()) for p in some]

    def elements(self) -> list[int]:
        """Return the number of real elements of every piece."""
        return [real(piece(p.detach())).numel() for p in self.live]

    def _unchanged(self, optimizer: torch.optim.Optimizer) -> list[Tensor] | None:
        grads = self._there.unchanged(optimizer) if self._valid else None
        return None if grads is None or self._form(grads) != self._forms else grads

    def _find(self, optimizer: torch.optim.Optimizer) -> list[Tensor]:
        kept, there = self._there.note(optimizer), self._there
        places = [(i, k) for i, length in enumerate(there.lengths) for k in range(length)]
        self.live, self.names = there.live, there.of_live(places)
        self.places = [i for i, _ in self.names]
        counts, first = Counter(self.places), 0
        self.groups = []
        for i in range(len(there.groups)):
            self.groups.append(slice(first, first + counts[i]))
            first += counts[i]
        self._forms = self._form(kept)
        self.bare = all(type(p) in BARE and not p.is_complex() for p in self.live)
        # v̄ and the pulls are on the accelerator, if any tensor is.
        devices = [p.device for p in self.live or there.everyone]
        self.device = next((d for d in devices if d.type != "cpu"), torch.device("cpu"))
        self.stamp += 1
        return kept

    @staticmethod
    def _form(grads: list[Tensor]) -> tuple[list[Any], ...]:
        """Return size and type of every gradient, and the device of the first."""
        return list(map(Tensor.size, grads)), list(map(_DTYPE, grads)), [grad.device for grad in grads[:1]]


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
        there = [name for name in NUMBERS if name in group]
        self.seen = {**group, **{name: number(group[name]) for name in there}}
        peak = self._peak()
        if "d" in group:  # in units of d: the schedule's part of it is the same
            peak = peak * number(group["d"])
            self.seen["lr"] = lr_of(self.seen)
        self.seen["peak_lr"] = peak
        self._volatile = [name for name in there if volatile(group[name])]
        self._values = list(group.values())

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


def real(tensor: Tensor) -> Tensor:
    """Return complex numbers as pairs of reals."""
    return torch.view_as_real(tensor) if torch.is_complex(tensor) else tensor
