"""What changes between two settings, as ratios, and the quantities that a rule may keep."""

from __future__ import annotations

import math
from dataclasses import dataclass

from weightdecay.transfer.domain import positive
from weightdecay.transfer.power_lines import power_lines_timescale
from weightdecay.transfer.setting import MissingError, Setting
from weightdecay.transfer.timescale import timescale_epochs

SIZES = ("batch_size", "epochs", "samples", "parameters")
"""What a training is as long and as large as: the fields of a setting that the rules of duration are about."""


@dataclass(frozen=True)
class Change:
    """From one setting to another, and ``width``, how many times as wide the new model is.

    Raises: MissingError, where something changes that was not given before; ValueError, for ratios beyond a float.
    """

    old: Setting
    new: Setting
    width: float = 1.0

    def __post_init__(self) -> None:
        for name in SIZES:
            before, after = getattr(self.old, name), getattr(self.new, name)
            if before is None and after is not None:
                raise MissingError(name, f"the new one is {after:g}, and the rules are about the ratio.")
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


# What a rule keeps: the words for it and its value, in a setting whose hidden layers are ``width`` times as wide. Where
# the gain is not known the pull is known only up to it (ηλ), and under L2 and Adam there is none: the words say so.


def decay(s: Setting, width: float) -> tuple[str, float]:
    """How much is decayed over the whole training."""
    return f"{pull_words(s)} × steps", s.shrinking * s.steps


def root_decay(s: Setting, width: float) -> tuple[str, float]:
    """What the normalised λ of AdamW's source keeps."""
    return f"{pull_words(s)} × √steps", s.shrinking * math.sqrt(s.steps)


def noise(s: Setting, width: float) -> tuple[str, float]:
    """The scale of SGD's noise."""
    return "lr / batch", s.lr / (s.batch_size or math.nan)


def root_noise(s: Setting, width: float) -> tuple[str, float]:
    """The scale of Adam's noise."""
    return "lr² / batch", s.lr * s.lr / (s.batch_size or math.nan)


def memory(s: Setting, width: float) -> tuple[str, float]:
    """The timescale of the weights; without a gain up to it."""
    words = "τ, epochs" if s.pull is not None else "τ·gain, epochs"
    return words, timescale_epochs(1.0, s.shrinking, s.batch_size or math.nan, s.samples or math.nan)


def share(s: Setting, width: float) -> tuple[str, float]:
    """The timescale over the one that Power Lines finds best: 1 is its optimum."""
    words, tau = memory(s, width)
    tokens = (s.samples or math.nan) * (s.epochs or math.nan)
    best = power_lines_timescale(tokens, s.parameters or math.nan)
    return f"{words.partition(',')[0]} / best τ", tau / (s.epochs or math.nan) / best


def pull(s: Setting, width: float) -> tuple[str, float]:
    """By how much a step shrinks the weights."""
    return pull_words(s), s.shrinking


def strength(s: Setting, width: float) -> tuple[str, float]:
    """λ itself, in its meaning: with L2 the minimum of the regularised loss."""
    return f"λ of {s.meaning}", s.weight_decay


def singular_values(s: Setting, width: float) -> tuple[str, float]:
    """The size of a layer's top singular values, as measured."""
    return "√(lr/λ) · width^¾", math.sqrt(s.lr / s.weight_decay) * width**0.75


def swept_by_width(s: Setting, width: float) -> tuple[str, float]:
    """What Muon's rule for widths keeps."""
    return "λ · width²", s.weight_decay * width**2


def swept_by_data(s: Setting, width: float) -> tuple[str, float]:
    """What Muon's rule for batch and data keeps, at one lr."""
    data = (s.samples or math.nan) * (s.epochs or math.nan)
    return f"{pull_words(s)} · data/√batch", s.shrinking * data / math.sqrt(s.batch_size or math.nan)


def pull_words(s: Setting) -> str:
    """Return what to call the product of lr and λ."""
    return "pull" if s.pull is not None else "lr·λ"
