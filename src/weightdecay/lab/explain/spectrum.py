"""A spectrum measured on a run, and what the theory of a quadratic makes of it: bias, time, share, the best λ."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from weightdecay.lab import schedule
from weightdecay.lab.explain.spectrum_run import Trained
from weightdecay.lab.run import Run
from weightdecay.spectrum import (
    GGN,
    Curvature,
    Density,
    Hessian,
    Measure,
    Share,
    Top,
    Trace,
    density,
    measure,
    top_eigenvalues,
    trace,
)
from weightdecay.theory import Coupled, Ensemble, Responses, excess_loss
from weightdecay.transfer.setting import OPTIMIZERS

KINDS: dict[str, type[Curvature]] = {"hessian": Hessian, "ggn": GGN}

PER_DECADE = 24
"""Values of λ a decade among which the best one is looked for."""

Question = Literal["training", "distance", "examples"]

QUESTIONS: dict[Question, str] = {
    "training": "training loss",
    "distance": "distance to the minimum, all directions alike",
    "examples": "training loss and what finitely many examples cost",
}
"""What a best λ is best for; see :func:`expected`."""


@dataclass(frozen=True)
class Measured:
    """What was measured at the weights of a run. λ is in the meaning of L2, as in H + λI."""

    kind: str
    top: Top
    trace: Trace
    density: Density
    start: Measure  # where the initial weights lie
    end: Measure  # where the trained weights lie
    weight_decay: float  # of the run, as L2's λ
    per_l2: float  # λ in the run's own meaning, for 1 of L2's
    total_lr: float  # Σ η·gain over the training
    last_lr: float  # η·gain at its last epoch
    examples: int  # in the training set
    products: int

    @property
    def share(self) -> Share:
        """The share of directions with |H_i| < λ: there decay is the stronger part of H + λ."""
        return self.density.share_within(self.weight_decay)

    def per_direction(self) -> list[tuple[float, float, float]]:
        """Return, for the largest eigenvalues h, the bias λ/(h+λ) as a part of θ*, and the time 1/(h+λ) in Σηg."""
        values = self.top.values.clamp(min=0)
        lam = self.weight_decay
        times = 1 / (values + lam)
        bias = lam / (values + lam) if lam else torch.zeros_like(values)
        return list(zip(self.top.values.tolist(), bias.tolist(), times.tolist(), strict=True))


def measured(
    of: Trained,
    kind: str = "hessian",
    top: int = 20,
    probes: int = 4,
    steps: int = 80,
    seed: int = 0,
    on_product: Callable[[int], None] | None = None,
) -> Measured:
    """Measure a run's network on its data. Deterministic in ``seed``.

    Costs about 4·top products for the largest eigenvalues, 48 for the trace and (probes + 2)·steps for the density and
    for where initial and trained weights lie.
    """
    matrix = KINDS[kind](of.model, nn.CrossEntropyLoss(), of.data, on_product=on_product)
    lam, per_l2 = as_l2(of)
    return Measured(
        kind=kind,
        top=top_eigenvalues(matrix, min(top, matrix.size - 1), seed=seed),
        trace=trace(matrix, seed=seed),
        density=density(matrix, probes=probes, steps=steps, seed=seed),
        start=measure(matrix, of.start, steps),
        end=measure(matrix, matrix.weights(), steps),
        weight_decay=lam,
        per_l2=per_l2,
        total_lr=total_lr(of),
        last_lr=of.epochs[-1].lr * _gain(of.epochs[-1].lr, of.epochs[-1].effective_lr),
        examples=of.examples,
        products=matrix.products,
    )


def as_l2(of: Trained) -> tuple[float, float]:
    """Return the run's λ as L2's, and the factor back: a decoupled λ is divided by the last epoch's measured gain."""
    last = of.epochs[-1]
    gain = _gain(last.lr, last.effective_lr)
    factor = gain if OPTIMIZERS[of.run.optimizer].decay == "decoupled" else 1.0
    return of.run.weight_decay / factor, factor


def total_lr(of: Trained) -> float:
    """Return Σ η·gain over the epochs that were trained, with the gain that each epoch's last step had."""
    run, total = of.run, 0.0
    for number, epoch in enumerate(of.epochs):
        lrs = sum(schedule.lr_at(run, number * of.steps + step, of.steps) for step in range(of.steps))
        total += lrs * _gain(epoch.lr, epoch.effective_lr)
    return total


def _gain(lr: float, effective_lr: float | None) -> float:
    return effective_lr / lr if effective_lr and lr else 1.0


# ---------------------------------------------------------------------------------- what the theory says


class Along(Ensemble):
    """Directions of which only energies are known: where initial and trained weights lie among eigenvalues.

    Initial weights and minimum are taken for independent, and the trained weights for the minimum.
    """

    def __init__(self, start: Measure, minimum: Measure) -> None:
        none = torch.zeros_like
        super().__init__(
            torch.cat([start.nodes, minimum.nodes]).clamp(min=0),
            minimum=torch.cat([none(start.weights), minimum.weights.sqrt()]),
            start=torch.cat([start.weights.sqrt(), none(minimum.weights)]),
        )


def expected(found: Measured, decays: Sequence[float], budget: float, question: Question) -> Tensor:
    r"""Return what is expected to be left after a budget Σηg of training with each λ. Shape: (len(decays),).

    .. math::
        \tfrac12\sum_i w_i\big[(P_i\theta_{0,i})^2 + ((1-D_i)\,\theta^*_i)^2\big] + \frac{1}{2N}\sum_i D_i^2,
        \qquad P_i = e^{-(h_i+\lambda)\Sigma\eta g}, \quad D_i = \frac{h_i}{h_i+\lambda}(1-P_i)

    Theorem 2 in small steps, on the measured spectrum, with negative eigenvalues taken for flat. ``"training"``: w = h.
    ``"distance"``: w = 1, so that directions count in which the training loss is flat. ``"examples"``: w = h, and the
    last sum, which only this one has: a minimum found from N examples is off by 1/(N h_i) in a direction (the variance
    of maximum likelihood), as far as training goes there; Σ D² is the effective number of parameters.
    """
    model = Along(found.start, found.end)
    # Small equal steps: without noise only their sum matters, and each must be stable.
    highest = max(model.eigenvalues.max().item(), found.top.values[0].item()) + max(decays)
    pieces = max(100, int(budget * highest) + 1)
    answers = Responses(torch.full((pieces,), budget / pieces, dtype=torch.float64))
    weights = torch.ones_like(model.eigenvalues) if question == "distance" else None
    values = [excess_loss(model, answers, Coupled(each), weights).total for each in decays]
    result = torch.tensor(values, dtype=torch.float64)
    if question == "examples":
        nodes, counts = found.density.spectrum()
        nodes = nodes.clamp(min=0)
        for place, each in enumerate(decays):
            _, reached, _ = (row[-1] for row in answers.mean(nodes, Coupled(each)))
            result[place] += (counts * reached.square()).sum() / (2 * found.examples)
    return result


@dataclass(frozen=True)
class Predicted:
    """The best λ for a budget, as L2's; ``edge`` where it is the first or the last of those that were tried."""

    budget: float  # Σ η·gain
    question: Question
    weight_decay: float
    edge: bool


def best(found: Measured, budget: float, question: Question, low: float = 1e-6, high: float = 1.0) -> Predicted:
    """Return the λ between low and high that is expected to leave the least; 24 values a decade are tried."""
    count = 1 + round(PER_DECADE * math.log10(high / low))
    decays = torch.logspace(math.log10(low), math.log10(high), count, dtype=torch.float64).tolist()
    at = int(expected(found, decays, budget, question).argmin())
    return Predicted(budget, question, decays[at], at in (0, count - 1))


def budget_of(run: Run, steps: int, gain: float = 1.0) -> float:
    """Return Σ η·gain of a whole training of ``steps`` steps an epoch."""
    return gain * sum(schedule.lr_at(run, step, steps) for step in range(run.epochs * steps))


__all__ = ["KINDS", "QUESTIONS", "Along", "Measured", "Predicted", "Question", "as_l2", "best", "budget_of", "expected"]
