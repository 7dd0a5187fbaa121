"""How numbers are written: as many decimals as the metric deserves, and the same number of them everywhere."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from weightdecay.lab.run import Metric
from weightdecay.lab.study.answer import Cell
from weightdecay.lab.study.difference import Difference
from weightdecay.lab.study.statistics import Comparison


@dataclass(frozen=True)
class Numbers:
    """A metric and the decimals it is written with: one for percents, else four digits of the best mean."""

    metric: Metric
    places: int

    @classmethod
    def of(cls, comparison: Comparison) -> Numbers:
        """Return how the numbers of a comparison are written."""
        return cls.near(comparison.metric, comparison.standings[0].best.mean, percents=1)

    @classmethod
    def near(cls, metric: Metric, best: float, percents: int) -> Numbers:
        """Return how numbers are written of which the best is this one; ``percents`` are the decimals of a percent."""
        if metric.unit == "%" or not 0 < abs(best) < math.inf:
            return cls(metric, percents)
        return cls(metric, max(0, 3 - math.floor(math.log10(abs(best)))))

    @property
    def unit(self) -> str:
        """The unit as it stands behind a number."""
        return f" {self.metric.unit}" if self.metric.unit else ""

    def exact(self, value: float) -> str:
        """Return the number, ``∞`` where it is not finite."""
        return f"{value:.{self.places}f}" if math.isfinite(value) else "∞"

    def mean(self, cell: Cell) -> str:
        """Return ``3.7 %``."""
        return self.exact(cell.mean) + self.unit

    def spread(self, cell: Cell, epoch: str = "last") -> str:
        """Return ``3.7 ± 0.3``, or ``3.7`` for one seed; of the last epoch, or of each run's best."""
        return self.over_seeds(cell.errors if epoch == "last" else cell.best_epoch_errors)

    def over_seeds(self, values: Sequence[float]) -> str:
        """Return ``3.7 ± 0.3``: mean and sample standard deviation; ``3.7`` for one, ``∞`` where one is not finite."""
        mean = self.exact(statistics.fmean(values))
        if len(values) == 1 or not all(map(math.isfinite, values)):
            return mean
        return f"{mean} ± {self.exact(statistics.stdev(values))}"

    def measured(self, cell: Cell) -> str:
        """Return ``3.7 ± 0.3 % test error``, or ``test perplexity 115.3 ± 0.4``."""
        if self.metric.unit:
            return f"{self.spread(cell)}{self.unit} {self.metric.name}"
        return f"{self.metric.name} {self.spread(cell)}"

    def difference(self, value: Difference | None) -> str:
        """Return ``+1.1 [+0.4, +1.8]``, or a dash for the best."""
        if value is None:
            return "–"
        text = self._signed(value.mean)
        if value.interval is not None:
            low, high = value.interval
            text += f" [{self._signed(low)}, {self._signed(high)}]"
        return text

    def _signed(self, value: float) -> str:
        """Return the number with a sign that is as wide as a digit."""
        return ("−" if value < 0 else "+") + self.exact(abs(value))


def decay(value: float) -> str:
    """Return a λ with the digits that it has."""
    return f"{value:.4g}"


def digits(value: float) -> str:
    """Return three digits of a number that may be large: 0.0123, 1,200.

    >>> digits(0.01234), digits(1234.0)
    ('0.0123', '1,230')
    """
    return f"{float(f'{value:.3g}'):,.10g}"
