"""Muon's λ over batch and data, and over width: two rules from one project that do not agree; and over-training."""

from __future__ import annotations

import math

from weightdecay.transfer.batch import BATCH
from weightdecay.transfer.domain import non_negative, positive, scaled
from weightdecay.transfer.length import LENGTH
from weightdecay.transfer.rule import Change, Quantity, Rule, pull_words, strength
from weightdecay.transfer.setting import Setting
from weightdecay.transfer.timescale import MEMORY


def muon_horizon_weight_decay(weight_decay: float, batch: float, data: float) -> float:
    r"""Batch × k_B and data × k_D: Muon's λ grows as the root of the batch and falls as the data grows.

    .. math:: \lambda' = \lambda\,\sqrt{k_B}/k_D

    At an lr that grows as √k_B this is the timescale rule τ = B/(ηλD): the fraction of the data that is remembered
    stays. It does not contain the width. If tokens are proportional to parameters, and these to width² at one depth, it
    gives λ/k² too. If the amount of data stays, :func:`muon_width_weight_decay` divides λ by k² and this rule leaves
    it. In this case the two disagree.

    Range:  Muon on the matrices of a GPT, lr ∝ √batch.
    Units:  ratios, new to old; data counts tokens over all epochs.
    Raises: ValueError, for ratios that are not above 0, or a negative λ.
    Source: karpathy/nanochat, since 2026-02: λ = λ_ref √(B/B_ref) (D_ref/D).

    >>> muon_horizon_weight_decay(0.2, batch=4, data=4)
    0.1
    """
    batch, data = positive(batch=batch, data=data)
    (weight_decay,) = non_negative(weight_decay=weight_decay)
    return scaled("weight_decay", weight_decay, math.sqrt(batch) / data)


def _swept_by_data(s: Setting, width: float) -> Quantity:
    """What Muon's rule for batch and data keeps, at one lr."""
    data = (s.samples or math.nan) * (s.epochs or math.nan)
    return f"{pull_words(s)} · data/√batch", s.shrinking * data / math.sqrt(s.batch_size or math.nan)


def _doubts_of_muon(c: Change) -> list[str]:
    said = ["one project (nanochat) swept it on GPTs, with an lr that grows as √batch; the lr is unchanged here"]
    if c.new.method == "muonadamw":
        said.append("it is for the matrices; for the tensors that Adam moves ask again with optimizer=adamw")
    return said


HORIZON = Rule(
    name="Muon: λ ∝ √batch/data",
    about="training",
    change="batch × k_B, data × k_D",
    lr="× √k_B, by its recipe",
    weight_decay="× √k_B / k_D",
    kept="τ in a fraction of the data",
    measured="Muon; GPTs",
    sources=("karpathy/nanochat, 2026-02",),
    function=muon_horizon_weight_decay,
    answer=lambda c, lr, weight_decay: (lr, muon_horizon_weight_decay(weight_decay, c.batch, c.length)),
    applies=lambda c: c.orthogonal and (c.batch != 1 or c.lengthens),
    keeps=_swept_by_data,
    doubts=_doubts_of_muon,
    against={
        BATCH.name: "λ × k against λ × √k at the same lr; the second was swept with an lr that grows as √k, and then "
        "has the pull of the first",
        LENGTH.name: "both divide λ by the amount of data; for another batch the second assumes an lr that grows",
        MEMORY.name: "λ × batch/data against √batch/data; the second was swept with an lr that grows as √batch",
    },
)


def muon_width_weight_decay(weight_decay: float, k: float) -> float:
    r"""Width × k at the same shape and recipe: Muon's λ falls as the square of the width.

    .. math:: \lambda' = \lambda/k^2

    Swept by nanochat at widths 512, 768, 1024 and 1280: the best λ was 0.40, 0.22, 0.10 and 0.08, by its own account an
    exponent of 1.97; a straight line through the logarithms of these rounded values has 1.85.
    Depth and amount of data grew with the width there, so that the three cannot be told apart.

    Range:  Muon on the matrices of a GPT, depth growing with width, as many tokens for each parameter.
    Units:  k is a ratio of widths; λ is that of ``Decoupled``.
    Raises: ValueError, for a k that is not above 0, or a negative λ.
    Source: karpathy/nanochat, until 2026-02; then replaced by :func:`muon_horizon_weight_decay`.

    >>> round(muon_width_weight_decay(0.40, 1280 / 512), 3)
    0.064
    """
    (k,) = positive(k=k)
    (weight_decay,) = non_negative(weight_decay=weight_decay)
    return scaled("weight_decay", weight_decay, k**-2)


def _swept_by_width(s: Setting, width: float) -> Quantity:
    """What Muon's rule for widths keeps."""
    return "λ · width²", s.weight_decay * width**2


def _doubts_of_muons_width(c: Change) -> list[str]:
    also = ["data grew with width in its sweep; together with a rule for data it counts that twice"] if c.trains else []
    return [*_doubts_of_muon(c), "it is for the matrices of a GPT whose depth grows with its width", *also]


MUON_WIDTH = Rule(
    name="Muon: λ ∝ 1/width²",
    about="width",
    change="width × k",
    lr="–",
    weight_decay="/ k²",
    kept="λ · width², the best λ of a sweep over four widths",
    measured="Muon; GPTs of width 512 to 1280, with growing depth and data",
    sources=("karpathy/nanochat, before 2026-02",),
    function=muon_width_weight_decay,
    answer=lambda c, lr, weight_decay: (lr, muon_width_weight_decay(weight_decay, c.width)),
    applies=lambda c: c.width != 1 and c.orthogonal,
    keeps=_swept_by_width,
    doubts=_doubts_of_muons_width,
)

MUON_STAYS = Rule(
    name="Muon: width leaves λ",
    about="width",
    change="width × k",
    lr="as it was",
    weight_decay="as it was",
    kept="λ",
    measured="Muon; GPTs",
    sources=HORIZON.sources,
    function=muon_horizon_weight_decay,
    applies=MUON_WIDTH.applies,
    keeps=strength,
    doubts=_doubts_of_muon,
    against={
        MUON_WIDTH.name: "nanochat's first rule and the one that replaced it; the first is the best λ of a sweep in "
        "which data grew with width, the second depends on batch and data alone, which do not change here"
    },
)


def over_training_weight_decay(weight_decay: float, k: float) -> float:
    r"""Tokens for each parameter × k, over-training: λ grows as the root.

    .. math:: \lambda' = \sqrt k\,\lambda

    :func:`length_weight_decay` and :func:`timescale_weight_decay` lower λ when the data grows: they keep the part of a
    training that is forgotten. This rule gives the λ that was found best for the model. Only the abstract was read.

    Units:  k is a ratio of tokens to parameters, new to old.
    Raises: ValueError, for a k that is not above 0, or a negative λ.
    Source: arXiv:2609.04577, abstract.

    >>> over_training_weight_decay(0.1, 4)
    0.2
    """
    (k,) = positive(k=k)
    (weight_decay,) = non_negative(weight_decay=weight_decay)
    return scaled("weight_decay", weight_decay, math.sqrt(k))


OVER_TRAINING = Rule(
    name="over-training: λ ∝ √(tokens per parameter)",
    about="itself",
    change="tokens per parameter × k",
    lr="as it was",
    weight_decay="× √k",
    kept="–",
    measured="language models; only the abstract was read",
    sources=("arXiv:2609.04577",),
    function=over_training_weight_decay,
)
