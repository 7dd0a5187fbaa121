"""A rule, the change that it answers, and the quantities that more than one rule keeps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from weightdecay.transfer.domain import positive
from weightdecay.transfer.setting import MissingError, Setting

SIZES = ("batch_size", "epochs", "samples", "parameters")
"""The fields of a setting that give the length and the size of a training, on which the rules of duration depend."""

Pair = tuple[float, float]
"""An lr and a λ that the lr multiplies."""

Moments = tuple[tuple[float, float], float]
"""The β's and ε of Adam."""

Quantity = tuple[str, float]
"""The words for what a rule keeps, and its value."""

About = Literal["batch", "length", "training", "width", "algorithm", "nothing", "itself"]
"""The question of :func:`advise` that a rule answers.

- "batch": the batch alone. Every rule for it is joined to the one for the length where that changes too.
- "length": epochs and data alone.
- "training": batch, length and data at once.
- "width": the width of hidden layers.
- "algorithm": the lr of another algorithm, at the same strength.
- "nothing": a λ that does not start from the old one.
- "itself": nothing. Its function is there, and ``advise`` leaves it out.
"""


@dataclass(frozen=True)
class Change:
    """From one setting to another, and how many times as wide (``width``) the new model is.

    ``lr_is_given``: whether the new setting's lr was asked for, or is the old one's for want of another.

    Raises: MissingError, where something changes that was not given before; ValueError, for ratios beyond a float.
    """

    old: Setting
    new: Setting
    width: float = 1.0
    lr_is_given: bool = False

    def __post_init__(self) -> None:
        for name in SIZES:
            before, after = getattr(self.old, name), getattr(self.new, name)
            if before is None and after is not None:
                raise MissingError(name, f"the new one is {after:g}, and the rules need the ratio of both.")
            positive(**{f"ratio_of_{name}": self.ratio(name)})
        positive(ratio_of_examples=self.length, ratio_of_steps=self.length / self.batch)
        if self.trains:
            self.old.steps  # noqa: B018 - raises where a number is missing

    def ratio(self, name: str) -> float:
        """Return a field's new value over its old one; 1 for what nobody said."""
        before, after = getattr(self.old, name), getattr(self.new, name)
        return 1.0 if before is None else float(after / before)

    @property
    def batch(self) -> float:
        """Ratio of the batch sizes."""
        return self.ratio("batch_size")

    @property
    def length(self) -> float:
        """Ratio of the examples that are seen in the whole training."""
        return self.ratio("epochs") * self.ratio("samples")

    @property
    def lengthens(self) -> bool:
        """Whether epochs or samples change."""
        return not self.ratio("epochs") == self.ratio("samples") == 1

    @property
    def trains(self) -> bool:
        """Whether batch, length, data or the number of parameters change: what the rules of duration are about."""
        return any(self.ratio(name) != 1 for name in SIZES)

    def both(self, name: str) -> tuple[float, float]:
        """Return a field of the old and the new setting; not a number where nobody said it."""
        before, after = getattr(self.old, name), getattr(self.new, name)
        return (math.nan if before is None else before), (math.nan if after is None else after)

    @property
    def knows_lr(self) -> bool:
        """Whether the lr is one of the new algorithm: it was given, or the algorithm stays."""
        return self.lr_is_given or self.new.method == self.old.method

    @property
    def normalizes(self) -> bool:
        """Whether a step's size does not depend on the gradient's, so that rules of Adam's lr may speak of it."""
        return self.new.family in ("adam", "sign")

    @property
    def l2_under_adam(self) -> bool:
        """Whether √v̂ divides the decay, so that there is no pull."""
        return self.new.family == "adam" and self.new.meaning == "l2"

    @property
    def orthogonal(self) -> bool:
        """Whether updates are orthogonal matrices, as Muon's are."""
        return self.new.family == "orthogonal"


@dataclass(frozen=True)
class Kept:
    """A quantity that a rule keeps constant, in the setting before and after."""

    name: str
    before: float
    after: float


def pull(s: Setting, width: float) -> Quantity:
    """The fraction by which a step shrinks the weights."""
    return pull_words(s), s.shrinking


def decay(s: Setting, width: float) -> Quantity:
    """The total decay over the whole training."""
    return f"{pull_words(s)} × steps", s.shrinking * s.steps


def strength(s: Setting, width: float) -> Quantity:
    """λ itself, in its meaning: with L2 the minimum of the regularised loss."""
    return f"λ of {s.meaning}", s.weight_decay


def pull_words(s: Setting) -> str:
    """Return the words for the product of lr and λ.

    If the gain is not known, the pull is known only up to this factor (ηλ); L2 under Adam has no pull.
    """
    return "pull" if s.pull is not None else "lr·λ"


@dataclass(frozen=True, eq=False)
class Rule:
    """A rule for λ and lr, with its source and its range. The docstring of its function has formula and units.

    ``advise`` applies it to changes for which ``applies`` is true, with the lr and a λ that the lr multiplies. The
    rules in :data:`weightdecay.transfer.RULES` make the table of ``docs/transfer.md`` and share their tests.
    """

    name: str
    about: About
    change: str
    """The quantity that changes, with the letter of its ratio: ``"batch × k"``."""
    lr: str
    """The formula for the lr, as the table has it: ``"× k"``, ``"as it was"``, or ``"–"`` where it says nothing."""
    weight_decay: str
    """The formula for λ."""
    kept: str
    """The quantity that stays, in the words of the table."""
    measured: str
    """The range in which the source measured it."""
    sources: tuple[str, ...]
    function: Callable[..., Any]
    """The formula as a function of floats."""
    answer: Callable[[Change, float, float], Pair] = lambda c, lr, weight_decay: (lr, weight_decay)
    """The lr and λ after a change, from those before."""
    applies: Callable[[Change], bool] = lambda c: False
    keeps: Callable[[Setting, float], Quantity] = pull
    """The quantity that it keeps, in a setting whose hidden layers are so many times as wide."""
    moments: Callable[[Change], Moments | None] = lambda c: None
    """The β's and ε after a change, where the rule moves them."""
    doubts: Callable[[Change], list[str]] = lambda c: []
    """Sentences about a change that leaves the range."""
    against: Mapping[str, str] = field(default_factory=dict)
    """By the name of a rule earlier in the list: why that one ("the one", "the first") and this one part."""
