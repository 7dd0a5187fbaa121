"""Eq. 9 on a real run: how far the minimum of AdamW drifts as its second moments do, and that of AdamS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor
from torch.nn.functional import cross_entropy

from weightdecay import theory
from weightdecay.lab.pages.axes import decades
from weightdecay.lab.report.figures import COLOURS, styled
from weightdecay.lab.run import Epoch, Place, Run, options
from weightdecay.lab.run.interrupt import Stop
from weightdecay.lab.run.randomness import of_our_own
from weightdecay.lab.training.task import Named
from weightdecay.lab.training.train import Training

OPTIMIZERS = {"AdamW": ("adamw", 1.0), "AdamS": ("adams", 0.02)}
"""Title → name and λ: such that both pull about as hard at the end."""

PROBES, SCANS = 24, 256
SHARES = (0.1, 0.9)


@dataclass(frozen=True)
class Drift:
    """One run. Strengths are the ℓ of the loss L + Σ ℓ_i θ_i²/2 whose minimum the optimizer is drawn to."""

    title: str
    weight_decay: float
    lr: float
    mean_square: tuple[float, ...]  # v̄ after each epoch
    strength: tuple[float, ...]  # root mean square of ℓ over elements
    low: tuple[float, ...]  # 10th percentile over elements
    high: tuple[float, ...]
    shift: tuple[float, ...]  # Eq. 9: distance of the minimum from that of the last epoch, as a part of ‖θ*‖
    shift_of_mean: tuple[float, ...]  # the same with v̄ in the place of every element's v
    curvature: float  # tr(H)/n at the end
    parameters: int
    test_error: float

    @property
    def change(self) -> float:
        """The largest strength over the smallest."""
        return max(self.strength) / min(self.strength)


def drifts(epochs: int, seed: int, told: Callable[[str], None]) -> list[Drift]:
    """Train smallcnn of width 8 on the digits with the lab's own loop, and look at v̂ after every epoch."""
    return [_drift(title, name, strength, epochs, seed, told) for title, (name, strength) in OPTIMIZERS.items()]


def _drift(title: str, name: str, weight_decay: float, epochs: int, seed: int, told: Callable[[str], None]) -> Drift:
    run = Run(
        name, lr=1e-3, weight_decay=weight_decay, seed=seed, epochs=epochs, schedule="cosine", network="smallcnn",
        network_options=options(width=8),
    )  # fmt: skip
    moments: list[Tensor] = []
    pulls: list[float] = []  # over lr, as the optimizer took it: λ under AdamW, λ·gain under AdamS
    errors: list[float] = []

    def look(epoch: Epoch) -> None:
        moments.append(_second_moments(training))
        gain = (epoch.effective_lr or 0.0) / epoch.lr
        pulls.append(weight_decay if name == "adamw" else weight_decay * gain)
        errors.append(epoch.test or 0.0)

    with of_our_own(torch.device("cpu")):
        training = Training(run, Place(), Named(), None, Stop(), look)
        training.result()
    curvature = mean_curvature(training, seed)
    told(f"  {title}: test error {errors[-1]:.1f} %, v̄ from {moments[0].mean():.2g} to {moments[-1].mean():.2g}")
    weights = torch.cat([p.detach().double().flatten() for p in training.model.parameters()])
    model = theory.Quadratic(torch.full_like(weights, curvature), minimum=weights)
    seen = torch.stack(moments).amin(0) > 0  # a ReLU may never have let a gradient through
    formula = theory.decoupled_bias if name == "adamw" else theory.stable_bias
    strengths = [pull * v.sqrt() for pull, v in zip(pulls, moments, strict=True)]
    ends = [formula(model, weight_decay, torch.where(seen, v, v[seen].min())) for v in moments]
    ends_of_mean = [formula(model, weight_decay, v.mean().item()) for v in moments]
    low, high = (tuple(torch.quantile(one, share).item() for one in strengths) for share in SHARES)
    return Drift(
        title,
        weight_decay,
        run.lr,
        tuple(v.mean().item() for v in moments),
        tuple(one.square().mean().sqrt().item() for one in strengths),
        low,
        high,
        _shifts(ends, weights),
        _shifts(ends_of_mean, weights),
        curvature,
        weights.numel(),
        errors[-1],
    )


def _shifts(ends: list[Tensor], weights: Tensor) -> tuple[float, ...]:
    whole = torch.linalg.vector_norm(weights)
    return tuple((torch.linalg.vector_norm(end - ends[-1]) / whole).item() for end in ends)


def _second_moments(training: Training) -> Tensor:
    """Return v̂ of every element of the model, in float64."""
    optimizer = training.progress.optimizer
    found = []
    for group in optimizer.param_groups:
        for p in group["params"]:
            state = optimizer.state[p]
            correction = 1 - group["betas"][1] ** float(state["step"])
            found.append(state["exp_avg_sq"].double().flatten() / correction)
    return torch.cat(found)


def mean_curvature(training: Training, seed: int) -> float:
    """Return tr(H)/n of the training loss on the first scans, by Hutchinson's estimate: the mean of zᵀHz/n, z = ±1.

    Source: Hutchinson, Communications in Statistics 18(3), 1989. Raises: ValueError, where it is not above 0.
    """
    batches = training.data.train(1)
    pairs = [(batch.inputs, batch.targets) for batch, _ in zip(batches, range(-(-SCANS // 64)), strict=False)]
    inputs, targets = torch.cat([x for x, _ in pairs])[:SCANS], torch.cat([y for _, y in pairs])[:SCANS]
    parameters = list(training.model.parameters())
    training.model.eval()
    gradients = torch.autograd.grad(cross_entropy(training.model(inputs), targets), parameters, create_graph=True)
    generator = torch.Generator().manual_seed(seed)
    total, count = 0.0, sum(p.numel() for p in parameters)
    for _ in range(PROBES):
        probe = [2.0 * torch.randint(2, p.shape, generator=generator).to(p) - 1 for p in parameters]
        product = torch.autograd.grad(gradients, parameters, probe, retain_graph=True)
        total += sum((a.double() * z.double()).sum().item() for a, z in zip(product, probe, strict=True))
    mean = total / (PROBES * count)
    if mean <= 0:
        raise ValueError(f"tr(H)/n = {mean:.3g} is not above 0: train longer, to a minimum.")
    return mean


def figure(found: list[Drift]) -> Figure:
    """Draw the strength over that of the last epoch, and how far the minimum is from where it ends."""
    with styled():
        drawn = Figure(figsize=(7.0, 5.6), layout="constrained")
        strengths, shifts = drawn.subplots(2, 1, sharex=True)
        for colour, one in zip(COLOURS, found, strict=False):
            epochs, last = range(1, len(one.strength) + 1), one.strength[-1]
            strengths.plot(epochs, [x / last for x in one.strength], color=colour, label=one.title)
            strengths.fill_between(
                epochs, [x / last for x in one.low], [x / last for x in one.high], color=colour, alpha=0.14, linewidth=0
            )
            shifts.plot(epochs, one.shift, color=colour, label=f"{one.title}: each element's v")
            shifts.plot(
                epochs, one.shift_of_mean, color=colour, linestyle=(0, (1, 1.2)), linewidth=2.2,
                label=f"{one.title}: v̄ in its place",
            )  # fmt: skip
        strengths.set_yscale("log")
        decades(strengths.yaxis, between=True)
        strengths.set_ylabel("strength ℓ, over\nthat of the last epoch")
        shifts.set_ylabel("distance of the minimum from\nits last place, part of ‖θ*‖")
        shifts.set_ylim(bottom=-0.02 * shifts.get_ylim()[1])  # a line at 0 shall be seen
        shifts.set_xlabel("epoch")
        shifts.xaxis.set_major_locator(MaxNLocator(integer=True))
        handles, labels = shifts.get_legend_handles_labels()
        drawn.legend(handles, labels, loc="outside lower center", ncols=2)
        return drawn
