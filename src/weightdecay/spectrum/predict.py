"""Predictions from a measured spectrum: bias, time, the directions that decay determines, and the λ to try first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from weightdecay.spectrum.base import Curvature
from weightdecay.spectrum.density import Density, Share, density
from weightdecay.spectrum.eigenvalues import Top, top_eigenvalues
from weightdecay.spectrum.lanczos import Measure, measure
from weightdecay.spectrum.trace import Trace, trace
from weightdecay.theory.numbers import non_negative

PER_DECADE = 24
"""Values of λ a decade among which the best one is looked for."""

Question = Literal["training", "distance", "examples"]

QUESTIONS: dict[Question, str] = {
    "training": "training loss",
    "distance": "distance to the minimum, all directions alike",
    "examples": "training loss and what finitely many examples cost",
}
"""The quantities that a best λ may minimise; see :func:`expected_loss`."""


@dataclass(frozen=True)
class Direction:
    """An eigenvector. Where h + λ is not above 0 the weights leave along it, and there is no end and no time."""

    eigenvalue: float
    bias: float | None
    """λ/(h + λ): how far from θ* decay keeps the weights, as a part of θ* (Corollary 1)."""
    time: float | None
    """1/(h + λ): Ση·gain until the distance to where they end has fallen to 1/e (Corollary 2)."""


@dataclass(frozen=True)
class Spectrum:
    """The measured spectrum of a network at its weights. λ has the meaning of L2, as in H + λI."""

    top: Top
    trace: Trace
    density: Density
    start: Measure  # where the initial weights lie
    end: Measure  # where the weights lie
    examples: int  # in the training set

    def share(self, weight_decay: float) -> Share:
        r"""Return the share of directions with :math:`|h| < \lambda`: there decay is the stronger part of H + λ."""
        return self.density.share_within(weight_decay)

    def directions(self, weight_decay: float) -> list[Direction]:
        """Return what decay does along the eigenvectors of the largest eigenvalues."""
        found = []
        for h in self.top.values.tolist():
            total = h + weight_decay
            found.append(Direction(h, weight_decay / total, 1 / total) if total > 0 else Direction(h, None, None))
        return found


def spectrum_of(
    matrix: Curvature, start: Tensor, examples: int, *, top: int = 20, probes: int = 4, steps: int = 80, seed: int = 0
) -> Spectrum:
    """Measure all that a prediction takes, at the weights that the network has now. Deterministic in ``seed``.

    ``start`` (n,): the initial weights, in the order of the matrix's parameters. ``examples``: in the training set.
    Costs about 4·top products for the largest eigenvalues, 48 for the trace, and (probes + 2)·steps for the density and
    for where initial and present weights lie. At most n − 1 eigenvalues are looked for.

    Raises: ValueError, for a ``start`` of another shape and for examples below 1; as ``top_eigenvalues``, ``trace`` and
    ``density``.
    """
    start = torch.as_tensor(start)
    if start.shape != (matrix.size,):
        raise ValueError(
            f"start has shape {tuple(start.shape)}: the matrix is of {matrix.size} numbers. Pass the initial weights "
            "as one vector, in the order of its parameters."
        )
    if not examples >= 1:
        raise ValueError(f"examples={examples!r}: a training set has one at least.")
    return Spectrum(
        top=top_eigenvalues(matrix, min(top, matrix.size - 1), seed=seed),
        trace=trace(matrix, seed=seed),
        density=density(matrix, probes=probes, steps=steps, seed=seed),
        start=measure(matrix, start, steps),
        end=measure(matrix, matrix.weights(), steps),
        examples=examples,
    )


def expected_loss(found: Spectrum, decays: Sequence[float], budget: float, question: Question = "training") -> Tensor:
    r"""Return what is expected to be left after a budget Ση·gain of training with each λ. Shape: (len(decays),).

    .. math::
        \tfrac12\sum_i w_i\big[(P_i\theta_{0,i})^2 + ((1-D_i)\,\theta^*_i)^2\big] + \frac{1}{2N}\sum_i D_i^2,
        \qquad P_i = e^{-(h_i+\lambda)\Sigma\eta g}, \quad D_i = \frac{h_i}{h_i+\lambda}(1-P_i)

    Theorem 2 in the limit of small steps, on the measured spectrum, with negative eigenvalues taken for flat, initial
    weights and minimum for independent, and the trained weights for the minimum. ``"training"``: w = h.
    ``"distance"``: w = 1, so that directions count in which the training loss is flat. ``"examples"``: w = h, and the
    last sum, which only this one has: a minimum found from N examples is off by 1/(N h_i) in a direction (the variance
    of maximum likelihood), as far as training goes there; Σ D² is the effective number of parameters.

    Raises: ValueError, for an unknown question, a budget that is not above 0, and a λ below 0.
    Source: arXiv:2011.11152, Theorem 2; the last sum derived here.
    """
    if question not in QUESTIONS:
        raise ValueError(f"question={question!r}: ask one of {', '.join(QUESTIONS)}.")
    if not 0 < budget < math.inf:
        raise ValueError(f"budget={budget!r}: Ση·gain of a training is a finite number above 0.")
    values = torch.zeros(len(decays), dtype=torch.float64)
    for place, each in enumerate(decays):
        lam = non_negative("weight_decay", each)
        for measured, part in ((found.start, _left), (found.end, _biased)):
            h = measured.nodes.clamp(min=0)
            weights = measured.weights if question == "distance" else measured.weights * h
            values[place] += 0.5 * (weights * part(h, lam, budget).square()).sum()
        if question == "examples":
            nodes, counts = found.density.spectrum()
            reached = _reached(nodes.clamp(min=0), lam, budget)
            values[place] += (counts * reached.square()).sum() / (2 * found.examples)
    return values


def _left(h: Tensor, lam: float, budget: float) -> Tensor:
    """P: what is left of the start."""
    return torch.exp(-(h + lam) * budget)


def _biased(h: Tensor, lam: float, budget: float) -> Tensor:
    """1 − D: how far from the minimum a start at 0 is still, as a part of it; no digits are lost as D nears 1."""
    return ((lam + h * _left(h, lam, budget)) / (h + lam)).nan_to_num(1.0)  # 0/0, where nothing moves anything


def _reached(h: Tensor, lam: float, budget: float) -> Tensor:
    """D: how far a start at 0 has come; no digits are lost as D nears 0."""
    return (-h / (h + lam) * torch.expm1(-(h + lam) * budget)).nan_to_num(0.0)


@dataclass(frozen=True)
class Predicted:
    """The best λ for a budget, as L2's; ``edge`` where it is the first or the last of those that were tried."""

    budget: float  # Σ η·gain
    question: Question
    weight_decay: float
    edge: bool


def predicted_best(
    found: Spectrum, budget: float, question: Question = "training", low: float = 1e-6, high: float = 1.0
) -> Predicted:
    """Return the λ between low and high that is expected to leave the least; 24 values a decade are tried.

    Measured beside sweeps it is a place to start from and no more: ``docs/spectrum.md``.

    Raises: ValueError, as :func:`expected_loss`, and for a range that does not go upwards from above 0.
    """
    if not 0 < low < high < math.inf:
        raise ValueError(f"low={low!r}, high={high!r}: the range of λ must go upwards from above 0.")
    count = 1 + max(1, round(PER_DECADE * math.log10(high / low)))
    decays = torch.logspace(math.log10(low), math.log10(high), count, dtype=torch.float64).tolist()
    at = int(expected_loss(found, decays, budget, question).argmin())
    return Predicted(budget, question, decays[at], at in (0, count - 1))
