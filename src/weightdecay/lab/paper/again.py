"""The paper's claims judged again from runs that are known, without training: the same code on the same numbers."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from weightdecay.lab.paper.experiment import Experiment, Reproduction, Row
from weightdecay.lab.paper.judge import judge
from weightdecay.lab.paper.measure import MEASURES
from weightdecay.lab.paper.ordering import Judgement
from weightdecay.lab.paper.race import asked
from weightdecay.lab.paper.scale import SCALES, Scale
from weightdecay.lab.run import Result, Run
from weightdecay.lab.run.settings import SettingsError


def judged_again(results: Iterable[Result], experiments: Iterable[Experiment]) -> list[Reproduction]:
    """Return every experiment whose runs are all among the results, at each scale: one that lacks a run is left out.

    Raises: SettingsError, where there are two results of one run, on data of one name and two contents.
    """
    by_run: dict[Run, Result] = {}
    for result in results:
        one = by_run.setdefault(replace(result.run, data_digest=""), result)
        if one.run != result.run:
            digests = " and ".join(other.run.data_digest[:12] or "none" for other in (one, result))
            raise SettingsError(
                f"there are runs on two contents of {one.run.data!r}, with the digests {digests}, as of {one.run}. "
                "Keep the rows of one of them."
            )
    seeds: dict[Run, set[int]] = {}
    for run in by_run:
        seeds.setdefault(replace(run, seed=0), set()).add(run.seed)
    return [
        _judged(experiment, replace(scale, seeds=count), by_run)
        for experiment in experiments
        for scale in SCALES.values()
        if (count := _seeds(experiment, scale, seeds, by_run))
    ]


def _seeds(
    experiment: Experiment, scale: Scale, seeds: Mapping[Run, set[int]], by_run: Mapping[Run, Result]
) -> int:  # fmt: skip
    """Return with how many seeds the experiment is judged, 0 with none. ``seeds`` has those of every run's kind.

    It is the most that every cell in the race has (:mod:`race`): no fewer than the scale asks for, or all that any cell
    has. A cell may have more than are asked for here, since it is one of another experiment too.
    """
    points = [runs[0] for panel in experiment.panels(replace(scale, seeds=1)) for runs in panel.points.values()]
    found = [seeds.get(run, set()) for run in points]
    counts = {next(seed for seed in itertools.count() if seed not in several) for several in found}
    for count in sorted(counts - {0}, reverse=True):
        if (count >= scale.seeds or all(len(several) == count for several in found)) and all(
            run in by_run for run in _runs(experiment, replace(scale, seeds=count), by_run)
        ):
            return count
    return 0


def _runs(experiment: Experiment, scale: Scale, by_run: Mapping[Run, Result]) -> set[Run]:
    return {run for panel in asked(experiment, scale, by_run) for run in panel.runs}


def _judged(experiment: Experiment, scale: Scale, by_run: Mapping[Run, Result]) -> Reproduction:
    usual = SCALES[scale.name].seeds
    command = f"weightdecay reproduce {experiment.name}" + (f" --scale {scale.name}" if scale.name != "small" else "")
    command += f" --seeds {scale.seeds}" if scale.seeds != usual else ""
    answers = [replace(by_run[run], run=run) for run in _runs(experiment, scale, by_run)]
    return judge(experiment, scale, answers, MEASURES, command)


def with_verdicts(reproductions: Sequence[Reproduction], kept: Sequence[Mapping[str, Any]]) -> list[Reproduction]:
    """Return the reproductions with the judgements that their runs could not give, from the rows of scorecard.json.

    Rows per run of the first version do not say by which number on held-out examples λ is chosen, and nothing about
    single epochs. A kept judgement is taken only where all that can be judged again measures what was kept: after a
    claim has changed, or with more seeds, none is.
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
    if any(name not in before or before[name].measured != one.measured for name, one in known.items()):
        return row
    return replace(row, judged={**row.judged, **before, **known})
