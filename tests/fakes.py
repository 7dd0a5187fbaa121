"""Results that look like training, made of a formula and a seeded generator."""

from __future__ import annotations

import math
import random

from weightdecay.lab.run import Epoch, Result, Run
from weightdecay.lab.run.methods import method
from weightdecay.lab.study.compare import Settings, default_weight_decays, question
from weightdecay.lab.study.members import Member

FLOOR = {"sgd": 4.8, "sgds": 4.7, "sgdw": 4.7, "adam": 5.0, "adamw": 3.8, "adams": 3.7}


def fake_result(run: Run, shift: float = 0.0) -> Result:
    """A run whose error is lowest at the expected λ, is guessing far above it, and diverges further above."""
    draw = random.Random(f"{run.optimizer} {run.lr} {run.weight_decay} {run.seed}")
    luck = random.Random(f"seed {run.seed}").gauss(0, 0.4)
    momentum = dict(run.optimizer_options).get("momentum", 0.9)
    settings = Settings(
        epochs=run.epochs, batch_size=run.batch_size, train_size=run.train_size or 1000, momentum=momentum
    )
    centre = default_weight_decays(Member(run.optimizer), run.lr, settings)[2]
    floor = FLOOR.get(run.optimizer, 5.0) + shift
    off = math.log10(run.weight_decay / centre) if run.weight_decay else None
    last = 8.0 if off is None else floor + (8.0 - floor) * (1 - math.exp(-3 * off * off))
    diverged = off is not None and off > 0.6
    if off is not None and off > 0.4:
        last = 90.0
    last = min(90.0, max(0.5, last + luck + draw.gauss(0, 0.25)))
    length = 5 if diverged and run.epochs > 5 else run.epochs
    epochs = []
    for epoch in range(1, length + 1):
        lr = run.lr * run.lr_factor ** sum(epoch > milestone * run.epochs for milestone in run.milestones)
        error = last + (70 - last) * math.exp(-epoch / 2.5) + abs(draw.gauss(0, 2.0)) * (lr == run.lr)
        loss = 0.25 + 2 * math.exp(-epoch / 4) + draw.gauss(0, 0.01)
        bad = diverged and epoch == length
        epochs.append(
            Epoch(
                epoch=epoch,
                lr=lr,
                train_loss=None if bad else loss,
                test_loss=None if bad else loss / 2,
                test=round(last if epoch == length else error, 3),
            )
        )
    return Result(
        run=run,
        status="diverged" if diverged else "finished",
        epochs=tuple(epochs),
        seconds=2.0 + draw.random(),
        versions={"torch": "2.15.0", "weightdecay": "0.1.0"},
    )


def fake_results(settings: Settings) -> list[Result]:
    return [fake_result(run) for run in question(settings).runs]


def bases() -> set[str]:
    import weightdecay

    return {method(name).base for name in weightdecay.available()}
