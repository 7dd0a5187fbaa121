"""Weights before a normalisation layer: the norms and angles that optimizers settle at, beside the closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from torch import Tensor

import weightdecay
from weightdecay.lab.report.figures import INK, look, styled
from weightdecay.theory import equilibrium

TENSORS, SIZE, GRAD_NORM = 12, 1000, 3.0
STEPS, MEASURED = 1200, 400
START = 2.0
"""Norm at the start, as a multiple of the predicted one."""

Build = Callable[[torch.nn.Parameter], weightdecay.Optimizer]

CASES: dict[str, tuple[Build, equilibrium.Equilibrium]] = {
    "SGD, L2, momentum 0.9": (
        lambda w: weightdecay.SGD([w], lr=0.05, momentum=0.9, weight_decay=0.02),
        equilibrium.sgd(0.05, 0.02, GRAD_NORM, momentum=0.9),
    ),
    "SGDW, momentum 0.9": (
        lambda w: weightdecay.SGDW([w], lr=0.05, momentum=0.9, weight_decay=0.2),
        equilibrium.sgdw(0.05, 0.2, GRAD_NORM, momentum=0.9),
    ),
    "AdamW": (
        lambda w: weightdecay.AdamW([w], lr=0.02, weight_decay=0.5, betas=(0.9, 0.99)),
        equilibrium.adamw(0.02, 0.5, SIZE),
    ),
    "AdamS": (
        lambda w: weightdecay.AdamS([w], lr=0.02, weight_decay=0.005, betas=(0.9, 0.99)),
        equilibrium.adams(0.02, 0.005, SIZE, GRAD_NORM),
    ),
}


@dataclass(frozen=True)
class Balance:
    """One optimizer. Means and standard errors are over tensors, of the last steps."""

    name: str
    predicted: equilibrium.Equilibrium
    norms: Tensor  # (steps,): root mean square over tensors
    norm: tuple[float, float]
    angle: tuple[float, float]


def balances(seed: int) -> list[Balance]:
    """Walk with random gradients at right angles to the weights, of norm G/‖w‖, from twice the predicted norm."""
    return [_walked(name, build, predicted, seed) for name, (build, predicted) in CASES.items()]


def _walked(name: str, build: Build, predicted: equilibrium.Equilibrium, seed: int) -> Balance:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(TENSORS, SIZE, dtype=torch.float64, generator=generator)
    weight = torch.nn.Parameter(weight * (START * predicted.norm / weight.norm(dim=1, keepdim=True)))
    optimizer = build(weight)
    squares, angles = [], torch.zeros(TENSORS, dtype=torch.float64)
    for step in range(STEPS):
        w = weight.detach().clone()
        square = w.square().sum(1, keepdim=True)
        g = torch.randn(w.shape, dtype=torch.float64, generator=generator)
        g -= (g * w).sum(1, keepdim=True) / square * w
        weight.grad = g * (GRAD_NORM / (g.norm(dim=1, keepdim=True) * square.sqrt()))
        optimizer.step()
        now = weight.detach()
        squares.append(now.square().sum(1))
        if step >= STEPS - MEASURED:
            cosine = (now * w).sum(1) / (squares[-1] * square.squeeze(1)).sqrt()
            angles += cosine.clamp(max=1).arccos() / MEASURED
    norms = torch.stack(squares)
    last = norms[-MEASURED:].mean(0).sqrt()
    return Balance(name, predicted, norms.mean(1).sqrt(), _mean_and_error(last), _mean_and_error(angles))


def _mean_and_error(values: Tensor) -> tuple[float, float]:
    return values.mean().item(), values.std().item() / math.sqrt(values.numel())


def figure(found: list[Balance]) -> Figure:
    """Draw the norm over the predicted one against the step."""
    with styled():
        drawn = Figure(figsize=(7.0, 3.6), layout="constrained")
        axes = drawn.subplots()
        for i, one in enumerate(found):
            axes.plot(one.norms / one.predicted.norm, color=look(i)["color"], label=one.name)
        axes.axhline(1.0, color=INK, linewidth=0.9, linestyle=(0, (2, 3)))
        axes.set_xlabel("step")
        axes.set_ylabel("norm, over the predicted one")
        axes.set_ylim(0, 1.05 * START)
        drawn.legend(loc="outside lower center", ncols=2)
        return drawn
