"""The paper's claims judged again from runs that are known, without training: the same code on the same numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from weightdecay.lab.paper.experiment import Experiment, Reproduction, Row, judge
from weightdecay.lab.paper.measure import MEASURES
from weightdecay.lab.paper.ordering import Judgement
from weightdecay.lab.paper.scale import SCALES, Scale
from weightdecay.lab.run import Result, Run


def judged_again(results: Iterable[Result], experiments: Iterable[Experiment]) -> list[Reproduction]:
    """Return every experiment whose runs are all among the results, at each scale: one that lacks a run is left out.

    The number of seeds is that of the results, where an experiment has so many, else the scale's own.
    """
    by_run = {replace(result.run, data_digest=""): result for result in results}
    seeds = 1 + max((run.seed for run in by_run), default=0)
    found = []
    for experiment in experiments:
        for scale in SCALES.values():
            for asked in dict.fromkeys((seeds, scale.seeds)):
                again = _judged(experiment, replace(scale, seeds=asked), by_run)
                if again:
                    found.append(again)
                    break
    return found


def _judged(experiment: Experiment, scale: Scale, by_run: Mapping[Run, Result]) -> Reproduction | None:
    runs = {run for panel in experiment.panels(scale) for several in panel.points.values() for run in several}
    if not runs <= by_run.keys():
        return None
    command = f"weightdecay reproduce {experiment.name}" + (f" --scale {scale.name}" if scale.name != "small" else "")
    answers = [replace(by_run[run], run=run) for run in runs]
    return judge(experiment, scale, answers, MEASURES, command)


def with_verdicts(reproductions: Sequence[Reproduction], kept: Sequence[Mapping[str, Any]]) -> list[Reproduction]:
    """Return the reproductions with the judgements that their runs could not give, from the rows of scorecard.json.

    Rows per run of the first version do not say by which number on held-out examples λ is chosen, and nothing about
    single epochs. A kept judgement is taken only where all that can be judged again comes out as it was kept: after a
    claim has changed, none is.
    """
    by_claim = {(row["experiment"], row["panel"], row["claim"], row["scale"]): row["by_measure"] for row in kept}
    return [
        replace(
            one,
            rows=tuple(
                _completed(row, by_claim.get((row.experiment, row.panel, row.claim.text, one.scale.name), {}))
                for row in one.rows
            ),
        )
        for one in reproductions
    ]


def _completed(row: Row, kept: Mapping[str, Mapping[str, Any]]) -> Row:
    before = {name: Judgement(one["verdict"], one["measured"], one["seeds_needed"]) for name, one in kept.items()}
    known = {name: one for name, one in row.judged.items() if not one.unrecorded}
    if any(before.get(name) != one for name, one in known.items()):
        return row
    return replace(row, judged={**row.judged, **before})
