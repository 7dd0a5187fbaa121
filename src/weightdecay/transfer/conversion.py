"""Conversion of λ between L2, decoupled, stable, vanilla and independent decay, and of corrected and log-time decay
along a training.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from weightdecay.transfer.domain import below_one, computed, known, non_negative, positive, scaled

DECAYS = ("l2", "decoupled", "stable", "vanilla", "independent", "corrected")
PULLS = ("decoupled", "independent", "vanilla", "corrected")
"""Those that know no gradient."""

ALONG = (*PULLS, "logtime")
"""Those that :func:`convert_along` knows."""

FAMILIES = ("sgd", "adam", "adai", "sign", "orthogonal")
GAINLESS = {"sign": "a sign", "orthogonal": "an orthogonal matrix"}
"""Families whose updates multiply no gradient, and what these are."""

EXACT, CONSTANT_LR, ONE_MOMENT, SAME_MINIMUM, CONVENTION = (
    "exact",
    "exact at a constant lr",
    "exact at one v̄",
    "same minimum, another path",
    "convention",
)
"""The promises of a conversion, from the strongest to the weakest."""

SAME_TOTAL = "same total pull"
"""The promise of a conversion if no λ makes the pulls equal at every step."""

STRENGTH = {name: place for place, name in enumerate((EXACT, CONSTANT_LR, ONE_MOMENT, SAME_MINIMUM, CONVENTION))}


@dataclass(frozen=True)
class Conversion:
    """A λ in another meaning; ``holds`` is one of the five promises above, and ``why`` explains it in a sentence."""

    weight_decay: float
    holds: str
    why: str


def convert(
    weight_decay: float,
    old: str,
    new: str,
    *,
    lr: float,
    family: str = "adam",
    gain: float | None = None,
    momentum: float | None = None,
) -> Conversion:
    r"""Return the λ of the decay ``new`` that is as strong as λ of the decay ``old``, at a peak lr of η.

    Every decay but L2 is a pull, so equal strength is an equal pull at the peak:

    =============  ==========================  ==================================================================
    decay          pull at the peak            equal to ``decoupled``
    =============  ==========================  ==================================================================
    decoupled      :math:`\eta\lambda`         –
    independent    :math:`\lambda`             exactly, under any schedule
    vanilla        :math:`\lambda`             exactly at a constant lr; a schedule does not reach it
    corrected      :math:`\eta\lambda`         exactly at a constant lr; it falls with the square of a schedule
    stable         :math:`\eta\lambda\bar g`   exactly for SGD and Adai (ḡ is a constant); for Adam at one v̄
    l2             (in the gradient)           SGD: λḡ has the same minimum of the regularised loss, and the same path
                                               where there is no momentum; Adam: by the paper's convention only
    =============  ==========================  ==================================================================

    ``gain`` ḡ is β₃/(1−β₁) for SGD (:func:`sgd_gain`), v̄^(−1/2) for Adam (:func:`adam_gain`), 1 for Adai. ``momentum``
    is SGD's: only where it is said to be 0 is L2 a pull, whatever the gain, for a buffer delays its decay.

    Lion (``sign``) and Muon (``orthogonal``) have the four pulls without a gain: their updates multiply no gradient,
    so λ of L2 or of stable decay says nothing about them.

    L2 under Adam is another algorithm than any of these: √v̂ divides λθ too, so no λ makes the paths or the minima
    equal. The paper's convention is λ_decoupled = λ_L2/η and λ_stable = λ_L2. Without ``gain`` Adam's stable decay is
    converted by the same convention, λ_decoupled = λ_stable/η, which is right where √v̄ = η and nowhere else.

    Units:  L2 and stable: loss/weight²; decoupled and corrected: 1/lr; vanilla and independent: a fraction per step.
    Raises: ValueError, for unknown names (with the nearest), a λ below 0, an lr or gain that is not above 0, for SGD
            without its gain where it is needed, and for L2 or stable decay under a sign.
    Source: arXiv:2011.11152, Sections 3 and 5, Eq. 11 and 22; SGDS = SGDW(λ/(1−β₁)) is its Algorithm 8.

    >>> round(convert(5e-4, "l2", "decoupled", lr=0.1, family="sgd", gain=sgd_gain(0.9)).weight_decay, 9)
    0.005
    >>> half = convert(0.5, "decoupled", "independent", lr=1e-3)
    >>> half.weight_decay, half.holds
    (0.0005, 'exact')
    """
    (weight_decay,) = non_negative(weight_decay=weight_decay)
    (lr,) = positive(lr=lr)
    old, new = known("decay", old, DECAYS), known("decay", new, DECAYS)
    family = known("family of optimizers", family, FAMILIES)
    if gain is not None:
        (gain,) = positive(gain=gain)
    if momentum is not None:
        (momentum,) = below_one(momentum=momentum)
    if family in GAINLESS:
        pulls(family, old, new)
    if old == new:
        return Conversion(weight_decay, EXACT, "nothing changes")
    if family == "adam" and "l2" in (old, new):
        return _by_convention(weight_decay, old, new, lr)
    if family == "adai" or {old, new} == {"l2", "stable"}:  # the gain is 1, or on both sides
        gain = 1.0
    out, first, why_out = _decoupled(old, lr, family, gain, momentum)
    back, second, why_back = _decoupled(new, lr, family, gain, momentum)
    holds = max(first, second, key=STRENGTH.__getitem__)
    why = why_out if holds == first else why_back
    if CONSTANT_LR in (first, second) and holds != CONSTANT_LR:
        why += ", and at a constant lr"
    return Conversion(scaled("weight_decay", weight_decay, out / back), holds, why)


def pulls(family: str, *decays: str) -> None:
    """Refuse, with a ValueError, the decays that need an update which multiplies gradients."""
    for decay in decays:
        if decay in ("l2", "stable"):
            raise ValueError(
                f"{decay} decay under {GAINLESS[family]}: the update multiplies no gradient, so this λ has no strength "
                "there. Use decoupled decay, the default of Lion and Muon."
            )


def _decoupled(
    decay: str, lr: float, family: str, gain: float | None, momentum: float | None
) -> tuple[float, str, str]:
    """Return the factor from this decay's λ to the decoupled one's, and how far it holds."""
    if decay == "decoupled":
        return 1.0, EXACT, "equal pulls at every step"
    if decay == "independent":
        return 1 / lr, EXACT, "equal pulls under any schedule of the lr"
    if decay == "corrected":
        return (
            1.0,
            CONSTANT_LR,
            "equal pulls at the peak; below it corrected decay falls as lr². Over a cosine to 0 it needs 4/3 of λ for "
            "the same sum, which convert_along computes",
        )
    if decay == "vanilla":
        return (
            1 / lr,
            CONSTANT_LR,
            "equal pulls while the lr stays at its peak; vanilla decay does not follow a schedule",
        )
    if gain is None:
        if family == "adam":
            return (
                1 / lr,
                CONVENTION,
                "the paper's convention, exact only if the gain is 1/lr. A measured gain shows whether it is",
            )
        raise ValueError(
            f"the {decay} decay of {family} needs gain, the factor by which a step multiplies a gradient. It is "
            "β₃/(1−β₁) for SGD with momentum and 1 for plain SGD: gain=sgd_gain(momentum)."
        )
    if decay == "l2":
        if family == "sgd" and momentum == 0:
            return gain, EXACT, "without momentum λθ in the gradient is a pull"
        return gain, SAME_MINIMUM, "the regularised loss has one minimum for both; momentum delays the decay of L2"
    if family == "adam":
        return gain, ONE_MOMENT, "equal pulls at the present v̄; v̄ changes during training, and with batch and data"
    return gain, EXACT, "the gain is a constant: equal pulls at every step"


def _by_convention(weight_decay: float, old: str, new: str, lr: float) -> Conversion:
    """Between L2 under Adam and the pulls: λ_stable = λ_L2, all others have a pull of λ_L2 at the peak."""
    factor = {"l2": 1.0, "stable": 1.0, "decoupled": lr, "corrected": lr, "vanilla": 1.0, "independent": 1.0}
    return Conversion(
        scaled("weight_decay", weight_decay, factor[old] / factor[new]),
        CONVENTION,
        "the paper's convention; L2 under Adam is another algorithm, because √v̂ divides its λθ element by element",
    )


def convert_along(
    weight_decay: float, old: str, new: str, lrs: Iterable[float], *, horizon: float | None = None
) -> Conversion:
    r"""Return the λ of ``new`` whose total pull along the learning rates of a training is that of λ of ``old``.

    =============  ================================================
    decay          pull at step t over λ, with the lr η_t
    =============  ================================================
    decoupled      :math:`\eta_t`
    independent    :math:`\eta_t/\eta_{\max}`
    vanilla        1
    corrected      :math:`\eta_t^2/\eta_{\max}`
    logtime        :math:`(\eta_t/\eta_{\max})/(1+t/T)`
    =============  ================================================

    .. math:: \lambda' = \lambda\,\sum_t f_{\text{old}}(t) \Big/ \sum_t f_{\text{new}}(t)

    "exact" where the pulls are then equal at every step: between decoupled and independent always, with corrected and
    vanilla at a constant lr. Elsewhere "same total pull": the sum of all pulls is the same and the path is another one.
    Over a cosine from the peak to 0 corrected decay wants 4/3 of decoupled's λ.

    ``lrs`` are those of all steps, in their order; ``horizon`` T is LogTime's. Stable decay and L2 depend on gradients:
    :func:`convert` speaks of them.

    Units:  lrs in the optimizer's unit, horizon in steps.
    Raises: ValueError, for unknown names, no lr above 0, lrs below 0, and logtime without a horizon.
    Source: derived here, from the definitions; AdamC's is arXiv:2506.02285.

    >>> lrs = [0.5 + 0.5 * math.cos(math.pi * t / 10_000) for t in range(10_000)]
    >>> found = convert_along(0.1, "decoupled", "corrected", lrs)
    >>> round(found.weight_decay, 4), found.holds
    (0.1333, 'same total pull')
    """
    (weight_decay,) = non_negative(weight_decay=weight_decay)
    old, new = (known("decay", name, ALONG) for name in (old, new))
    if horizon is not None:
        (horizon,) = positive(horizon=horizon)
    elif "logtime" in (old, new):
        raise ValueError("horizon is missing: the pull of LogTime falls with t/horizon. Pass horizon=, in steps.")
    each = [non_negative(lr=lr)[0] for lr in lrs]
    peak = max(each, default=0.0)
    if not peak:
        raise ValueError(f"none of the {len(each)} lrs is above 0, so nothing decays. Pass the lr of every step.")
    before, after = (_pulls_along(name, each, peak, horizon) for name in (old, new))
    factor = math.fsum(before) / math.fsum(after)
    equal = all(math.isclose(a, factor * b, rel_tol=1e-9, abs_tol=1e-300) for a, b in zip(before, after, strict=True))
    why = "equal pulls at every step" if equal else "equal sums of pulls; they come at other times"
    return Conversion(scaled("weight_decay", weight_decay, factor), EXACT if equal else SAME_TOTAL, why)


def _pulls_along(decay: str, lrs: list[float], peak: float, horizon: float | None) -> list[float]:
    """Return pull/λ at every step."""
    if decay == "vanilla":
        return [1.0] * len(lrs)
    if decay == "logtime" and horizon is not None:
        return [lr / peak / (1 + t / horizon) for t, lr in enumerate(lrs, 1)]
    power = {"decoupled": (1, 0), "independent": (1, 1), "corrected": (2, 1)}[decay]
    return [lr ** power[0] / peak ** power[1] for lr in lrs]


def sgd_gain(momentum: float, dampening: float = 0.0) -> float:
    r"""The factor by which SGD multiplies a constant gradient, :math:`\bar g=\beta_3/(1-\beta_1)`, β₃ = 1 − dampening.

    As in torch's SGD, dampening does nothing without momentum, and the gain is 1.

    >>> round(sgd_gain(0.9), 9)
    10.0
    """
    momentum, dampening = below_one(momentum=momentum, dampening=dampening)
    return heavy_ball_gain(momentum, dampening) if momentum else 1.0


def heavy_ball_gain(momentum: float, dampening: float = 0.0) -> float:
    r"""The same for the paper's heavy ball, where dampening also acts without momentum: always β₃/(1−β₁).

    >>> heavy_ball_gain(0.0, 0.5)
    0.5
    """
    momentum, dampening = below_one(momentum=momentum, dampening=dampening)
    return (1 - dampening) / (1 - momentum)


def adam_gain(mean_square: float, power: float = 0.5) -> float:
    r"""Adam's isotropic gain, :math:`\bar g = \bar v^{-1/2}`; v̄ is the mean of v̂ over every element of the model.

    ``power`` is that of v̄: 1/2, and ``partial`` for Padam (1/4 by default). RAdam and AdaBound have other gains. For
    every optimizer ``weightdecay.monitor.read(optimizer).effective_lr`` is η ḡ, so ḡ = effective_lr/η.

    >>> adam_gain(1e-6)
    1000.0
    """
    mean_square, power = positive(mean_square=mean_square, power=power)
    return computed("gain", mean_square**-power)
