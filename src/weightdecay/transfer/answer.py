"""What is asked of the rules, and what they answer: plain values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from weightdecay.transfer.setting import Setting

GRID = (1 / 3, 1.0, 3.0)
"""Of a suggested grid, as multiples of the recommended λ."""


@dataclass(frozen=True)
class Wanted:
    """What shall be different; None stays. ``width`` is a factor.

    ``lr`` is for another family of optimizers only: no rule turns an lr of SGD into one of Adam.
    """

    batch_size: float | None = None
    epochs: float | None = None
    samples: float | None = None
    parameters: float | None = None
    width: float = 1.0
    optimizer: str | None = None
    decay: str | None = None
    lr: float | None = None
    momentum: float | None = None


@dataclass(frozen=True)
class Kept:
    """A quantity that a rule keeps constant, in the setting before and after."""

    name: str
    before: float
    after: float


@dataclass(frozen=True)
class Recommendation:
    """What one rule (or one after another, where several things change) says."""

    rules: tuple[str, ...]
    lr: float
    weight_decay: float
    grid: tuple[float, float, float]
    kept: tuple[Kept, ...]
    sources: tuple[str, ...]
    warnings: tuple[str, ...]
    betas: tuple[float, float] | None = None  # where the rule changes them
    eps: float | None = None

    @property
    def name(self) -> str:
        """The rules, in the order in which they were applied."""
        return " + ".join(self.rules)


@dataclass(frozen=True)
class Disagreement:
    """Two rules with different numbers, and why."""

    one: str
    other: str
    why: str


@dataclass(frozen=True)
class Advice:
    """Everything there is to say to a change."""

    old: Setting
    new: Setting  # lr and λ are still the old ones
    recommendations: tuple[Recommendation, ...]
    disagreements: tuple[Disagreement, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for ``json.dump``."""
        values = asdict(self)
        for each in values["recommendations"]:
            each["rule"] = " + ".join(each["rules"])
        return values
