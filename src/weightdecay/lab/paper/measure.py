"""Three readings of one run: the paper's, and two that do not look at the test set to choose."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from weightdecay.lab.run import Result
from weightdecay.lab.run.recorded import UnrecordedError


@dataclass(frozen=True)
class Measure:
    """A number on the test set, lower is better, and what lr and λ are chosen by where they are chosen.

    ``of`` is NaN where the run has no such number: one without a validation set.
    """

    name: str
    words: str
    of: Callable[[Result], float]
    chosen_by: Callable[[Result], float]

    def reads(self, results: Iterable[Result]) -> bool:
        """Whether every one of the results has both numbers."""
        try:
            return not any(math.isnan(self.of(result)) or math.isnan(self.chosen_by(result)) for result in results)
        except UnrecordedError:
            return False


def _selected(result: Result) -> float:
    selected = result.selected
    return math.nan if selected is None else selected


def _validation(result: Result) -> float:
    validated = result.validated
    return math.nan if validated is None else validated


BEST = Measure(
    "best epoch",
    "lowest over epochs, as in the paper: it uses the test set to choose the epoch, and lr and λ too, so that it is "
    "too good",
    lambda result: result.best,
    lambda result: result.best,
)
LAST = Measure("last epoch", "at the last epoch; lr and λ chosen by it", lambda r: r.last, lambda r: r.last)
SELECTED = Measure(
    "validation", "at the epoch that held-out examples select; lr and λ chosen by them too", _selected, _validation
)
MEASURES = (BEST, LAST, SELECTED)
