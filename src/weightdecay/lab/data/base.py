"""What the loop asks of a data set: batches to learn from and batches to be judged on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from weightdecay.lab.run import Metric

if TYPE_CHECKING:
    from torch import Tensor

Carried: TypeAlias = "tuple[Tensor, ...] | None"
"""The state of a recurrent network between two batches of one text."""


class DataError(Exception):
    """Data that is missing, truncated or wrong: one line that names the file, the reason and the way out."""


@dataclass(frozen=True)
class Facts:
    """What a network must know of its data."""

    classes: int  # or the size of the vocabulary
    channels: int = 0  # 0: tokens, not images
    size: int = 0  # pixels per side


class Batch(NamedTuple):
    """The part of one step that is this process's, on the run's device.

    Shapes: images (n, channels, height, width), floating point and standardised, labels (n,); tokens and the tokens
    after them (time, n) both. ``count``: targets in the whole step, over all processes. ``first``: what a recurrent
    network carries from step to step starts anew here.
    """

    inputs: Tensor
    targets: Tensor
    count: int  # type: ignore[assignment]  # of targets; a tuple has a count of its own, which nobody needs here
    first: bool = False


class Data(ABC):
    """A data set, cut to a run and a place. Order and augmentation are functions of (seed, epoch, index) alone.

    So a resumed run repeats the uninterrupted one bit for bit, and no global random state is read or changed.
    """

    facts: Facts
    metric: Metric

    @property
    @abstractmethod
    def steps(self) -> int:
        """Steps in an epoch; the last batch may be smaller."""

    @property
    @abstractmethod
    def judging_steps(self) -> int:
        """Batches that judge the network at the end of an epoch, test and validation together."""

    @abstractmethod
    def train(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the epoch's batches (epochs count from 1) from step ``start`` (counted from 0) on."""

    @abstractmethod
    def test(self) -> Iterator[Batch]:
        """Yield the test set, each example once over all processes."""

    def validation(self) -> Iterator[Batch] | None:
        """Yield the examples held out of the training set, or None where the run holds none out."""
        return None
