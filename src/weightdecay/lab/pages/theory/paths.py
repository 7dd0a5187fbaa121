"""Theorem 2 beside the optimizers: the mean of many runs along a steep and a flat direction."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from torch import Tensor

import weightdecay
from weightdecay import theory
from weightdecay.lab.report.figures import COLOURS, INK, styled

DIRECTIONS = {"steep, H = 1": 1.0, "flat, H = 0.001": 1e-3}
STEPS, WEIGHT_DECAY, NOISE, START, RUNS = 1000, 0.05, 0.3, 3.0, 400
POINTS = 21


@dataclass(frozen=True)
class Paths:
    """Means and deviations, predicted and simulated. Shapes: (times, directions) under each decay."""

    lr: float
    times: tuple[int, ...]
    predicted: dict[str, tuple[Tensor, Tensor]]  # mean, standard deviation of one run
    simulated: dict[str, tuple[Tensor, Tensor]]  # mean over runs, its standard error

    @property
    def scores(self) -> Tensor:
        """How many standard errors each simulated mean is from the prediction, start aside."""
        apart = [
            (self.simulated[name][0] - self.predicted[name][0])[1:] / self.simulated[name][1][1:]
            for name in self.predicted
        ]
        return torch.stack(apart)

    @property
    def rows(self) -> list[tuple[str | int | float, ...]]:
        """Decay, direction, step, predicted mean and deviation, simulated mean and standard error."""
        return [
            (name, direction, step, *(x[at, i].item() for x in (*self.predicted[name], *self.simulated[name])))
            for name in self.predicted
            for i, direction in enumerate(DIRECTIONS)
            for at, step in enumerate(self.times)
        ]


def paths(lr: float, seed: int) -> Paths:
    """Predict, and walk with the library's SGD: a cosine, λ coupled with the learning rate and λ₀ = ηλ without it."""
    model = theory.Quadratic(list(DIRECTIONS.values()), minimum=1.0, start=START, noise=NOISE)
    lrs = theory.cosine(STEPS, lr)
    times = tuple(round(STEPS * i / (POINTS - 1)) for i in range(POINTS))
    laws: dict[str, theory.Shrinkage] = {
        "lr-coupled": theory.Coupled(WEIGHT_DECAY),
        "vanilla": theory.Vanilla(lr * WEIGHT_DECAY),
    }
    decays: dict[str, weightdecay.Decay] = {"lr-coupled": weightdecay.Decoupled(), "vanilla": weightdecay.Vanilla()}
    predicted, simulated = {}, {}
    for name, law in laws.items():
        spread = theory.variance(model, lrs, law, times).sqrt()
        predicted[name] = theory.expected(model, lrs, law, times), spread
        simulated[name] = _walked(model, lrs, times, decays[name], law.weight_decay, seed)
    return Paths(lr, times, predicted, simulated)


def _walked(
    model: theory.Quadratic, lrs: Tensor, times: tuple[int, ...], decay: weightdecay.Decay, strength: float, seed: int
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.nn.Parameter(model.start.repeat(RUNS, 1))
    optimizer = weightdecay.SGD([weight], lr=lrs[0].item(), weight_decay=strength, decay=decay)
    means, errors = [], []
    for step in range(lrs.numel() + 1):
        if step in times:
            means.append(weight.detach().mean(0))
            errors.append(weight.detach().std(0) / math.sqrt(RUNS))
        if step < lrs.numel():
            xi = torch.randn(weight.shape, dtype=torch.float64, generator=generator)
            weight.grad = (weight.detach() - model.minimum) * model.eigenvalues + model.noise * xi
            optimizer.param_groups[0]["lr"] = lrs[step].item()
            optimizer.step()
    return torch.stack(means), torch.stack(errors)


def figure(found: Paths) -> Figure:
    """Draw the predicted mean as a line, one run's deviation around it shaded, and the runs as points."""
    with styled():
        drawn = Figure(figsize=(7.0, 3.9), layout="constrained")
        for i, (axes, direction) in enumerate(zip(drawn.subplots(1, 2, sharex=True), DIRECTIONS, strict=True)):
            for colour, name in zip(COLOURS, found.predicted, strict=False):
                mean, spread = (x[:, i] for x in found.predicted[name])
                axes.plot(found.times, mean, color=colour, label=f"{name}: Theorem 2")
                axes.fill_between(found.times, mean - spread, mean + spread, color=colour, alpha=0.14, linewidth=0)
                mean, error = (x[:, i] for x in found.simulated[name])
                axes.errorbar(
                    found.times, mean, yerr=5 * error, fmt="o", markersize=3.5, color=colour, capsize=2, elinewidth=1,
                    label=f"{name}: {RUNS} runs",
                )  # fmt: skip
            axes.axhline(1.0, color=INK, linewidth=0.8, linestyle=(0, (2, 3)), zorder=0)
            axes.text(0.98, 1.0, "θ*", transform=axes.get_yaxis_transform(), ha="right", va="bottom", fontsize=9)
            axes.text(0.98, 0.97, direction, transform=axes.transAxes, ha="right", va="top")
            axes.set_xlabel("step")
            axes.set_ylim(bottom=min(-0.1, axes.get_ylim()[0]))
        drawn.axes[0].set_ylabel("weight θ")
        handles, labels = drawn.axes[0].get_legend_handles_labels()
        drawn.legend(handles, labels, loc="outside lower center", ncols=2)
        return drawn
