"""How a trained network is scored: by its errors, by its perplexity, or by a number of a user's own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from weightdecay.lab.run import ERROR, PERPLEXITY, Metric

Mean = Callable[[Tensor, Tensor], Tensor]
"""(outputs, targets) → a number: the mean over the targets of a batch."""


@dataclass(frozen=True)
class Scorer:
    """How the metric comes about: ``each`` is averaged over a whole set, ``finish`` takes that mean and the loss."""

    metric: Metric
    each: Mean | None  # None: the loss says it all
    finish: Callable[[float, float], float]


def wrong(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the share of wrong answers. NaN is in no class: a diverged network is wrong wherever it cannot answer."""
    right = (outputs.argmax(-1) == targets) & outputs.isfinite().all(-1)
    return 1.0 - right.double().mean()


def perplexity(loss: float) -> float:
    """Return e to the mean loss of a token; infinite where that is too large to write."""
    return math.exp(loss) if loss < 700 else math.inf


ERRORS = Scorer(ERROR, wrong, lambda loss, share: 100.0 * share)
PERPLEXITIES = Scorer(PERPLEXITY, None, lambda loss, share: perplexity(loss))
