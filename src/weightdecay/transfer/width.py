"""Width × k: the λ that belongs to μP's lr ∝ 1/width."""

from __future__ import annotations

import math

from weightdecay.transfer.domain import computed, non_negative, positive, scaled
from weightdecay.transfer.rule import Change, Pair, Quantity, Rule, pull, strength
from weightdecay.transfer.setting import Setting


def independent_width(lr: float, weight_decay: float, k: float) -> tuple[float, float]:
    r"""Independent decay over widths: the lr of hidden matrices falls as 1/k, and the pull ηλ stays.

    .. math:: \eta' = \eta/k, \qquad \lambda' = k\,\lambda

    The same as leaving λ alone under :class:`weightdecay.decay.Independent`, whose pull does not contain the peak lr.
    Keeps the timescale 1/(ηλ) of the weights.

    Range:  Adam's hidden matrices in μP; lr and λ of vectors (biases, norms) and of embeddings stay. For SGD μP leaves
            the lr of hidden matrices as it is, and with it λ. No source covers L2 under Adam, which has no pull.
    Units:  k is a ratio of widths; λ is that of ``Decoupled``.
    Raises: ValueError, for an lr or k that is not above 0, or a negative λ.
    Source: lr: Tensor Programs V, arXiv:2203.03466, Table 3; λ: arXiv:2309.14322 (independent decay transfers over
            widths), arXiv:2405.13698 (τ stays), arXiv:2510.19093 (it is this λ that makes the lr transfer).

    >>> independent_width(1e-2, 0.125, 4)
    (0.0025, 0.5)
    """
    lr, k = positive(lr=lr, k=k)
    (weight_decay,) = non_negative(weight_decay=weight_decay)
    return computed("lr", lr / k), scaled("weight_decay", weight_decay, k)


def _hidden(c: Change, lr: float, weight_decay: float) -> Pair:
    """Leave SGD as it is: in μP only the lr of Adam's and its like's hidden matrices falls."""
    return independent_width(lr, weight_decay, c.width) if c.normalizes else (lr, weight_decay)


def _doubts_of_width(c: Change) -> list[str]:
    said = ["it is for hidden matrices only, in μP; vectors and embeddings keep lr and λ"]
    if c.new.family == "sign":
        said.append(f"it was measured for AdamW, not for {c.new.optimizer}")
    elif c.new.family != "adam":
        said.append("lr ∝ 1/width is for Adam; for SGD μP leaves both as they are")
    elif c.new.meaning == "l2":
        said.append("L2 under Adam has no pull to keep, and no source says how its λ depends on width; λ stays")
    return said


PULL = Rule(
    name="width: ηλ stays",
    about="width",
    change="width × k, hidden matrices",
    lr="/ k",
    weight_decay="× k",
    kept="pull",
    measured="Adam in μP",
    sources=("arXiv:2203.03466", "arXiv:2309.14322", "arXiv:2405.13698"),
    function=independent_width,
    answer=_hidden,
    applies=lambda c: c.width != 1 and not c.l2_under_adam and not c.orthogonal,
    keeps=pull,
    doubts=_doubts_of_width,
)

LR_ONLY = Rule(
    name="width: lr ∝ 1/width",
    about="width",
    change="width × k, L2 under Adam",
    lr="/ k",
    weight_decay="as it was (no source)",
    kept="λ",
    measured="Adam in μP, for the lr alone",
    sources=("arXiv:2203.03466",),
    function=independent_width,
    answer=lambda c, lr, weight_decay: (independent_width(lr, weight_decay, c.width)[0], weight_decay),
    applies=lambda c: c.width != 1 and c.l2_under_adam,
    keeps=strength,
    doubts=_doubts_of_width,
)


def square_root_width(lr: float, weight_decay: float, k: float) -> tuple[float, float]:
    r"""The other answer: λ ∝ √width, so that the top singular values keep their size relative to the layer.

    .. math:: \eta' = \eta/k, \qquad \lambda' = \sqrt k\,\lambda

    Measured there: singular values ∝ √(η/λ)·k^0.75 in the steady state; √(η'/λ')·k^0.75 is then k^(−3/4 + 3/4).

    Range:  AdamW, LLaMA-like transformers in the steady state; matrices only, vectors with λ = 0.
    Units, Raises: as :func:`independent_width`.
    Source: Fan et al. 2025, arXiv:2510.15262.

    >>> square_root_width(1e-2, 0.125, 4)
    (0.0025, 0.25)
    """
    lr, k = positive(lr=lr, k=k)
    (weight_decay,) = non_negative(weight_decay=weight_decay)
    return computed("lr", lr / k), scaled("weight_decay", weight_decay, math.sqrt(k))


def _singular_values(s: Setting, width: float) -> Quantity:
    """The size of a layer's top singular values, as measured."""
    return "√(lr/λ) · width^¾", math.sqrt(s.lr / s.weight_decay) * width**0.75


SINGULAR = Rule(
    name="width: λ ∝ √width",
    about="width",
    change="width × k, matrices",
    lr="/ k",
    weight_decay="× √k",
    kept="√(lr/λ) · width^¾",
    measured="AdamW; transformers in the steady state",
    sources=("arXiv:2510.15262",),
    function=square_root_width,
    answer=lambda c, lr, weight_decay: square_root_width(lr, weight_decay, c.width),
    applies=lambda c: c.width != 1 and c.new.family == "adam" and c.new.meaning == "decoupled",
    keeps=_singular_values,
    doubts=lambda c: ["it is for matrices of transformers in the steady state; vectors have λ = 0"],
    against={
        PULL.name: "the first keeps the memory 1/(ηλ), the second the size of the singular values, which was measured "
        "as √(lr/λ) · width^¾"
    },
)
