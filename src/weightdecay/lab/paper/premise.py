"""AdamW at the paper's λ: where a shorter training keeps what the paper means by it, and where it cannot.

The paper gives AdamW λ_W = λ/η, 0.5 at η = 0.001. What that means to a weight is pull × steps, 39 at the first lr. In a
shorter training λ_W is stretched by how much shorter it is, and pull × steps stays. But an update of Adam is at most
about 1, so that AdamW holds every weight below 1/λ_W: 2 in the paper, 0.01 in a training of 384 steps. There the
network cannot learn, whatever AdamW is worth, and the comparison says nothing about the paper.

Source: Xie & Li, Implicit Bias of AdamW: ℓ∞ Norm Constrained Optimization, arXiv:2404.04454.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from weightdecay.lab.paper.experiment import Panel
from weightdecay.lab.paper.ordering import Judgement, Verdict
from weightdecay.lab.study.answer import Answer, Cell

BEGINS = 0.125
"""The size that weights begin with: PyTorch draws them from ±1/√inputs, and the last layers here have 64 inputs."""


def unmet(answer: Answer[Panel], cell: Cell) -> str:
    """Say why AdamW is not judged in a cell at the paper's λ; empty for other optimizers, and where it is.

    The paper's own trainings are always judged.
    """
    setting, point, run = answer.question.task, cell.point, cell.results[0].run
    if setting.stretch == 1 or point.optimizer != "adamw" or point.weight_decay * BEGINS <= 1:
        return ""
    pull = point.lr * point.weight_decay
    steps = run.epochs * math.ceil((setting.train_size or 0) / run.batch_size)
    return (
        f"{point.title} at λ {point.weight_decay:g} is not judged here: pull × steps is the paper’s, "
        f"{pull * steps:.3g}, but in {steps:,} steps that is {100 * pull:.3g} % of a weight per step, which keeps "
        f"every weight below 1/λ = {1 / point.weight_decay:.2g}, less than weights begin with ({BEGINS:g})"
    )


def judged_without(verdict: Verdict, said: Sequence[str], reasons: Sequence[str], seeds: int | None) -> Judgement:
    """Return the judgement on a claim about several, some of which are not judged for the reasons given.

    What the others refute, or show to be practically equal, is so, and what they leave open is open; what they would
    let hold is not judged.
    """
    if reasons and verdict == "holds":
        verdict = "not judged"
    return Judgement(verdict, "; ".join([*said, *reasons]), seeds)
