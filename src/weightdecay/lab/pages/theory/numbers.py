"""The numbers of ``weightdecay theory``, as files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

from weightdecay.lab.pages.theory.best import GRID, Answer
from weightdecay.lab.pages.theory.drift import Drift
from weightdecay.lab.pages.theory.equilibrium import Balance
from weightdecay.lab.pages.theory.minimum import Moving
from weightdecay.lab.pages.theory.paths import Paths


def downloads(
    paths: Paths,
    answers: Sequence[Answer],
    moving: Sequence[Moving],
    drifts: Sequence[Drift],
    balances: Sequence[Balance],
) -> dict[str, str]:
    """Return the numbers behind the figures, as files."""
    head = ("decay", "direction", "step", "predicted_mean", "predicted_deviation", "simulated_mean", "simulated_error")
    losses = [
        (answer.question.name, steps, strength, answer.curves[i, j].item(), answer.losses[i, j].mean().item(),
         answer.losses[i, j].std().item() / answer.losses.shape[-1] ** 0.5)
        for answer in answers
        for i, steps in enumerate(answer.lengths)
        for j, strength in enumerate(GRID.tolist())
    ]  # fmt: skip
    minima = [
        (one.schedule, law, step, norm)
        for one in moving
        for law, norms in one.minimum.items()
        for step, norm in enumerate(norms.tolist())
    ]
    seconds = [
        (one.title, epoch, *row)
        for one in drifts
        for epoch, row in enumerate(
            zip(one.mean_square, one.strength, one.low, one.high, one.shift, one.shift_of_mean, strict=True), 1
        )
    ]
    settled = [(one.name, one.predicted.norm, *one.norm, one.predicted.angle, *one.angle) for one in balances]
    return {
        "paths.csv": _csv(head, paths.rows),
        "losses.csv": _csv(("question", "steps", "weight_decay", "predicted", "simulated", "error"), losses),
        "minimum.csv": _csv(("schedule", "decay", "step", "norm"), minima),
        "drift.csv": _csv(
            ("optimizer", "epoch", "mean_v", "strength", "strength_p10", "strength_p90", "shift", "shift_of_mean_v"),
            seconds,
        ),
        "equilibrium.csv": _csv(
            ("optimizer", "predicted_norm", "norm", "norm_error", "predicted_angle", "angle", "angle_error"), settled
        ),
        "theory.json": json.dumps(summary(paths, answers, moving, drifts), indent=1, ensure_ascii=False) + "\n",
    }


def summary(
    paths: Paths, answers: Sequence[Answer], moving: Sequence[Moving], drifts: Sequence[Drift]
) -> dict[str, Any]:
    """Return what the page says in numbers."""
    return {
        "largest_score_of_a_mean": paths.scores.abs().max().item(),
        "best_weight_decay": [
            {
                "question": answer.question.name,
                "steps": answer.lengths,
                "predicted": [best.weight_decay for best in answer.predicted],
                "simulated": answer.best,
                "interval_95": answer.interval,
                "slope": vars(answer.slope),
                "predicted_slope": vars(answer.predicted_slope),
                "predicted_beyond": {str(steps): best.weight_decay for steps, best in answer.beyond.items()},
                "slope_beyond": answer.beyond_slope,
            }
            for answer in answers
        ],
        "minimum": [
            {"schedule": one.schedule, "span": one.span, "stable": one.stable, "share": one.hypothesis.share}
            for one in moving
        ],
        "drift": [
            {"optimizer": one.title, "change": one.change, "shift": max(one.shift), "by_mean": max(one.shift_of_mean)}
            for one in drifts
        ],
    }


def _csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return buffer.getvalue()
