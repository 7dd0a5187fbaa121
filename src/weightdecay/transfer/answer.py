"""What is asked of the rules, and what they answer: plain values."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, fields
from typing import Any

from weightdecay.transfer.conversion import DECAYS
from weightdecay.transfer.domain import below_one, known, positive
from weightdecay.transfer.optimizers import KNOWN
from weightdecay.transfer.setting import Setting

GRID = (1 / 3, 1.0, 3.0)
"""Of a suggested grid, as multiples of the recommended λ."""


@dataclass(frozen=True)
class Wanted:
    """What shall be different; None stays. ``width`` is a factor.

    ``lr`` is for another algorithm only: no rule turns an lr of SGD into one of Adam, or one of Adam into one of Padam.

    Raises: ValueError, for values out of range, each called by its name with ``new_`` in front, and for unknown names.
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

    def __post_init__(self) -> None:
        checks = {"width": positive(width=self.width)[0]}
        for name in ("batch_size", "epochs", "samples", "parameters", "lr"):
            if getattr(self, name) is not None:
                checks[name] = positive(**{f"new_{name}": getattr(self, name)})[0]
        if self.momentum is not None:
            checks["momentum"] = below_one(new_momentum=self.momentum)[0]
        names: dict[str, Collection[str]] = {"optimizer": KNOWN, "decay": DECAYS}
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        texts = {name: known(name, value, names[name]) for name, value in given.items()}
        for name, value in {**checks, **texts}.items():
            object.__setattr__(self, name, value)

    @property
    def given(self) -> tuple[str, ...]:
        """What was asked for, by name."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name) not in (None, field.default))


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
    new: Setting  # its lr and λ are no answer: each recommendation has its own
    width: float
    recommendations: tuple[Recommendation, ...]
    disagreements: tuple[Disagreement, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for ``json.dump``; ``new`` has no lr, λ, betas and ε, which are the rules' to say."""
        values = asdict(self)
        for name in ("lr", "weight_decay", "betas", "eps"):
            del values["new"][name]
        for each in values["recommendations"]:
            each["rule"] = " + ".join(each["rules"])
        return values
