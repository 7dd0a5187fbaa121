"""λ ∝ 1/√steps: the rule that came with AdamW."""

from __future__ import annotations

import math

from weightdecay.transfer.batch import BATCH
from weightdecay.transfer.conversion import PULLS
from weightdecay.transfer.domain import non_negative, positive, scaled
from weightdecay.transfer.length import LENGTH
from weightdecay.transfer.rule import Change, Pair, Quantity, Rule, pull_words
from weightdecay.transfer.setting import Setting
from weightdecay.transfer.timescale import LINES, MEMORY


def normalized_weight_decay(normalized: float, batch_size: float, samples: float, epochs: float) -> float:
    r"""λ from a normalised λ that is meant for every batch and length.

    .. math:: \lambda = \lambda_{\text{norm}} \sqrt{\frac{B}{N\,E}}

    Range:  AdamW and SGDW on CIFAR-10 and ImageNet32 in the source, where λ is not multiplied by the lr
            (``Independent`` here). A rule of thumb by the authors' own word.
    Units:  λ is a fraction per step at the peak; B and N are in examples, E in epochs.
    Raises: ValueError, for values out of range.
    Source: Loshchilov & Hutter 2017, arXiv:1711.05101, Appendix B.1.

    >>> normalized_weight_decay(0.05, batch_size=128, samples=50_000, epochs=100)
    0.000252982212813470...
    """
    (normalized,) = non_negative(normalized=normalized)
    batch_size, samples, epochs = positive(batch_size=batch_size, samples=samples, epochs=epochs)
    return scaled("weight_decay", normalized, math.sqrt(batch_size / samples / epochs))


def _normalized(c: Change, lr: float, weight_decay: float) -> Pair:
    """Keep the normalised λ, of which λ is a multiple that depends on the sizes alone."""
    (batch, new_batch), (samples, new_samples), (epochs, new_epochs) = (
        c.both(name) for name in ("batch_size", "samples", "epochs")
    )
    normalized = weight_decay / normalized_weight_decay(1.0, batch, samples, epochs)
    return lr, normalized_weight_decay(normalized, new_batch, new_samples, new_epochs)


def _root_decay(s: Setting, width: float) -> Quantity:
    """What the normalised λ of AdamW's source keeps."""
    return f"{pull_words(s)} × √steps", s.shrinking * math.sqrt(s.steps)


NORMALIZED = Rule(
    name="λ ∝ 1/√steps",
    about="training",
    change="steps × k",
    lr="as it was",
    weight_decay="/ √k",
    kept="pull × √steps",
    measured="AdamW; CIFAR-10",
    sources=("arXiv:1711.05101",),
    function=normalized_weight_decay,
    answer=_normalized,
    applies=lambda c: c.length != c.batch and c.new.meaning in PULLS,
    keeps=_root_decay,
    doubts=lambda c: ["its authors call it a rule of thumb"],
    against={
        BATCH.name: "λ × k against λ × √k; the first keeps the decay of a training, the second is a fit",
        LENGTH.name: "λ ∝ 1/steps against 1/√steps; the first follows from the 1/(ηλ) steps of flat directions, the "
        "second is a fit to a few lengths",
        MEMORY.name: "λ × batch/data against λ ∝ 1/√steps",
        LINES.name: "λ × batch · D^−0.473 against √(batch/D)",
    },
)
