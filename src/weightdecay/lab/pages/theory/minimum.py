"""The minimum that each step descends to, along a schedule: under vanilla decay it moves with the learning rate."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from torch import Tensor

from weightdecay import theory
from weightdecay.lab.pages.theory.best import spectrum
from weightdecay.lab.report.figures import COLOURS, styled

STEPS, WEIGHT_DECAY = 1000, 1e-3
DELTA = 1e-4
"""The δ that Theorem 1's hypothesis is asked with, as a part of the largest learning rate."""


@dataclass(frozen=True)
class Moving:
    """Along one schedule: norms as parts of ‖θ*‖, and what Theorem 1 asks."""

    schedule: str
    minimum: dict[str, Tensor]  # (T,): ‖θ*_t‖/‖θ*‖
    weights: dict[str, Tensor]  # (times,): ‖E θ_t‖/‖θ*‖, started at the minimum of the first step
    times: tuple[int, ...]
    span: dict[str, float]  # of the minimum, from first to last step, as a part of ‖θ*‖
    stable: dict[str, bool]
    hypothesis: theory.Hypothesis
    largest_gap: float  # |λ₀(1/η_{t+1} − 1/η_t)|


def moving(directions: int, lr: float) -> list[Moving]:
    """Return the same for a step schedule and a cosine that ends at a thousandth of its lr."""
    h = spectrum(directions)
    start = h / (h + WEIGHT_DECAY)
    model = theory.Quadratic(h, minimum=1.0, start=start)
    schedules = {"step": theory.drops(STEPS, lr), "cosine": theory.cosine(STEPS, lr, final=lr / 1000)}
    pull = lr * WEIGHT_DECAY
    laws: dict[str, theory.Shrinkage] = {"lr-coupled": theory.Coupled(WEIGHT_DECAY), "vanilla": theory.Vanilla(pull)}
    whole = torch.linalg.vector_norm(model.minimum)
    found = []
    for name, lrs in schedules.items():
        times = tuple(range(0, STEPS + 1, 10))
        moved = {law: theory.movement(model, lrs, decay) for law, decay in laws.items()}
        found.append(
            Moving(
                name,
                {law: _norms(h, one.strengths) / whole for law, one in moved.items()},
                {
                    law: torch.linalg.vector_norm(theory.expected(model, lrs, decay, times), dim=1) / whole
                    for law, decay in laws.items()
                },
                times,
                {law: one.span / whole.item() for law, one in moved.items()},
                {law: one.stable for law, one in moved.items()},
                theory.hypothesis(lrs, DELTA * lr),
                theory.gradient_gap(lrs, pull).abs().max().item(),
            )
        )
    return found


def _norms(h: Tensor, strengths: Tensor) -> Tensor:
    """Return ‖H(H+ℓ)⁻¹θ*‖ for θ* = 1 of every strength."""
    different, place = torch.unique(strengths, return_inverse=True)
    norms = torch.stack([torch.linalg.vector_norm(h / (h + strength)) for strength in different])
    return norms[place]


def figure(found: list[Moving]) -> Figure:
    """Draw the norm of the minimum as a line, and that of the expected weights that follow it, dashed."""
    with styled():
        drawn = Figure(figsize=(7.0, 3.9), layout="constrained")
        for axes, one in zip(drawn.subplots(1, len(found), sharey=True), found, strict=True):
            for colour, law in zip(COLOURS, one.minimum, strict=False):
                axes.plot(one.minimum[law], color=colour, label=f"{law}: the minimum")
                axes.plot(
                    one.times, one.weights[law], color=colour, linestyle=(0, (1, 1.2)), linewidth=2.2,
                    label=f"{law}: expected weights",
                )  # fmt: skip
            axes.text(0.03, 0.05, f"{one.schedule} schedule", transform=axes.transAxes)
            axes.set_xlabel("step")
            axes.set_ylim(0, 1.15 * max(norms.max().item() for norms in one.minimum.values()))
        drawn.axes[0].set_ylabel("norm, as a part of ‖θ*‖")
        handles, labels = drawn.axes[0].get_legend_handles_labels()
        drawn.legend(handles, labels, loc="outside lower center", ncols=2)
        return drawn
