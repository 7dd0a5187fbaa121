"""Reproductions with results by formula: every kind of figure, at any scale, with any names."""

from __future__ import annotations

import math
from dataclasses import replace

from weightdecay.lab.paper.claims import fixed, lowest
from weightdecay.lab.paper.experiment import Claim, Experiment, panel_of
from weightdecay.lab.paper.judge import judge
from weightdecay.lab.paper.measure import MEASURES
from weightdecay.lab.paper.numbers import Number
from weightdecay.lab.paper.optima import optimum_at
from weightdecay.lab.paper.scale import SCALES, Setting
from weightdecay.lab.run import ERROR, Epoch, Result, Run
from weightdecay.lab.study.question import Point

NETWORK = Setting("a network", "some data", "a network of three layers on some data", {"data": "digits"}, 10, 1.0)
OPTIMIZERS = ("adam", "adamw", "adams")
WEIGHT_DECAYS = (0.0, 0.01, 0.03, 0.1, 0.3)
LRS = {"adam": 1e-3, "adamw": 1e-3, "adams": 1e-3}
PAPER = Number("table9", "some data", "a network", "Adam", "", 6.96, 0.02, "6.96 ± 0.02")


def result(run, error, metric=ERROR, validation=True, diverged=False, step=0.5):
    """The error falls to ``error`` at the eighth of ten epochs and ends half a point above."""
    epochs = []
    for epoch in range(1, run.epochs + 1):
        test = error + step * abs(run.epochs - 2 - epoch)
        epochs.append(
            Epoch(
                epoch=epoch,
                lr=run.lr * 0.1 ** sum(epoch > milestone * run.epochs for milestone in run.milestones),
                train_loss=2.0 * 0.6**epoch + 0.001 * error,
                test_loss=test / 20,
                test=math.inf if diverged else test,
                validation_loss=test / 20 if validation else None,
                validation=test + 0.2 if validation else None,
                effective_lr=run.lr / (0.1 * 0.9**epoch),
                grad_norm=3 * 0.9**epoch,
            )
        )
    if diverged:
        epochs = [replace(epoch, test=None, validation=None, train_loss=None) for epoch in epochs[:2]]
    return Result(
        run, "diverged" if diverged else "finished", tuple(epochs), 1.25, metric, "cpu", {"torch": "2.15.0"}, "0" * 64
    )  # fmt: skip


def error(point, seed):
    """Lowest at λ = 0.1, and at lr 1e-3; AdamS before AdamW before Adam, beyond the noise of the seeds."""
    off = (math.log10(point.weight_decay) + 1) ** 2 if point.weight_decay else 2.0
    off += math.log10(point.lr / 1e-3) ** 2
    return 4.0 + 3 * off + 0.7 * ("adams", "adamw", "adam").index(point.optimizer) + 0.01 * (seed * 7 % 3)


def reproduction(
    name="fig7", figures=("decay", "curves"), scale="small", optimizers=OPTIMIZERS, variant="", seeds=3, lrs=(1e-3,),
    weight_decays=WEIGHT_DECAYS, claim="AdamS is best at its best λ", setting=NETWORK, change=lambda result: result,
    panels=("",), error=error, **of_results,
):  # fmt: skip
    """Return a judged experiment of one or more panels."""
    if setting is NETWORK:
        setting = replace(NETWORK, run={"data": {"paper": "cifar10", "small": "mnist", "smoke": "digits"}[scale]})
    points = {
        Point(optimizer, lr, weight_decay, variant): tuple(
            Run(optimizer, lr, weight_decay, seed, epochs=10) for seed in range(seeds)
        )
        for optimizer in optimizers
        for lr in lrs
        for weight_decay in weight_decays
    }
    fixed_at = weight_decays[min(1, len(weight_decays) - 1)]
    at = {point.curve: point for point in points if point.weight_decay == fixed_at and point.lr == lrs[0]}
    shown = tuple(
        panel_of(
            setting,
            points,
            {point: point.weight_decay for point in points},
            panel,
            fixed=at,
            paper={point.curve: (PAPER,) for point in points if point.optimizer == "adam"},
        )
        for panel in panels
    )
    curves = list(dict.fromkeys(point.curve for point in points))
    claims = (
        Claim(claim, "4.9 against 5.1 and 7.0", lowest(curves[-1], curves[:-1])),
        Claim("The same at the paper’s λ", "drawn, no numbers", lowest(curves[-1], curves[:-1], fixed), own=True),
        Claim("The best λ is 0.01", "5e-4", optimum_at(curves[0], 0.01, 2)),
    )
    experiment = Experiment(
        name, "Three optimizers", "Which of them is best?", figures, lambda _: shown, lambda _: claims, ("A note.",)
    )
    results = [
        change(result(run, error(point, run.seed), **of_results)) for point, runs in points.items() for run in runs
    ]
    return judge(experiment, SCALES[scale], results, MEASURES, f"weightdecay reproduce {name} --scale {scale}")


def three():
    """Return three experiments, each with its own kinds of figure and at another scale; the last has two panels."""
    return [
        reproduction("fig7", ("decay", "curves")),
        reproduction("fig8", ("heat",), scale="paper", lrs=(1e-4, 1e-3)),
        reproduction("table1", ("scatter",), scale="smoke", panels=("first", "second")),
    ]
