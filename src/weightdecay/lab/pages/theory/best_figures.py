"""Figures of the best λ: the valley at each training length, what it is made of, and how its floor moves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from matplotlib.figure import Figure

from weightdecay import theory
from weightdecay.lab.pages.axes import decades
from weightdecay.lab.pages.theory.best import GRID, Answer, spectrum
from weightdecay.lab.report.figures import COLOURS, INK, look, styled


def valleys(answers: Sequence[Answer]) -> Figure:
    """Draw expected loss over that of λ = 0 against λ: lines are predicted, points simulated, rings mark the best."""
    with styled():
        drawn = Figure(figsize=(7.0, 4.3), layout="constrained")
        for axes, answer in zip(drawn.subplots(1, len(answers), sharex=True), answers, strict=True):
            for i, (steps, best) in enumerate(zip(answer.lengths, answer.predicted, strict=True)):
                style, zero = look(i), best.without.total
                losses = answer.losses[i] / zero
                axes.plot(GRID, answer.curves[i] / zero, color=style["color"], label=f"{steps:,} steps")
                axes.errorbar(
                    GRID, losses.mean(-1), yerr=losses.std(-1) / math.sqrt(losses.shape[-1]), fmt=style["marker"],
                    markersize=3, color=style["color"], elinewidth=0.9,
                )  # fmt: skip
                axes.plot(
                    best.weight_decay, best.excess.total / zero, "o", markersize=11, markerfacecolor="none",
                    markeredgecolor=style["color"], markeredgewidth=1.6,
                )  # fmt: skip
            axes.set_xscale("log")
            decades(axes.xaxis, most=4)
            axes.set_ylim(0, 1.6)
            axes.axhline(1.0, color=INK, linewidth=0.8, linestyle=(0, (2, 3)), zorder=0)
            first, _, rest = answer.question.name.partition(", ")
            axes.text(0.03, 0.98, f"{first},\n{rest}", transform=axes.transAxes, va="top", fontsize=9.5)
            axes.set_xlabel("weight decay λ")
        drawn.axes[0].set_ylabel("expected loss, as a part of that at λ = 0")
        for axes in drawn.axes[1:]:
            axes.tick_params(labelleft=False)
        handles, labels = drawn.axes[0].get_legend_handles_labels()
        drawn.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        return drawn


def parts(answer: Answer, directions: int, lr: float) -> Figure:
    """Draw the three parts of the expected loss of the longest training against λ."""
    h = spectrum(directions)
    model = theory.Ensemble(h, minimum=1.0, start=1.0, noise=answer.question.noise)
    steps = answer.lengths[-1]
    responses, best = theory.Responses(theory.cosine(steps, lr)), answer.predicted[-1]
    fine = torch.logspace(math.log10(GRID[0]), math.log10(GRID[-1]), 97, dtype=torch.float64)
    found = [
        theory.excess_loss(model, responses, theory.Coupled(strength), answer.question.curvature(h))
        for strength in fine.tolist()
    ]
    with styled():
        drawn = Figure(figsize=(7.0, 4.0), layout="constrained")
        axes = drawn.subplots()
        for i, (label, values) in enumerate(
            {
                "bias: where it would end": [one.bias for one in found],
                "unconverged: what the mean has still to go": [one.unconverged for one in found],
                "variance: gradient noise": [one.variance for one in found],
            }.items()
        ):
            axes.plot(fine, values, color=COLOURS[i], label=label)
        axes.plot(fine, [one.total for one in found], color=INK, linewidth=2.4, label="sum")
        axes.plot(best.weight_decay, best.excess.total, "o", markersize=12, markerfacecolor="none", markeredgecolor=INK)
        axes.set_xscale("log")
        decades(axes.xaxis)
        top = 2.0 * best.without.total
        axes.set_ylim(max(-top, 1.1 * min(0.0, *(one.unconverged for one in found))), top)
        axes.set_xlabel("weight decay λ")
        axes.set_ylabel(f"expected loss after {steps:,} steps")
        drawn.legend(loc="outside lower center", ncols=2)
        return drawn


def floors(answers: Sequence[Answer]) -> Figure:
    """Draw the best λ against the number of steps, predicted as lines and simulated as points, beside 1/steps."""
    with styled():
        drawn = Figure(figsize=(7.0, 4.6), layout="constrained")
        axes = drawn.subplots()
        for i, answer in enumerate(answers):
            style = look(i)
            steps = [*answer.lengths, *answer.beyond]
            bests = [one.weight_decay for one in (*answer.predicted, *answer.beyond.values())]
            axes.plot(steps, bests, color=style["color"], label=f"{answer.question.name}: predicted")
            low, high = (
                [abs(best - end[side]) for best, end in zip(answer.best, answer.interval, strict=True)]
                for side in (0, 1)
            )
            axes.errorbar(
                answer.lengths, answer.best, yerr=(low, high), fmt=style["marker"], color=style["color"], capsize=3,
                label="simulated, 95 %",
            )  # fmt: skip
        ends = (answers[0].lengths[0], max(answers[0].beyond))
        first = 1.6 * max(answer.predicted[0].weight_decay for answer in answers)
        axes.plot(
            ends, [first, first * ends[0] / ends[1]], color="#8c8c8c", linewidth=1.0, linestyle=(0, (4, 3)),
            label="λ ∝ 1/steps",
        )  # fmt: skip
        axes.set_xscale("log")
        axes.set_yscale("log")
        decades(axes.xaxis)
        decades(axes.yaxis)
        axes.set_xlabel("steps of training")
        axes.set_ylabel("best weight decay λ")
        drawn.legend(loc="outside lower center", ncols=2)
        return drawn
