"""What the gradient norm and v̄ do during the runs of Table 1: a row that the paper should have had."""

from __future__ import annotations

import math

from weightdecay.lab.paper.arms import ADAMS_THREE, FIXED, Arm, panel
from weightdecay.lab.paper.experiment import Claim, Experiment, Judge, Panel
from weightdecay.lab.paper.measure import Measure
from weightdecay.lab.paper.ordering import Judgement, all_of
from weightdecay.lab.paper.premise import unmet
from weightdecay.lab.paper.scale import Scale
from weightdecay.lab.run import Result
from weightdecay.lab.study.answer import Answer
from weightdecay.lab.study.difference import paired


def _falls(arm: Arm) -> Judge:
    """v̄ is lower at the last epoch than at the first: log v̄ is compared, seed by seed."""

    def judge(answer: Answer[Panel], measure: Measure) -> Judgement:
        cell = answer.at_fixed(arm.curve)
        if reason := unmet(answer, cell):
            return Judgement("not judged", reason)
        results = cell.results

        def log_v(result: Result, epoch: int) -> float:
            gain = result.gain(epoch)  # 1/√v̄
            return -2 * math.log(gain) if gain else math.inf

        one = paired([log_v(r, -1) for r in results], [log_v(r, 0) for r in results])
        verdict, seeds = all_of([one])
        return Judgement(verdict, f"v̄ last/first: {math.exp(one.mean):.3g} (log {one})", seeds)

    return judge


def _panels(scale: Scale) -> tuple[Panel, ...]:
    return (panel(scale, "ResNet18, CIFAR-10", ADAMS_THREE, (FIXED,)),)


def _claims(scale: Scale) -> tuple[Claim, ...]:
    return tuple(
        Claim(f"v̄ of {arm.title} falls during training, so that a decay coupled to the lr alone weakens",
              "argued from Eq. 9, not measured", _falls(arm), own=True)
        for arm in ADAMS_THREE
    )  # fmt: skip


EXPERIMENTS = (
    Experiment(
        "norms", "Gradient norm and v̄ of three optimizers", "Does v̄ move so much that AdamW’s minimum moves with it?",
        ("norms",), _panels, _claims,
        ("Not in the paper.",),
    ),
)  # fmt: skip
