"""Which tensors take part in a step of somebody else's optimizer, found once and kept until something changes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor

from weightdecay.engine.buckets import Attendance
from weightdecay.optim.member import BARE
from weightdecay.optim.sharding import gradient_piece, piece

SMALL = 1 << 14
"""Elements of a tensor up to which the host's time of a call counts for more than that of the memory."""


class Lineup:
    """The tensors with a gradient, in the order of the groups.

    What may change between two steps is looked at in every one: which tensors the groups hold; which of them have a
    gradient, of what kind, and of how many elements. No gradient is kept.
    """

    def __init__(self) -> None:
        self.live: list[Tensor] = []
        self.groups: list[slice] = []
        """Which of the live tensors belong to each group."""
        self.large: list[bool] = []
        """Whether the weights of each group are large on average, as they were when found: only time depends on it."""
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
        self._absent: list[bool] = []

    def follow(self, optimizer: torch.optim.Optimizer, reads: bool = True) -> list[Tensor]:
        """Return this process's pieces of the gradients, complex numbers as pairs of reals.

        ``reads``: whether somebody will look at them. Else nothing but their being there matters, and none is returned
        while that is as it was.
        """
        if not reads and self._valid and self._there.same_tensors(optimizer):
            if [p.grad is None for p in self._there.everyone] == self._absent:
                return []
            self._valid = False
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
        self._absent = [p.grad is None for p in there.everyone]
        self.bare = all(type(p) in BARE and not p.is_complex() for p in self.live)
        self.large = [_large(self.weights(members)) for members in self.groups]
        # v̄ and the pulls are on the accelerator, if any tensor is.
        devices = [p.device for p in self.live or there.everyone]
        self.device = next((d for d in devices if d.type != "cpu"), torch.device("cpu"))
        self.stamp += 1
        return kept

    @staticmethod
    def _form(grads: list[Tensor]) -> tuple[list[Any], ...]:
        """Return the number of elements of every gradient, and the device of the first."""
        return list(map(Tensor.numel, grads)), [grad.device for grad in grads[:1]]


def _large(weights: list[Tensor]) -> bool:
    """Judge by a few of very many."""
    some = weights[:: 1 + len(weights) // 64]
    return sum(map(Tensor.numel, some)) > SMALL * len(some)


def real(tensor: Tensor) -> Tensor:
    """Return complex numbers as pairs of reals."""
    return torch.view_as_real(tensor) if torch.is_complex(tensor) else tensor
