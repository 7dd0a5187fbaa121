"""The sections of the page of ``weightdecay theory``: what is drawn, what is assumed, and what to see."""

from __future__ import annotations

import math
from collections.abc import Sequence

from weightdecay.document import Section, Table
from weightdecay.lab.pages.theory import best as theory_best
from weightdecay.lab.pages.theory import best_figures as theory_best_figures
from weightdecay.lab.pages.theory import drift as theory_drift
from weightdecay.lab.pages.theory import equilibrium as theory_equilibrium
from weightdecay.lab.pages.theory import minimum as theory_minimum
from weightdecay.lab.pages.theory import paths as theory_paths
from weightdecay.lab.pages.theory.best import Answer, Slope
from weightdecay.lab.pages.theory.drift import Drift
from weightdecay.lab.pages.theory.equilibrium import Balance
from weightdecay.lab.pages.theory.minimum import Moving
from weightdecay.lab.pages.theory.paths import Paths
from weightdecay.lab.pages.theory.settings import TheorySettings
from weightdecay.lab.report.figures import draw


def paths_section(found: Paths, asked: TheorySettings) -> Section:
    """Theorem 2 beside simulated runs."""
    caption = (
        f"Weights of a quadratic that start at {theory_paths.START:g}, with their minimum θ* at 1. The lines are "
        "E[θ_t] of Theorem 2, and the shaded areas the predicted standard deviation of one run. The points are the "
        f"mean of {theory_paths.RUNS} runs of the library’s SGD, with bars of 5 standard errors. The lr is a cosine "
        f"from {found.lr:g}, λ = {theory_paths.WEIGHT_DECAY:g} (vanilla: λ₀ = ηλ at the first step), and the gradient "
        f"noise is {theory_paths.NOISE:g}."
    )
    text = (
        "A steep direction arrives in a few steps, whatever λ is. A flat one takes about 1/(ηλ) steps, which only λ "
        "determines (Corollary 2), and has not arrived here. Both tend to θ* less λθ*/(H + λ) (Corollary 1); in a flat "
        "direction almost nothing of θ* is left. Vanilla decay is not multiplied by the learning rate. Its pull "
        "continues while the lr of the cosine goes to 0, and takes the steep weight away from its minimum.",
    )
    return Section(
        "Expected and simulated paths", text, (draw(theory_paths.figure(found), asked.out, "paths", caption),)
    )


def best_section(answers: Sequence[Answer], asked: TheorySettings) -> Section:
    """The best λ, predicted and simulated."""
    noisy = answers[-1]
    valleys = draw(
        theory_best_figures.valleys(answers), asked.out, "valleys",
        "Expected loss after training above that of the minimum, as a fraction of its value without decay. The lines "
        f"are predicted. The points are the mean over {asked.draws} quadratics trained by the library’s SGDW, with "
        "bars of one standard error. The rings mark the predicted best λ. All λ of a length use the same quadratics, "
        "so the errors of their points are correlated; the point farthest from its line is "
        f"{max(answer.farthest for answer in answers):.1f} standard errors away.",
    )  # fmt: skip
    parts = draw(
        theory_best_figures.parts(noisy, asked.directions, asked.lr), asked.out, "parts",
        f"The parts of the loss, for {noisy.question.name} after {noisy.lengths[-1]:,} steps. Decay forgets the "
        "start faster and damps noise, at the cost of bias. The ring marks the best λ.",
    )  # fmt: skip
    floors = draw(
        theory_best_figures.floors(answers), asked.out, "best-decay",
        "The best λ against the length of training. The points are simulated, with 95 % intervals over the quadratics. "
        "The dashed line falls as 1/steps.",
    )  # fmt: skip
    table = Table(
        ("Loss", "Steps", "Predicted best λ", "Simulated best λ", "95 %", "Loss at best λ / at λ = 0, predicted"),
        [
            (answer.question.name, steps, best.weight_decay, there, f"{low:.3g}\xa0to\xa0{high:.3g}",
             best.excess.total / best.without.total)
            for answer in answers
            for steps, best, there, (low, high) in zip(
                answer.lengths, answer.predicted, answer.best, answer.interval, strict=True
            )
        ],
    )  # fmt: skip
    slopes = Table(
        ("Slope of log λ* against log steps", "Simulated", "95 %", "Predicted, same lengths", "Predicted, its parts",
         "Predicted, longer"),
        [
            (answer.question.name, answer.slope.value, between(answer.slope),
             answer.predicted_slope.value,
             between(answer.predicted_slope), answer.beyond_slope)
            for answer in answers
        ],
        caption=f"“Longer” is from {noisy.lengths[-1]:,} to {list(noisy.beyond)[-1]:,} steps. The paper says −1.",
    )  # fmt: skip
    text = (
        "The assumptions: start and minimum of every direction are drawn independently with mean 0 and deviation 1, "
        f"the lr is a cosine from {asked.lr:g}, and the best λ is that for the mean over these draws. “Training loss” "
        f"weighs each direction by its eigenvalue. “Test loss” adds {theory_best.TEST_CURVATURE:g} to each eigenvalue; "
        "it has the same minimum, but is also curved in directions in which the training loss is flat. Gradient noise "
        f"has the standard deviation {theory_best.NOISE:g} in every direction.",
        "The reason for −1: a spectrum that is even in its logarithm looks the same after stretching. With c times the "
        "steps, and eigenvalues and λ divided by c, the problem is the same. So λ* falls exactly as 1/steps as long as "
        "the bulk reaches far beyond both 1/Ση and λ*, and nothing else sets a scale. The outliers and the edge of the "
        "bulk set one for short trainings, and the curvature that is added for the test loss sets one too. Gradient "
        "noise sets one for long trainings. Its part of the loss, ησ²/(2H) per direction at a constant lr, falls only "
        "because the small last steps of the cosine average it out. It falls more slowly than the part from the start, "
        "and so does the λ that balances it against bias.",
    )
    return Section("The best λ for each length of training", text, (valleys, parts, floors, slopes, table))


def minimum_section(found: Sequence[Moving], asked: TheorySettings) -> Section:
    """What moves along a schedule."""
    caption = (
        "Norm of the minimum of the loss that each step descends (lines), and of the expected weights that start there "
        f"and follow it (dots). λ = {theory_minimum.WEIGHT_DECAY:g}; for vanilla decay λ₀ = ηλ at the first step, so "
        "that both begin with the same decay. The cosine ends at a thousandth of its lr."
    )
    table = Table(
        ("Schedule", "Vanilla: minimum moves by", "lr-coupled", "Theorem 1’s hypothesis: share of steps", "to the end",
         "at most", "Largest gap λ₀|1/η′ − 1/η|"),
        [
            (one.schedule, one.span["vanilla"], one.span["lr-coupled"], one.hypothesis.share,
             "no" if one.hypothesis.from_step is None else f"from step {one.hypothesis.from_step}",
             one.hypothesis.at_most, one.largest_gap)
            for one in found
        ],
        caption=f"Moves are fractions of ‖θ*‖. The hypothesis is |η − η′| ≥ δ for all steps after some step, with δ = "
                f"{theory_minimum.DELTA:g} of the lr; “at most” is the number of steps at which a falling lr can "
                "satisfy it.",
    )  # fmt: skip
    text = (
        "Under Eq. 1 (vanilla) step t descends L + λ₀/(2η_t)‖θ‖², so its minimum goes towards 0 as the lr falls. "
        "Under Eq. 2 (lr-coupled) the loss is L + λ/2‖θ‖² at every step (Definitions 1 and 2). The expected weights "
        "follow the minimum only in directions that have enough time; a flat one needs 1/λ₀ steps.",
        "Theorem 1 says that under Eq. 1 nothing converges to a non-zero point if the lr changes by at least δ at "
        "every step after some t₀. No schedule here satisfies this to the end, and an lr that only falls cannot "
        "satisfy it for ever. The theorem motivates lr-coupled decay, but does not cover the schedules in practice.",
    )
    return Section(
        "The moving minimum", text, (draw(theory_minimum.figure(list(found)), asked.out, "minimum", caption), table)
    )


def drift_section(found: Sequence[Drift], asked: TheorySettings) -> Section:
    """Eq. 9 on a real run."""
    adamw, adams = found
    caption = (
        "The upper picture shows the strength ℓ of the L2 loss to whose minimum the optimizer tends, over its value in "
        "the last epoch: the root mean square over elements, shaded from the 10th to the 90th percentile. The lower "
        "one shows the distance of that minimum from its place in the last epoch (Eq. 9), as a fraction of the norm of "
        "the trained weights; the dotted line has v̄ in the place of every element’s v, as the paper argues."
    )
    table = Table(
        ("", "λ", "Parameters", "tr(H)/n at the end", "ℓ, first epoch", "ℓ, last epoch", "Minimum moves, by element",
         "by v̄", "Test error, %"),
        [
            (one.title, one.weight_decay, one.parameters, one.curvature, one.strength[0], one.strength[-1],
             max(one.shift), max(one.shift_of_mean), one.test_error)
            for one in found
        ],
    )  # fmt: skip
    text = (
        f"The lab trains smallcnn of width 8 on the handwritten digits, for {asked.epochs} epochs with lr "
        f"{adamw.lr:g} on a cosine. After each epoch v̂ of every element is read. AdamW’s ℓ is λ√v̂ of the element, and "
        "that of AdamS is λ√(v̂/v̄); element-wise stable decay would have λ, and no drift. Eq. 9 needs a Hessian. One "
        f"number for all directions takes its place: tr(H)/n of the trained network, by {theory_drift.PROBES} random "
        f"probes on {theory_drift.SCANS} scans. The trained weights take the place of θ*. So the strengths are "
        "measured, and the distances are estimates of the order of magnitude.",
        f"A common factor of all v moves AdamW’s minimum and not that of AdamS, whose strength stays at λ on average "
        f"({adams.change:.1f} ×, against {adamw.change:.1f} ×). But the ratios between elements change too, and this "
        f"moves both minima: by {100 * max(adams.shift):.0f} % for AdamS here, and by {100 * max(adamw.shift):.0f} % "
        "for AdamW.",
    )
    return Section(
        "AdamW’s drift on a real run",
        text,
        (draw(theory_drift.figure(list(found)), asked.out, "drift", caption), table),
    )


def equilibrium_section(found: Sequence[Balance], asked: TheorySettings) -> Section:
    """Norms and angles beside the closed forms."""
    caption = (
        f"Norm of {theory_equilibrium.TENSORS} tensors of {theory_equilibrium.SIZE:,} weights over that of the closed "
        f"form. They start at {theory_equilibrium.START:g} times this norm; the random gradients are at right angles "
        f"to the weights and have the norm {theory_equilibrium.GRAD_NORM:g}/‖w‖."
    )
    table = Table(
        ("Optimizer", "Norm, predicted", "simulated", "standard error", "Degrees per step, predicted", "simulated",
         "standard error"),
        [
            (one.name, one.predicted.norm, *one.norm, math.degrees(one.predicted.angle), *map(math.degrees, one.angle))
            for one in found
        ],
        caption=f"Measured over the last {theory_equilibrium.MEASURED} of {theory_equilibrium.STEPS:,} steps. The "
                "closed forms assume that v̂ is the mean square of the gradient and that tensors are large. Adam’s "
                "β₂ = 0.99 here shifts the numbers by some tenths of a percent.",
    )  # fmt: skip
    text = (
        "A normalisation layer cancels any factor of the weights before it, so the loss gives these weights no best "
        "norm. Their gradients, at right angles to them, make them longer, and decay makes them shorter. They settle "
        "where both balance. From then on λ and the lr set the angle by which the weights turn per step.",
    )
    return Section(
        "Norms before a normalisation layer",
        text,
        (draw(theory_equilibrium.figure(list(found)), asked.out, "equilibrium", caption), table),
    )


def between(slope: Slope) -> str:
    """Return both ends of an interval, on one line."""
    return f"{number(slope.low)}\xa0to\xa0{number(slope.high)}"


def number(value: float) -> str:
    """Return a slope as text.

    >>> number(-1.0)
    '−1.00'
    """
    return f"{value:.2f}".replace("-", "−")
