"""What is trained: data, network, loss, and the number that judges it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from weightdecay.checks import unknown
from weightdecay.lab import data as datasets
from weightdecay.lab import models
from weightdecay.lab.data.base import Data, Facts
from weightdecay.lab.run import ERROR, PERPLEXITY, Metric, Place, Run

Mean = Callable[[Tensor, Tensor], Tensor]
"""(outputs, targets) → a number: the mean over the targets of a batch."""

Carried = tuple[Tensor, ...] | None
"""The state of a recurrent network between two batches of one text."""


@dataclass(frozen=True)
class Judgement:
    """How the metric comes about: ``each`` is averaged over a whole set, ``finish`` takes that mean and the loss."""

    metric: Metric
    each: Mean | None  # None: the loss says it all
    finish: Callable[[float, float], float]


class Task(Protocol):
    """What the loop asks of what is trained."""

    def check(self, run: Run) -> None:
        """Refuse a run that is not of this task, before anything is read or built."""

    def load(self, run: Run, place: Place) -> Data:
        """Return the data set, cut to the run and the place."""

    def build(self, run: Run, facts: Facts) -> nn.Module:
        """Return the network with fresh weights, a function of the seed."""

    def forward(self, model: nn.Module, inputs: Tensor, carried: Carried) -> tuple[Tensor, Carried]:
        """Return the outputs, and what the network carries on to the next batch."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of a batch."""

    def judgement(self, data: Data, model: nn.Module) -> Judgement:
        """Return how a trained network is judged."""


class Named:
    """The lab's own data sets and networks, by the names in the run."""

    def check(self, run: Run) -> None:
        """Refuse an unknown network. Raises: ValueError, with the nearest."""
        if run.network not in models.names():
            raise ValueError(unknown("network", run.network, models.names()))

    def load(self, run: Run, place: Place) -> Data:
        """Load the data set that the run names."""
        return datasets.load(run, place)

    def build(self, run: Run, facts: Facts) -> nn.Module:
        """Build the network that the run names."""
        return models.build(run.network, facts, run.seed, run.network_options)

    def forward(self, model: nn.Module, inputs: Tensor, carried: Carried) -> tuple[Tensor, Carried]:
        """Images are seen one by one; tokens go on where the batch before ended."""
        if inputs.is_floating_point():
            return model(inputs), None
        outputs, carried = model(inputs, carried)
        return outputs, carried

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy, of images (n, classes) or of tokens (time, n, vocabulary)."""
        return cross_entropy(outputs.flatten(0, -2), targets.flatten())

    def judgement(self, data: Data, model: nn.Module) -> Judgement:
        """By the data's own metric: errors in percent, or perplexity."""
        return PERPLEXITIES if data.metric == PERPLEXITY else ERRORS


def wrong(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the share of wrong answers. NaN is in no class: a diverged network is wrong wherever it cannot answer."""
    right = (outputs.argmax(-1) == targets) & outputs.isfinite().all(-1)
    return 1.0 - right.double().mean()


def perplexity(loss: float) -> float:
    """Return e to the mean loss of a token; infinite where that is too large to write."""
    return math.exp(loss) if loss < 700 else math.inf


ERRORS = Judgement(ERROR, wrong, lambda loss, share: 100.0 * share)
PERPLEXITIES = Judgement(PERPLEXITY, None, lambda loss, share: perplexity(loss))
