"""What is trained: data, network, loss, and the number that judges it."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from weightdecay.lab import data as datasets
from weightdecay.lab import models
from weightdecay.lab.data.base import Carried, Data, Facts
from weightdecay.lab.data.scores import ERRORS, PERPLEXITIES, Scorer
from weightdecay.lab.run import PERPLEXITY, Place, Run
from weightdecay.lab.training import sound


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

    def scorer(self, data: Data, model: nn.Module) -> Scorer:
        """Return how a trained network is scored."""


class Named:
    """The lab's own data sets and networks, by the names in the run."""

    def check(self, run: Run) -> None:
        """Refuse an unknown data set, network or option. Raises: ValueError, with the nearest."""
        sound.check_names(run)

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

    def scorer(self, data: Data, model: nn.Module) -> Scorer:
        """By the data's own metric: errors in percent, or perplexity."""
        return PERPLEXITIES if data.metric == PERPLEXITY else ERRORS
