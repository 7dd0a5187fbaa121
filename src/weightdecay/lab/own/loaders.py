"""Loaders of one's own as the loop's batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from weightdecay.lab.data.base import Batch, Data, DataError, Facts
from weightdecay.lab.run import Run
from weightdecay.lab.run.randomness import reseed, seed_of


class Loaded(Data):
    """A user's loaders. Raises: DataError, for what are none, and for batches of another form."""

    facts = Facts(classes=0)

    def __init__(self, loaders: Any, name: str, run: Run, device: torch.device) -> None:
        self.run, self.device, self.name = run, device, name
        if not isinstance(loaders, (tuple, list)) or len(loaders) not in (2, 3):
            several = isinstance(loaders, (tuple, list))
            raise DataError(
                f"{name}: data() must return the loaders of training and test data, and of validation data if "
                f"there are any; it returned {f'{len(loaders)} of them' if several else type(loaders).__name__}."
            )
        for loader in loaders:
            kind = type(loader).__name__
            if isinstance(loader, Dataset):
                raise DataError(
                    f"{name}: data() returned a {kind}, whose items are single examples. "
                    "Return DataLoader(dataset, batch_size, shuffle=True)."
                )
            try:
                batches = len(loader)
            except TypeError:
                raise DataError(
                    f"{name}: {kind} has no length, and an epoch must have one. "
                    "Use a DataLoader over a dataset with a length, or a list of batches."
                ) from None
            if not batches:
                raise DataError(
                    f"{name}: a {kind} of data({run.batch_size}) has no batches, and must have one or more. "
                    "Is its dataset empty, or smaller than a batch, with drop_last=True?"
                )
        self.loaders = tuple(loaders)

    @property
    def steps(self) -> int:
        """Batches of the training loader."""
        return len(self.loaders[0])

    @property
    def judging_steps(self) -> int:
        """Batches of the other loaders."""
        return sum(map(len, self.loaders[1:]))

    def train(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Draw the epoch's order from (seed, epoch); what is before ``start`` is fetched and dropped."""
        reseed(self.device, self.run.seed, epoch)
        for owner in (self.loaders[0], getattr(self.loaders[0], "sampler", None)):
            if isinstance(own := getattr(owner, "generator", None), torch.Generator):
                own.manual_seed(seed_of(self.run.seed, epoch))
        batches = iter(self.loaders[0])
        for step in range(start):
            reseed(self.device, self.run.seed, epoch, step, 0)  # as the loop does before every step
            next(batches, None)
        return self._batches(batches)

    def test(self) -> Iterator[Batch]:
        """The second loader."""
        return self._batches(iter(self.loaders[1]))

    def validation(self) -> Iterator[Batch] | None:
        """The third loader, if there is one."""
        return self._batches(iter(self.loaders[2])) if len(self.loaders) == 3 else None

    def _batches(self, batches: Iterator[Any]) -> Iterator[Batch]:
        for batch in batches:
            if not isinstance(batch, (tuple, list)) or len(batch) != 2 or not all(isinstance(x, Tensor) for x in batch):
                raise DataError(
                    f"{self.name}: a batch must be a pair of tensors, inputs and targets; got {kind_of(batch)}."
                )
            inputs, targets = (x.to(self.device, non_blocking=True) for x in batch)
            yield Batch(inputs, targets, targets.numel())


def kind_of(given: Any) -> str:
    """Return what something is, and what it holds."""
    if isinstance(given, Tensor):
        return f"a tensor of shape {tuple(given.shape)}" + ("" if given.requires_grad else ", which depends on nothing")
    inside = f" of {', '.join(type(one).__name__ for one in given)}" if isinstance(given, (tuple, list)) else ""
    return f"{type(given).__name__}{inside}"
