"""``weightdecay theory``: the theory beside simulation, on one page, with every number."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch

import weightdecay
from weightdecay.document import Document, write
from weightdecay.lab.pages.theory import best as theory_best
from weightdecay.lab.pages.theory import drift as theory_drift
from weightdecay.lab.pages.theory import equilibrium as theory_equilibrium
from weightdecay.lab.pages.theory import minimum as theory_minimum
from weightdecay.lab.pages.theory import paths as theory_paths
from weightdecay.lab.pages.theory.best import Answer
from weightdecay.lab.pages.theory.drift import Drift
from weightdecay.lab.pages.theory.minimum import Moving
from weightdecay.lab.pages.theory.numbers import downloads
from weightdecay.lab.pages.theory.page import (
    best_section,
    drift_section,
    equilibrium_section,
    minimum_section,
    number,
    paths_section,
)
from weightdecay.lab.pages.theory.paths import Paths
from weightdecay.lab.pages.theory.settings import TheorySettings

Told = Callable[[str], None]


def explain(asked: TheorySettings, told: Told) -> Path:
    """Compute, draw and write everything; return the page. ``told`` gets a line where something begins or ends."""
    begun = time.perf_counter()
    asked.out.mkdir(parents=True, exist_ok=True)
    told(f"1/5  expected paths, and {theory_paths.RUNS} runs of {theory_paths.STEPS:,} steps under two decays")
    paths = theory_paths.paths(asked.lr, asked.seed)
    told(
        f"2/5  best λ for {_list(f'{steps:,}' for steps in asked.lengths)} steps: {theory_best.GRID.numel()} λ on "
        f"{asked.draws} quadratics of {asked.directions:,} directions, without and with noise"
    )
    answers = theory_best.answers(asked.directions, asked.draws, asked.lengths, asked.lr, asked.seed)
    for answer in answers:
        told("  " + _slopes(answer))
    told("3/5  the minimum along a step and a cosine schedule")
    moving = theory_minimum.moving(asked.directions, asked.lr)
    told(f"4/5  second moments of a real run: smallcnn on the digits, {asked.epochs} epochs under AdamW and AdamS")
    drifts = theory_drift.drifts(asked.epochs, asked.seed, told)
    told("5/5  norms and angles of scale-invariant weights under four optimizers")
    balances = theory_equilibrium.balances(asked.seed)
    document = Document(
        title="weightdecay theory",
        answer=answer_of(paths, answers, moving, drifts),
        sections=(
            paths_section(paths, asked),
            best_section(answers, asked),
            minimum_section(moving, asked),
            drift_section(drifts, asked),
            equilibrium_section(balances, asked),
        ),
        notes=notes(paths, answers),
        facts=(
            ("Spectrum", f"{asked.directions:,} eigenvalues: ten from 1 to 10, the others even in their logarithm from "
                         "1e-6 to 0.1"),
            ("Seed", str(asked.seed)),
            ("Seconds", f"{time.perf_counter() - begun:.0f}, on {torch.get_num_threads()} CPU "
                        f"thread{'s' if torch.get_num_threads() > 1 else ''}"),
            ("Versions", f"weightdecay {weightdecay.__version__}, torch {torch.__version__}"),
        ),
        command=asked.command,
        downloads=downloads(paths, answers, moving, drifts, balances),
    )  # fmt: skip
    return write(document, asked.out, "theory")


def answer_of(paths: Paths, answers: Sequence[Answer], moving: Sequence[Moving], drifts: Sequence[Drift]) -> str:
    """Return what came out, in one paragraph, every number computed."""
    spans = [f"{100 * one.span['vanilla']:.0f} % ({one.schedule})" for one in moving]
    noisy = answers[-1]
    adamw, adams = drifts
    return (
        f"The mean of {theory_paths.RUNS} simulated runs stays within {paths.scores.abs().max():.1f} standard errors "
        f"of Theorem 2 at all {paths.scores.numel()} points. In the simulation the best λ on a network-like quadratic "
        f"falls with the number of steps to the power {_list(_slope(answer) for answer in answers)}; the paper says "
        f"−1. With gradient noise it later falls more slowly: from {noisy.lengths[-1]:,} to "
        f"{list(noisy.beyond)[-1]:,} steps the predicted power is {number(noisy.beyond_slope)}. Along a schedule "
        f"vanilla decay moves the minimum by {_list(spans)} of ‖θ*‖, and lr-coupled decay does not move it. On a real "
        f"run the strength of AdamW's decay changes by a factor of {adamw.change:.1f} and that of AdamS by "
        f"{adams.change:.1f} on average over the elements, which moves the minimum by "
        f"{100 * max(adamw.shift_of_mean):.0f} % and {100 * max(adams.shift_of_mean):.0f} % of ‖θ*‖. Element by "
        f"element both minima move, by {100 * max(adamw.shift):.0f} % and {100 * max(adams.shift):.0f} %."
    )


def notes(paths: Paths, answers: Sequence[Answer]) -> list[str]:
    """Return what makes a number above less than it seems."""
    found = []
    if paths.scores.abs().max() > 5:
        found.append(
            "Warning: a simulated mean deviates from Theorem 2 by more than 5 standard errors. Please report this."
        )
    found += [
        f"{answer.question.name}: a best λ lies at an end of the searched range (simulated: {theory_best.GRID[0]:.2g} "
        f"to {theory_best.GRID[-1]:.2g}), so the slope has no meaning. Choose other --steps or another --lr."
        for answer in answers
        if answer.at_edge
    ]
    found += [
        f"{answer.question.name}: for {steps:,} steps λ = 0 is predicted to be the best, so there is no slope."
        for answer in answers
        for steps, best in (*zip(answer.lengths, answer.predicted, strict=True), *answer.beyond.items())
        if best.weight_decay == 0
    ]
    return found


def _slopes(answer: Answer) -> str:
    return (
        f"{answer.question.name}: slope of log λ* against log steps {_slope(answer, named=False)} simulated, "
        f"{number(answer.predicted_slope.value)} predicted"
    )


def _slope(answer: Answer, named: bool = True) -> str:
    interval = f"[{number(answer.slope.low)}, {number(answer.slope.high)}]"
    return f"{number(answer.slope.value)} {interval}" + (f" ({answer.question.name})" if named else "")


def _list(names: Iterable[str]) -> str:
    *head, last = names
    return f"{', '.join(head)} and {last}" if head else last
