"""The λ that leaves the least expected loss after a given training: forgetting the start, against bias."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from weightdecay.theory.loss import Excess, excess_loss
from weightdecay.theory.numbers import Numbers, positive, shown
from weightdecay.theory.quadratic import Ensemble, Quadratic, modelled
from weightdecay.theory.shrinkage import Coupled, Responses, Shrinkage

PER_DECADE = 8
"""Values of λ a decade among which the valley is looked for, before it is followed down."""

CERTAIN = 1e-9
"""Part of the loss without decay by which another must be lower: less could be rounding."""

PRECISION = 1e-4
"""Relative, of the best λ. Nearer to an end of its range it is the end."""

GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Best:
    """The best λ, and what it is worth."""

    weight_decay: float
    excess: Excess
    without: Excess
    """The same training with λ = 0."""
    edge: str
    """``"low"``, ``"high"``: a better one may lie beyond that end of the range; else empty."""
    falls_from_zero: bool
    """Whether a little decay is better than none, whatever the range: then there is a best λ above 0.

    A little: the first λ of 10⁻⁶/Ση, 10⁻⁵/Ση … (1/T in place of 1/Ση under Vanilla) that changes the loss by more than
    10⁻⁹ of it, which rounding cannot do."""


def best_weight_decay(
    model: Quadratic | Ensemble,
    lrs: Numbers | Responses,
    decay: Callable[[float], Shrinkage] = Coupled,
    curvature: Numbers | None = None,
    low: float | None = None,
    high: float | None = None,
) -> Best:
    r"""Return the λ with the least :func:`~weightdecay.theory.excess_loss`: 0, or one within [low, high].

    Found on a grid of 8 values a decade and 0, then by golden section beside the best of them, to a relative 1e-4;
    two valleys nearer than a quarter of a decade are not told apart. The range is by default from where no direction
    changes by more than a thousandth (λ = 10⁻³/Ση under Coupled, λ₀ = 10⁻³/T under Vanilla) to the largest that is
    stable, at most 100 H_max. ``decay`` makes the decay of a λ, in its own meaning: ``lambda wd: Coupled(wd / lr)`` for
    Independent.

    **When is it above 0?** At λ = 0 the slope of the loss has three parts, with P = ∏(1−ηₖh), X = Σ ηₖ/(1−ηₖh):

    .. math::
        \frac{dE}{d\lambda}\Big|_0 = \sum_i w_i\Big[\underbrace{-X P^2(\theta_0-\theta^*)^2}_{\text{the start is
        forgotten}} \underbrace{-\tfrac{P(1-P)}{h}(\theta_0-\theta^*)\theta^*}_{\text{the minimum moves}}
        + \underbrace{\tfrac{\sigma^2}{2}\tfrac{dQ}{dh}}_{\text{noise}}\Big]

    While ηh < 1 in every direction, the first is never positive, the second is (on the mean over an Ensemble), and the
    third is negative. (Above 1 a step overshoots, P may be negative, and no sign is certain.) So for such steps:

    - no noise, start at 0: decay never lowers the training loss, λ = 0 is best in every direction;
    - no noise, random start, training loss, small steps: a direction with x = hΣη gains from decay if and only if
      :math:`(e^x-1)/x < 1 + \mathrm E\theta_0^2/\mathrm E\theta^{*2}`: flat directions that started too large do;
    - with noise and many steps: the bias costs λ², less noise gains λ, so some decay is always better than none. With
      a constant lr the best λ then no longer depends on the number of steps. With one that falls to 0 the noise left
      falls with the number of steps, and the best λ with it, more slowly than 1/steps.

    Raises: ValueError, where a direction diverges without decay, at ``low`` or at ``high``; for a range upside down;
            for a ``decay`` that makes none.
    Source: the trade-off that arXiv:2011.11152 describes after Corollary 2; derived here, tested by simulation.

    >>> from weightdecay.theory import Ensemble
    >>> best = best_weight_decay(Ensemble([1.0, 1e-3], minimum=1.0, start=3.0), [0.5] * 100)
    >>> best.falls_from_zero, best.edge, f"{best.weight_decay:.3f}"
    (True, '', '0.028')
    """
    modelled(model)
    if not callable(decay):
        raise ValueError(
            f"decay={shown(decay)}: λ is what is looked for. Pass what makes a decay of it: Coupled, Vanilla, or a "
            "function of your own that returns one of them."
        )
    answers = lrs if isinstance(lrs, Responses) else Responses(lrs)
    answers.check(model.eigenvalues, decay(0.0))
    memory: dict[float, Excess] = {}

    def measured(weight_decay: float) -> float:
        if weight_decay not in memory:
            memory[weight_decay] = excess_loss(model, answers, decay(weight_decay), curvature)
        return memory[weight_decay].total

    nothing, everything = _range(model, answers, decay)
    least = nothing if low is None else _within(model, answers, decay, "low", low)
    most = everything if high is None else _within(model, answers, decay, "high", high)
    if least >= most:
        raise ValueError(
            f"the range of λ is from {least:.4g} to {most:.4g}: it must go upwards. The largest λ that would be tried "
            f"by itself is {everything:.4g}."
        )
    count = max(3, 1 + math.ceil(PER_DECADE * math.log10(most / least)))
    grid = torch.logspace(math.log10(least), math.log10(most), count, dtype=torch.float64).tolist()
    grid[0], grid[-1] = least, most
    values = [measured(one) for one in grid]
    at = min(range(count), key=values.__getitem__)
    better = _better(measured, nothing, everything)
    beside = _golden(measured, grid[max(at - 1, 0)], grid[min(at + 1, count - 1)])
    inside = [better] if least <= better <= most else []
    found, edge = min((grid[at], beside, *inside), key=measured), ""
    for name, end in (("low", least), ("high", most)):
        if math.isclose(found, end, rel_tol=PRECISION):
            found, edge = end, name
    if measured(found) >= measured(0.0) * (1 - CERTAIN):
        found, edge = 0.0, ("low" if better < least else "high") if better else ""
    return Best(found, memory[found], memory[0.0], edge, better > 0)


def _within(
    model: Quadratic | Ensemble, answers: Responses, decay: Callable[[float], Shrinkage], name: str, value: float
) -> float:
    """Return an end of the range that was asked for. Raises: ValueError, where it is unstable."""
    found = positive(name, value)
    try:
        answers.check(model.eigenvalues, decay(found))
    except ValueError as error:
        raise ValueError(f"{name}={value!r}: no training with this λ is stable: {error}") from None
    return found


def _range(model: Quadratic | Ensemble, answers: Responses, decay: Callable[[float], Shrinkage]) -> tuple[float, float]:
    """Return the range of λ to search by default: what changes next to nothing, and the largest that is stable."""
    lrs = answers.taken
    if not lrs.any():
        raise ValueError(
            "no step that is asked about has an lr above 0: nothing is trained, and no λ is better than another."
        )
    total, peak, top = lrs.sum().item(), lrs.max().item(), model.eigenvalues.max().item()
    if isinstance(decay(0.0), Coupled):
        least, most = 1e-3 / total, min(2 / peak - top, 100 * max(top, 1 / total))
    else:
        least, most = 1e-3 / lrs.numel(), min(1 - 1e-6, 2 - peak * top)
    if not (theirs := decay(least).weight_decay):
        raise ValueError(f"decay({least:.3g}) has strength 0: what makes a decay of λ must give it one.")
    own = least / theirs  # λ in the meaning that decay gives it, for 1 of theirs
    if not own * most * (1 - 1e-9) > own * least:
        raise ValueError(f"lr·H = {peak * top:.6g} is too near to 2: no decay is left that would be stable.")
    return own * least, own * most * (1 - 1e-9)


def _better(measured: Callable[[float], float], nothing: float, everything: float) -> float:
    """Return the first λ, from a thousandth of next to nothing by tens, that changes the loss; 0 if that raises it."""
    without, weight_decay = measured(0.0), 1e-3 * nothing
    while weight_decay < everything:
        change = measured(weight_decay) - without
        if abs(change) > CERTAIN * without:
            return weight_decay if change < 0 else 0.0
        weight_decay *= 10
    return 0.0


def _golden(function: Callable[[float], float], low: float, high: float) -> float:
    """Return where the function is least between two numbers above 0, in their logarithm."""

    def at(logarithm: float) -> float:
        return min(max(math.exp(logarithm), low), high)  # rounding shall not leave the range

    a, d = math.log(low), math.log(high)
    b, c = d - GOLDEN * (d - a), a + GOLDEN * (d - a)
    while d - a > PRECISION:
        if function(at(b)) < function(at(c)):
            c, d = b, c
            b = d - GOLDEN * (d - a)
        else:
            a, b = b, c
            c = a + GOLDEN * (d - a)
    return min(map(at, (a, b, c, d)), key=function)
