"""What changes between two settings, as ratios, and what each rule makes of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from weightdecay.transfer import batch, length, linear, power_lines
from weightdecay.transfer.reasons import LINEAR, LINES, MEMORY, NORMALIZED, PAPER, PULL, ROOT, SINGULAR
from weightdecay.transfer.setting import Setting

Factors = tuple[float, float]
"""By how much lr and pull (the fraction that a step shrinks the weights by) are multiplied."""


@dataclass(frozen=True)
class Change:
    """Ratios, new to old: of batch size, epochs, samples, width and the model's parameters."""

    batch: float = 1.0
    epochs: float = 1.0
    samples: float = 1.0
    width: float = 1.0
    parameters: float = 1.0

    @property
    def steps(self) -> float:
        """Ratio of the steps in the whole training."""
        return self.samples * self.epochs / self.batch

    @property
    def trains(self) -> bool:
        """Whether batch, length, data or the number of parameters change: what the rules of duration are about."""
        return not self.batch == self.epochs == self.samples == self.parameters == 1


@dataclass(frozen=True)
class Rule:
    """A rule as factors on lr and pull. ``applies`` and ``doubts`` look at the new setting; doubts are its range."""

    name: str
    keeps: str  # the quantity that it keeps constant: a key of QUANTITIES
    source: str
    factors: Callable[[Change, Setting], Factors]
    applies: Callable[[Change, Setting], bool]
    doubts: Callable[[Change, Setting], list[str]]


QUANTITIES: dict[str, tuple[str, Callable[[Setting], float]]] = {
    "decay": ("pull × steps", lambda s: s.shrinking * s.steps),
    "noise": ("lr / batch", lambda s: s.lr / (s.batch_size or math.nan)),
    "root noise": ("lr² / batch", lambda s: s.lr**2 / (s.batch_size or math.nan)),
    "memory": ("τ, epochs", lambda s: _over(s.batch_size, s.shrinking, s.samples)),
    "share": ("τ / best τ", lambda s: _share(s)),
    "root decay": ("pull × √steps", lambda s: s.shrinking * math.sqrt(s.steps)),
    "pull": ("pull", lambda s: s.shrinking),
    "gain": ("√(lr/λ) · width^¾", lambda s: math.sqrt(s.lr / s.weight_decay) * s.width**0.75),
}
"""What a rule keeps → the words for it and its value. Where Adam's v̄ is not known, the pull is without its gain."""


def _over(batch_size: float | None, pull: float, samples: float | None) -> float:
    return (batch_size or math.nan) / (pull * (samples or math.nan))


def _share(s: Setting) -> float:
    """The timescale as a fraction of the training, over the one that Power Lines finds best: 1 is its optimum."""
    tokens = (s.samples or math.nan) * (s.epochs or math.nan)
    share = _over(s.batch_size, s.shrinking, tokens)
    return share / power_lines.power_lines_timescale(tokens, s.parameters or math.nan)


def _paper_doubts(c: Change, new: Setting) -> list[str]:
    said = []
    if c.batch != 1 and (
        (new.batch_size or 0) > batch.LARGEST_BATCH or not 1 / batch.LARGEST_K <= c.batch <= batch.LARGEST_K
    ):
        said.append("the paper tried batches from 128 to 16384, a factor of 128, and no further")
    low, high = length.EPOCHS_TRIED
    if c.epochs != 1 and not low <= (new.epochs or 0) <= high:
        said.append(f"λ ∝ 1/epochs was tried from {low:g} to {high:g} epochs")
    if c.epochs != 1 and new.family != "sgd":
        said.append("λ ∝ 1/epochs was measured for SGD")
    if c.samples != 1:
        said.append("the paper does not change the data; what is kept here is the decay over the training")
    return said


def _linear_doubts(c: Change, new: Setting) -> list[str]:
    said = ["needs a warm-up"] if c.batch > 1 else []
    if new.family == "adam":
        said.append("for SGD; the paper's Figure 3 has Adam getting worse by it")
    if (new.batch_size or 0) > linear.LARGEST_BATCH:
        said.append(f"its source kept the accuracy up to a batch of {linear.LARGEST_BATCH}")
    return said


def _root_doubts(c: Change, new: Setting) -> list[str]:
    said = ["its source has no weight decay: λ is ours, to keep pull × steps"]
    most = 1 / (1 - new.betas[0])
    if c.batch > most:
        said.append(f"beyond k = {most:.3g} a β falls below 0: no Adam follows the same equation at this batch")
    return said


def _memory_doubts(c: Change, new: Setting) -> list[str]:
    return [] if new.family == "adam" and new.meaning != "stable" else ["measured for AdamW"]


def _share_doubts(c: Change, new: Setting) -> list[str]:
    low, high = power_lines.PARAMETERS_TRIED
    said = ["for language models trained with AdamW and μP on one pass over the data"]
    if not low <= (new.parameters or 0) <= high:
        said.append(f"fitted on models of {low:.3g} to {high:.3g} parameters")
    return said


def _share_factors(c: Change, new: Setting) -> Factors:
    tokens = c.samples * c.epochs
    return 1.0, c.batch / tokens / (tokens / c.parameters) ** power_lines.EXPONENT


DURATION = (
    Rule(
        PAPER,
        "decay",
        "arXiv:2011.11152",
        lambda c, new: (1.0, 1 / c.steps),
        lambda c, new: not c.batch == c.epochs == c.samples == 1,
        _paper_doubts,
    ),
    Rule(
        LINEAR,
        "noise",
        "arXiv:1706.02677",
        lambda c, new: (c.batch, 1 / c.steps),
        lambda c, new: c.batch != 1,
        _linear_doubts,
    ),
    Rule(
        ROOT,
        "root noise",
        "arXiv:2205.10287",
        lambda c, new: (math.sqrt(c.batch), 1 / c.steps),
        lambda c, new: c.batch != 1 and new.family == "adam",
        _root_doubts,
    ),
    Rule(
        MEMORY,
        "memory",
        "arXiv:2405.13698",
        lambda c, new: (1.0, c.batch / c.samples),
        lambda c, new: c.trains and not (new.family == "adam" and new.meaning == "l2"),
        _memory_doubts,
    ),
    Rule(
        LINES,
        "share",
        "arXiv:2505.13738",
        _share_factors,
        lambda c, new: c.trains and new.parameters is not None and new.family == "adam" and new.meaning != "l2",
        _share_doubts,
    ),
    Rule(
        NORMALIZED,
        "root decay",
        "arXiv:1711.05101",
        lambda c, new: (1.0, 1 / math.sqrt(c.steps)),
        lambda c, new: c.steps != 1 and new.meaning in ("decoupled", "independent", "vanilla"),
        lambda c, new: ["a rule of thumb, by its authors' own word"],
    ),
)
"""What is said of batch, length and data."""


def _matrices(c: Change, new: Setting) -> list[str]:
    said = ["hidden matrices only, in μP; vectors and embeddings keep lr and λ"]
    return said if new.family == "adam" else [*said, "lr ∝ 1/width is Adam's; for SGD μP leaves both as they are"]


WIDTH = (
    Rule(
        PULL,
        "pull",
        "arXiv:2203.03466, 2309.14322, 2405.13698",
        lambda c, new: (1 / c.width, 1.0) if new.family == "adam" else (1.0, 1.0),
        lambda c, new: c.width != 1,
        _matrices,
    ),
    Rule(
        SINGULAR,
        "gain",
        "arXiv:2510.15262",
        lambda c, new: (1 / c.width, c.width**-0.5),
        lambda c, new: c.width != 1 and new.family == "adam" and new.meaning == "decoupled",
        lambda c, new: ["matrices of transformers in the steady state; vectors with λ = 0"],
    ),
)
"""What is said of width."""
