"""From the results of an experiment's runs to its verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from weightdecay.lab.paper.experiment import Claim, Experiment, Panel, Reproduction, Row
from weightdecay.lab.paper.measure import Measure
from weightdecay.lab.paper.ordering import Judgement, not_judged
from weightdecay.lab.paper.race import asked
from weightdecay.lab.paper.scale import Scale
from weightdecay.lab.run import Result
from weightdecay.lab.run.recorded import UnrecordedError
from weightdecay.lab.study.answer import Answer, answered


def judge(
    experiment: Experiment, scale: Scale, results: Iterable[Result], measures: Sequence[Measure], command: str
) -> Reproduction:
    """Judge every claim of an experiment on every panel. Raises: KeyError, where a run is missing."""
    known = {result.run: result for result in results}
    answers = tuple(answered(panel, known.values()) for panel in asked(experiment, scale, known))
    rows = []
    for claim in experiment.claims(scale):
        for answer in answers:
            there = [one for one in measures if one.reads(answer.results)]
            judged = {one.name: _judged(claim, answer, one) for one in there}
            if scale.thin:
                judged = {name: not_judged(one) for name, one in judged.items()}
            rows.append(Row(experiment.name, answer.question.setting, claim, judged))
    return Reproduction(experiment, scale, answers, tuple(rows), command)


def _judged(claim: Claim, answer: Answer[Panel], measure: Measure) -> Judgement:
    """Judge, where what the claim is about is recorded of the runs."""
    try:
        return claim.judge(answer, measure)
    except UnrecordedError:
        said = "this claim is about single epochs, and of these runs only a row each is known"
        return Judgement("not judged", said, unrecorded=True)
