"""The best λ for a training length: predicted from the spectrum, and found by training with many λ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import weightdecay
from weightdecay import theory

NOISE, TEST_CURVATURE = 0.3, 0.01
RESAMPLES = 1000
BEYOND = (10, 30)
"""Further lengths that are only predicted, as multiples of the longest that is simulated."""

GRID = torch.logspace(-4.4, 0.4, 25, dtype=torch.float64)
"""λ of the simulations: five a decade, the same for all lengths whatever is predicted."""


@dataclass(frozen=True)
class Question:
    """Which loss is asked about, and with which noise."""

    name: str
    noise: float
    extra_curvature: float  # of the loss that is asked about, beside the Hessian's

    def curvature(self, spectrum: Tensor) -> Tensor:
        """Return what the loss that is asked about bends by."""
        return spectrum + self.extra_curvature


QUESTIONS = (
    Question("training loss, no noise", 0.0, 0.0),
    Question("test loss, no noise", 0.0, TEST_CURVATURE),
    Question("training loss, gradient noise", NOISE, 0.0),
)


@dataclass(frozen=True)
class Slope:
    """Of log λ* against log steps."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Answer:
    """The best λ by length, for one question."""

    question: Question
    lengths: tuple[int, ...]  # simulated
    predicted: tuple[theory.Best, ...]  # of these
    beyond: dict[int, theory.Best]  # of longer ones
    curves: Tensor  # (lengths, λ): predicted loss on the grid
    losses: Tensor  # (lengths, λ, draws): simulated
    best: tuple[float, ...]  # simulated
    interval: tuple[tuple[float, float], ...]  # 95 %, over draws
    slope: Slope  # simulated; 95 %, over draws
    predicted_slope: Slope  # of the same lengths; from the flattest to the steepest stretch between two of them
    beyond_slope: float  # from the longest simulated to the longest predicted

    @property
    def farthest(self) -> float:
        """How many standard errors over draws the simulated loss that is farthest from the predicted one is away."""
        error = self.losses.std(-1) / math.sqrt(self.losses.shape[-1])
        return ((self.losses.mean(-1) - self.curves).abs() / error).max().item()

    @property
    def at_edge(self) -> bool:
        """Whether a best λ, simulated or predicted, lies at an end of what was searched, where it is not one."""
        outside = any(not 1.01 * GRID[0] < best < GRID[-1] / 1.01 for best in self.best)
        return outside or any(best.edge for best in (*self.predicted, *self.beyond.values()))


def spectrum(directions: int) -> Tensor:
    """Return the spectrum that is asked about: like a network's."""
    return theory.outliers_and_bulk(directions, outliers=10, largest=10.0, edge=0.1, smallest=1e-6)


def answers(directions: int, draws: int, lengths: tuple[int, ...], lr: float, seed: int) -> list[Answer]:
    """Predict and simulate: cosine, start and minimum drawn with deviation 1 in every direction."""
    h = spectrum(directions)
    weights: dict[tuple[float, int], Tensor] = {}
    found = []
    for question in QUESTIONS:
        model = theory.Ensemble(h, minimum=1.0, start=1.0, noise=question.noise)
        curvature = question.curvature(h)
        for steps in lengths:
            if (question.noise, steps) not in weights:  # two questions ask about the same runs
                weights[question.noise, steps] = _trained(h, question.noise, draws, theory.cosine(steps, lr), seed)
        losses = torch.stack([0.5 * (weights[question.noise, steps].square() * curvature).sum(-1) for steps in lengths])
        found.append(_answer(question, model, curvature, lengths, lr, losses, seed))
    return found


def _trained(h: Tensor, noise: float, draws: int, lrs: Tensor, seed: int) -> Tensor:
    """Return θ − θ* of every λ and draw, (λ, draws, n), trained by SGDW with a group for each λ.

    Starts, minima and noise are the same for all λ, and starts and minima for all lengths.
    """
    generator = torch.Generator().manual_seed(seed)
    minimum, start = torch.randn(2, draws, h.numel(), dtype=torch.float64, generator=generator)
    weights = start.repeat(GRID.numel(), 1, 1)
    gradients = torch.empty_like(weights)
    groups = [
        {"params": [torch.nn.Parameter(weight)], "weight_decay": strength}
        for weight, strength in zip(weights.unbind(0), GRID.tolist(), strict=True)
    ]
    optimizer = weightdecay.SGDW(groups, lr=lrs[0].item())
    for group, gradient in zip(optimizer.param_groups, gradients.unbind(0), strict=True):
        group["params"][0].grad = gradient
    for lr in lrs.tolist():
        torch.sub(weights, minimum, out=gradients).mul_(h)
        if noise:
            gradients += noise * torch.randn(draws, h.numel(), dtype=torch.float64, generator=generator)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
    apart: Tensor = torch.stack([group["params"][0].detach() for group in optimizer.param_groups]) - minimum
    return apart


def _answer(
    question: Question,
    model: theory.Ensemble,
    curvature: Tensor,
    lengths: tuple[int, ...],
    lr: float,
    losses: Tensor,
    seed: int,
) -> Answer:
    predicted, curves = [], []
    for steps in lengths:
        responses = theory.Responses(theory.cosine(steps, lr))
        predicted.append(theory.best_weight_decay(model, responses, curvature=curvature))
        curves.append(
            [
                theory.excess_loss(model, responses, theory.Coupled(strength), curvature).total
                for strength in GRID.tolist()
            ]
        )
    beyond = {
        factor * lengths[-1]: theory.best_weight_decay(
            model, theory.cosine(factor * lengths[-1], lr), curvature=curvature
        )
        for factor in BEYOND
    }
    draws = losses.shape[-1]
    generator = torch.Generator().manual_seed(seed)
    picked = torch.randint(draws, (RESAMPLES, draws), generator=generator)
    resampled = lowest(losses[:, :, picked].mean(-1).transpose(1, 2))  # (lengths, resamples)
    ends = torch.quantile(resampled, torch.tensor([0.025, 0.975], dtype=torch.float64), dim=1)
    slopes = slope_of(lengths, resampled.T)
    low, high = torch.quantile(slopes, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    best = lowest(losses.mean(-1))
    theirs = torch.tensor([one.weight_decay for one in predicted], dtype=torch.float64)
    local = [slope_of(lengths[i : i + 2], theirs[i : i + 2]).item() for i in range(len(lengths) - 1)]
    longest = list(beyond)[-1]
    far = torch.tensor([predicted[-1].weight_decay, beyond[longest].weight_decay], dtype=torch.float64)
    return Answer(
        question,
        lengths,
        tuple(predicted),
        beyond,
        torch.tensor(curves, dtype=torch.float64),
        losses,
        tuple(best.tolist()),
        tuple((a, b) for a, b in ends.T.tolist()),
        Slope(slope_of(lengths, best).item(), low, high),
        Slope(slope_of(lengths, theirs).item(), min(local), max(local)),
        slope_of((lengths[-1], longest), far).item(),
    )


def lowest(losses: Tensor) -> Tensor:
    """Return the λ of the lowest loss, (…,) from (…, λ): the tip of the parabola through it and its neighbours.

    In log λ and log loss, on the grid, whose values are even there. At an end of the grid: that end.
    """
    logs = losses.log()
    at = logs.argmin(-1, keepdim=True)
    inside = at.clamp(1, GRID.numel() - 2)
    left, middle, right = (logs.gather(-1, inside + shift) for shift in (-1, 0, 1))
    bend = left - 2 * middle + right
    shift = torch.where((at == inside) & (bend > 0), 0.5 * (left - right) / bend, (at - inside).double())
    step = math.log(GRID[1].item() / GRID[0].item())
    found: Tensor = (math.log(GRID[0].item()) + step * (inside + shift)).exp()
    return found.squeeze(-1)


def slope_of(lengths: Sequence[int], values: Tensor) -> Tensor:
    """Return the least-squares slope of log value against log length, over the last dimension."""
    x = torch.tensor(lengths, dtype=torch.float64).log()
    x = x - x.mean()
    found: Tensor = (values.log() * x).sum(-1) / x.square().sum()
    return found
