"""Each rule as ``advise`` applies it: which functions it calls, when it applies, what it keeps and who says so."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from weightdecay.transfer import change as kept
from weightdecay.transfer import doubts
from weightdecay.transfer.batch import batch_weight_decay
from weightdecay.transfer.change import Change
from weightdecay.transfer.length import length_weight_decay
from weightdecay.transfer.linear import linear_lr
from weightdecay.transfer.muon import muon_horizon_weight_decay, muon_width_weight_decay
from weightdecay.transfer.normalized import normalized_weight_decay
from weightdecay.transfer.power_lines import power_lines_weight_decay
from weightdecay.transfer.reasons import (
    BATCH,
    LENGTH,
    LINEAR,
    LINES,
    LR_ONLY,
    MEMORY,
    NORMALIZED,
    ORTHOGONAL,
    ORTHOGONAL_STAYS,
    ORTHOGONAL_WIDTH,
    PULL,
    ROOT,
    SINGULAR,
)
from weightdecay.transfer.setting import Setting
from weightdecay.transfer.square_root import square_root_pull
from weightdecay.transfer.timescale import timescale_epochs, timescale_weight_decay
from weightdecay.transfer.width import independent_width, square_root_width

Pair = tuple[float, float]
"""An lr and a λ that the lr multiplies."""


@dataclass(frozen=True)
class Rule:
    """A rule: ``answer`` takes the change, lr and λ to the new pair, by calling the functions of this package."""

    name: str
    sources: tuple[str, ...]
    answer: Callable[[Change, float, float], Pair]
    applies: Callable[[Change], bool]
    keeps: Callable[[Setting, float], tuple[str, float]]
    doubts: Callable[[Change], list[str]]


def _memory(c: Change, lr: float, weight_decay: float) -> Pair:
    (batch, new_batch), (samples, new_samples) = c.both("batch_size"), c.both("samples")
    epochs = timescale_epochs(lr, weight_decay, batch, samples)
    return lr, timescale_weight_decay(epochs, lr, new_batch, new_samples)


def _lines(c: Change, lr: float, weight_decay: float) -> Pair:
    """Keep the distance of λ from the best one."""
    best, new_best = (best_of_lines(s, lr) for s in (c.old, c.new))
    return lr, weight_decay * new_best / best


def best_of_lines(s: Setting, lr: float) -> float:
    """Return the λ that Power Lines finds best."""
    sizes = (s.batch_size, s.epochs, s.samples, s.parameters)
    batch, epochs, samples, parameters = (math.nan if size is None else size for size in sizes)
    return power_lines_weight_decay(lr, batch, samples * epochs, parameters)


def _normalized(c: Change, lr: float, weight_decay: float) -> Pair:
    """Keep the normalised λ, of which λ is a multiple that depends on the sizes alone."""
    (batch, new_batch), (samples, new_samples), (epochs, new_epochs) = (
        c.both(name) for name in ("batch_size", "samples", "epochs")
    )
    normalized = weight_decay / normalized_weight_decay(1.0, batch, samples, epochs)
    return lr, normalized_weight_decay(normalized, new_batch, new_samples, new_epochs)


def _hidden(c: Change, lr: float, weight_decay: float) -> Pair:
    """Leave SGD as it is: in μP only the lr of Adam's and its like's hidden matrices falls."""
    return independent_width(lr, weight_decay, c.width) if normalizes(c.new) else (lr, weight_decay)


def normalizes(s: Setting) -> bool:
    """Whether a step's size does not depend on the gradient's, so that rules of Adam's lr may speak of it."""
    return s.family in ("adam", "sign")


def _orthogonal(c: Change) -> bool:
    return c.new.family == "orthogonal"


def _l2_of_adam(s: Setting) -> bool:
    return s.family == "adam" and s.meaning == "l2"


BATCHES = (
    Rule(
        BATCH,
        ("arXiv:2011.11152",),
        lambda c, lr, weight_decay: (lr, batch_weight_decay(weight_decay, c.batch)),
        lambda c: c.batch != 1,
        kept.decay,
        doubts.of_batch,
    ),
    Rule(
        LINEAR,
        ("arXiv:1706.02677",),
        lambda c, lr, weight_decay: (linear_lr(lr, c.batch), weight_decay),
        lambda c: c.batch != 1,
        kept.noise,
        doubts.of_linear,
    ),
    Rule(
        ROOT,
        ("arXiv:2205.10287",),
        lambda c, lr, weight_decay: square_root_pull(lr, weight_decay, c.batch),
        lambda c: c.batch != 1 and normalizes(c.new),
        kept.root_noise,
        doubts.of_root,
    ),
)
"""What is said of the batch alone; all keep pull × steps at as many examples."""

EXAMPLES = Rule(
    LENGTH,
    ("arXiv:2011.11152",),
    lambda c, lr, weight_decay: (lr, length_weight_decay(weight_decay, c.length)),
    lambda c: c.lengthens,
    kept.decay,
    doubts.of_length,
)
"""What is said of epochs and data, and is joined to each rule for the batch where that changes too."""

WHOLE = (
    Rule(
        MEMORY,
        ("arXiv:2405.13698",),
        _memory,
        lambda c: c.trains and not _l2_of_adam(c.new),
        kept.memory,
        doubts.of_memory,
    ),
    Rule(
        LINES,
        ("arXiv:2505.13738",),
        _lines,
        lambda c: c.trains and c.new.parameters is not None and c.new.family == "adam" and not _l2_of_adam(c.new),
        kept.share,
        doubts.of_share,
    ),
    Rule(
        NORMALIZED,
        ("arXiv:1711.05101",),
        _normalized,
        lambda c: c.length != c.batch and c.new.meaning in doubts.PULLS,
        kept.root_decay,
        lambda c: ["a rule of thumb, by its authors' own word"],
    ),
    Rule(
        ORTHOGONAL,
        ("karpathy/nanochat, 2026-02",),
        lambda c, lr, weight_decay: (lr, muon_horizon_weight_decay(weight_decay, c.batch, c.length)),
        lambda c: _orthogonal(c) and (c.batch != 1 or c.lengthens),
        kept.swept_by_data,
        doubts.of_orthogonal,
    ),
)
"""What is said of batch, length and data at once."""

WIDTHS = (
    Rule(
        PULL,
        ("arXiv:2203.03466", "arXiv:2309.14322", "arXiv:2405.13698"),
        _hidden,
        lambda c: c.width != 1 and not _l2_of_adam(c.new) and not _orthogonal(c),
        kept.pull,
        doubts.of_width,
    ),
    Rule(
        LR_ONLY,
        ("arXiv:2203.03466",),
        lambda c, lr, weight_decay: (independent_width(lr, weight_decay, c.width)[0], weight_decay),
        lambda c: c.width != 1 and _l2_of_adam(c.new),
        kept.strength,
        doubts.of_width,
    ),
    Rule(
        SINGULAR,
        ("arXiv:2510.15262",),
        lambda c, lr, weight_decay: square_root_width(lr, weight_decay, c.width),
        lambda c: c.width != 1 and c.new.family == "adam" and c.new.meaning == "decoupled",
        kept.singular_values,
        lambda c: ["matrices of transformers in the steady state; vectors with λ = 0"],
    ),
    Rule(
        ORTHOGONAL_WIDTH,
        ("karpathy/nanochat, before 2026-02",),
        lambda c, lr, weight_decay: (lr, muon_width_weight_decay(weight_decay, c.width)),
        lambda c: c.width != 1 and _orthogonal(c),
        kept.swept_by_width,
        doubts.of_orthogonal_width,
    ),
    Rule(
        ORTHOGONAL_STAYS,
        ("karpathy/nanochat, 2026-02",),
        lambda c, lr, weight_decay: (lr, weight_decay),
        lambda c: c.width != 1 and _orthogonal(c),
        kept.strength,
        doubts.of_orthogonal,
    ),
)
"""What is said of width."""


def of_duration(c: Change) -> list[tuple[Rule, ...]]:
    """Return every answer to another batch, length and data: the rules that are applied together."""
    length = (EXAMPLES,) if EXAMPLES.applies(c) else ()
    joint = [(rule, *length) for rule in BATCHES if rule.applies(c)] or ([length] if length else [])
    return [*joint, *((rule,) for rule in WHOLE if rule.applies(c))]


def of_width(c: Change) -> list[tuple[Rule, ...]]:
    """Return every answer to another width."""
    return [(rule,) for rule in WIDTHS if rule.applies(c)]
