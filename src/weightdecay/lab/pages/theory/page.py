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
        f"Weights of a quadratic that start at {theory_paths.START:g}, with their minimum θ* at 1. Lines: E[θ_t] of "
        "Theorem 2; shaded: the predicted standard deviation of one run. Points: the mean of "
        f"{theory_paths.RUNS} runs of the library’s SGD, bars 5 standard errors. Cosine from lr {found.lr:g}, λ = "
        f"{theory_paths.WEIGHT_DECAY:g} (vanilla: λ₀ = ηλ at the first step), gradient noise {theory_paths.NOISE:g}."
    )
    text = (
        "A steep direction arrives in a few steps, whatever λ; a flat one takes about 1/(ηλ) steps, which λ alone "
        "decides (Corollary 2), and is still on its way here. Both are drawn to θ* less λθ*/(H + λ) (Corollary 1): in "
        "a flat direction next to nothing of θ* is left. Under vanilla decay, which no learning rate multiplies, the "
        "pull goes on while the lr of the cosine goes to 0, and takes the steep weight away from its minimum.",
    )
    return Section(
        "Expected and simulated paths", text, (draw(theory_paths.figure(found), asked.out, "paths", caption),)
    )


def best_section(answers: Sequence[Answer], asked: TheorySettings) -> Section:
    """The best λ, predicted and simulated."""
    noisy = answers[-1]
    valleys = draw(
        theory_best_figures.valleys(answers), asked.out, "valleys",
        "Expected loss above the minimum’s after training, as a part of what no decay leaves. Lines: predicted. "
        f"Points: the mean over {asked.draws} quadratics trained by the library’s SGDW, bars one standard error. "
        "Rings: the predicted best λ. All λ of a length see the same quadratics, so that their points err together; "
        f"the one farthest from its line is {max(answer.farthest for answer in answers):.1f} standard errors away.",
    )  # fmt: skip
    parts = draw(
        theory_best_figures.parts(noisy, asked.directions, asked.lr), asked.out, "parts",
        f"What the loss is made of, for {noisy.question.name} after {noisy.lengths[-1]:,} steps. Decay forgets the "
        "start faster and damps noise, and pays with bias. The ring is the best λ.",
    )  # fmt: skip
    floors = draw(
        theory_best_figures.floors(answers), asked.out, "best-decay",
        "The best λ against the length of training. Points: simulated, bars 95 % over the quadratics drawn. The dashed "
        "line falls as 1/steps.",
    )  # fmt: skip
    table = Table(
        ("Question", "Steps", "Predicted best λ", "Simulated best λ", "95 %", "Loss there / at λ = 0, predicted"),
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
        ("Slope of log λ* against log steps", "Simulated", "95 %", "Predicted, same lengths", "Its stretches",
         "Predicted, longer"),
        [
            (answer.question.name, answer.slope.value, between(answer.slope),
             answer.predicted_slope.value,
             between(answer.predicted_slope), answer.beyond_slope)
            for answer in answers
        ],
        caption=f"Longer: from {noisy.lengths[-1]:,} to {list(noisy.beyond)[-1]:,} steps. The paper says −1.",
    )  # fmt: skip
    text = (
        "What is assumed: start and minimum of every direction are drawn independently with mean 0 and deviation 1, "
        f"the lr is a cosine from {asked.lr:g}, and a best λ is one for the mean over these draws. “Training loss” "
        f"weighs each direction by its eigenvalue; “test loss” adds {theory_best.TEST_CURVATURE:g} to each, a loss "
        "with the same minimum that also bends where the training loss is flat. Gradient noise has the standard "
        f"deviation {theory_best.NOISE:g} in every direction.",
        "Why −1: a spectrum that is even in its logarithm looks the same after stretching. With c times the steps, "
        "eigenvalues and λ a c-th as large give the same problem, so λ* falls exactly as 1/steps while the bulk "
        "reaches far beyond both 1/Ση and λ*, and while nothing else sets a scale. The outliers and the edge of the "
        "bulk do at short trainings, the curvature added for the test loss does, and gradient noise does at long ones: "
        "its part, ησ²/(2H) a direction at a constant lr, goes away only as the cosine’s small last steps average it "
        "out, more slowly than what is left of the start, and so does the λ that balances it against bias.",
    )
    return Section("The best λ for a training length", text, (valleys, parts, floors, slopes, table))


def minimum_section(found: Sequence[Moving], asked: TheorySettings) -> Section:
    """What moves along a schedule."""
    caption = (
        "Norm of the minimum of the loss that each step descends (lines), and of the expected weights that follow it, "
        f"started there (dots). λ = {theory_minimum.WEIGHT_DECAY:g}; vanilla: λ₀ = ηλ at the first step, so that both "
        "begin alike. The cosine ends at a thousandth of its lr."
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
        caption=f"Moves: as parts of ‖θ*‖. Hypothesis: |η − η′| ≥ δ for all steps after some, with δ = "
                f"{theory_minimum.DELTA:g} of the lr; “at most” is how often a falling lr can satisfy it at all.",
    )  # fmt: skip
    text = (
        "Under Eq. 1 (vanilla) step t descends L + λ₀/(2η_t)‖θ‖², so that its minimum goes towards 0 as the lr falls; "
        "under Eq. 2 (lr-coupled) the loss is L + λ/2‖θ‖² at every step (Definitions 1 and 2). The expected weights "
        "follow only in directions that have time to: a flat one needs 1/λ₀ steps.",
        "Theorem 1 says that under Eq. 1 nothing converges to a non-zero point if the lr changes by at least δ at "
        "every step after some t₀. No schedule here satisfies that to the end, and a lr that only falls cannot for "
        "ever: it motivates lr-coupled decay rather than covers practice.",
    )
    return Section(
        "The moving minimum", text, (draw(theory_minimum.figure(list(found)), asked.out, "minimum", caption), table)
    )


def drift_section(found: Sequence[Drift], asked: TheorySettings) -> Section:
    """Eq. 9 on a real run."""
    adamw, adams = found
    caption = (
        "Above: the strength ℓ of the L2 loss whose minimum the optimizer is drawn to, over its value in the last "
        "epoch: root mean square over elements, shaded from the 10th to the 90th percentile. Below: how far that "
        "minimum is from where it is in the last epoch (Eq. 9), as a part of the norm of the trained weights; dotted: "
        "with v̄ in the place of every element’s v, as the paper argues."
    )
    table = Table(
        ("", "λ", "Parameters", "tr(H)/n at the end", "ℓ, first epoch", "ℓ, last", "Minimum moves: by element", "by v̄",
         "Test error, %"),
        [
            (one.title, one.weight_decay, one.parameters, one.curvature, one.strength[0], one.strength[-1],
             max(one.shift), max(one.shift_of_mean), one.test_error)
            for one in found
        ],
    )  # fmt: skip
    text = (
        f"smallcnn of width 8 on the handwritten digits, {asked.epochs} epochs, lr {adamw.lr:g} on a cosine, trained "
        "by the lab’s own loop. After each epoch v̂ of every element is read. AdamW’s ℓ is λ√v̂ of the element, that "
        "of AdamS λ√(v̂/v̄); element-wise stable decay would have λ, and no drift. Eq. 9 needs a Hessian: one number "
        f"for all directions is used, tr(H)/n of the trained network by {theory_drift.PROBES} random probes on "
        f"{theory_drift.SCANS} scans, and the trained weights as θ*. So the strengths are measured, and the distances "
        "are an estimate of their order.",
        f"A common factor of all v moves AdamW’s minimum and not that of AdamS, whose strength stays at λ in the mean "
        f"({adams.change:.1f} ×, against {adamw.change:.1f} ×). But elements also change places among each other, and "
        f"that moves both: by {100 * max(adams.shift):.0f} % for AdamS here, beside {100 * max(adamw.shift):.0f} % for "
        "AdamW.",
    )
    return Section(
        "AdamW’s drift on a real run",
        text,
        (draw(theory_drift.figure(list(found)), asked.out, "drift", caption), table),
    )


def equilibrium_section(found: Sequence[Balance], asked: TheorySettings) -> Section:
    """Norms and angles beside the closed forms."""
    caption = (
        f"Norm of {theory_equilibrium.TENSORS} tensors of {theory_equilibrium.SIZE:,} weights over the closed form’s, "
        f"started at {theory_equilibrium.START:g} times it; random gradients at right angles to the weights, of norm "
        f"{theory_equilibrium.GRAD_NORM:g}/‖w‖."
    )
    table = Table(
        ("Optimizer", "Norm, predicted", "simulated", "standard error", "Degrees a step, predicted", "simulated",
         "standard error"),
        [
            (one.name, one.predicted.norm, *one.norm, math.degrees(one.predicted.angle), *map(math.degrees, one.angle))
            for one in found
        ],
        caption=f"Over the last {theory_equilibrium.MEASURED} of {theory_equilibrium.STEPS:,} steps. The forms take v̂ "
                "for the mean square of the gradient and tensors for large: a shift of some tenths of a percent is "
                "expected of Adam’s β₂ = 0.99 here, and was not tuned away.",
    )  # fmt: skip
    text = (
        "A layer before a normalisation does not change its output when its weights are multiplied, so a loss gives it "
        "no best norm. Gradients, at right angles to the weights, make them longer, and decay makes them shorter: they "
        "settle where both balance. From then on λ sets, with the lr, how far the weights turn a step.",
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
