"""``weightdecay reproduce``: the paper's figures and tables, run, drawn and judged."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

from weightdecay.checks import whole_at_least
from weightdecay.lab.cli.conducted import conducted, executor_of
from weightdecay.lab.cli.evidence import keep, other_data
from weightdecay.lab.cli.outcome import wide_enough
from weightdecay.lab.cli.say import DONE, say
from weightdecay.lab.cli.words import read_options
from weightdecay.lab.run import Place
from weightdecay.lab.run.settings import SettingsError, as_settings, command_line, flag, left_out
from weightdecay.whole import write_whole

if TYPE_CHECKING:
    from weightdecay.lab.paper import Experiment, Reproduction, Scale
    from weightdecay.lab.run import Result, Run
    from weightdecay.lab.study.question import Question

    Wanted: TypeAlias = dict[Experiment, dict[Run, Run]]
    """The runs of each experiment, each with the one that is trained for it."""


@dataclass(frozen=True)
class ReproduceSettings:
    """Put the claims of "Understanding and Scheduling Weight Decay" to the test: plan, runs, verdicts, figures.

    What has been trained is kept, and a run that two figures share trains once; the same command continues.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "weightdecay reproduce list",
        "weightdecay reproduce fig7 table1",
        "weightdecay reproduce all --scale smoke",
        "weightdecay reproduce table1 --scale paper --executor gpus --dry-run",
        "weightdecay reproduce fig1 --scale paper --data cifar10=images:photos/cifar",
        "weightdecay reproduce fig7 --scale medium --from runs.csv",
    )
    what: Annotated[tuple[str, ...], left_out()]
    """list, all, or experiments: fig1 … fig23, table1 … table4, transformer, norms, tensorflow."""
    scale: Literal["small", "medium", "paper", "smoke"] = "small"
    """Size of networks and data. paper is as the paper has it; medium has residual networks on 10,000 photos, 24 to
    60 core-hours for all; small asks the same of data that a CPU learns in seconds; smoke only shows that it runs."""
    seeds: int = 0
    """Number of seeds; 0 takes that of the scale. Beyond the first two or three only cells near the best of their curve
    have them, and those that a claim names."""
    data: Annotated[tuple[str, ...], left_out("those of the scale")] = ()
    """Other data in place of those of the scale, written NAME=OTHER, as in cifar10=images:FOLDER."""
    known: Annotated[tuple[Path, ...], left_out(name="from")] = ()
    """Tables of runs that were trained before, as runs.csv; what they answer is not trained again."""
    evidence: Annotated[Path | None, left_out()] = None
    """File for all runs that are known, those of --out and of --from, as one table for a later --from."""
    validation_size: int = 0
    """Training examples to hold out at scale paper, which, as the paper, holds out none."""
    executor: str = "local"
    """Where runs are computed: local (the cores), here (this process), gpus, ray or slurm."""
    executor_options: Annotated[tuple[str, ...], left_out()] = ()
    """Settings of the executor, written NAME=VALUE, as in jobs=2."""
    place: Place = Place(device="auto")
    """Device, data and checkpoints of every run."""
    dry_run: Annotated[bool, flag()] = False
    """Print the plan with its estimated cost, and train nothing."""
    estimate: Annotated[bool, flag()] = True
    """Measure a few steps of each kind of run before the plan is printed."""
    markdown: Annotated[Path | None, left_out()] = None
    """File for the scorecard as Markdown too, NAME.md; its figures are those in NAME/figures beside it."""
    out: Path = Path("weightdecay-paper")
    """Folder for runs and report."""

    def command(self, names: Sequence[str] = ()) -> str:
        """Return the command line that asks this again, or only a part of it: what differs from the defaults."""
        return command_line(self, ["reproduce", *(names or self.what)], NOT_AGAIN)


NOT_AGAIN = ("known", "evidence", "dry_run", "estimate", "data_folder", "download", "markdown")
"""Options that decide nothing of what a figure shows."""


def run_reproduce(settings: ReproduceSettings) -> int:
    """Plan, train, judge, report."""
    from weightdecay.lab import paper

    if "list" in settings.what:
        return _list()
    chosen = paper.experiments(settings.what)
    if not chosen:
        raise SettingsError("name at least one experiment: fig7, table1, all … See weightdecay reproduce list.")
    scale = _scale(settings)
    on = executor_of(
        settings.executor, dict(read_options("--executor-options", settings.executor_options)), settings.out
    )
    from weightdecay.lab.run.store import Store
    from weightdecay.lab.study.conduct import Study
    from weightdecay.lab.sweeps.ready import with_content

    place = settings.place
    wanted = {experiment: with_content(_runs(experiment, scale), place) for experiment in chosen}
    before = _known(settings, wanted)
    kept = {**{result.run: result for result in Store(settings.out).results()}, **before}

    def known(results: Sequence[Result]) -> dict[Run, Result]:
        return {**kept, **{result.run: result for result in results}}

    def questions(results: Sequence[Result] = ()) -> dict[str, Question]:
        return _questions(settings, scale, wanted, known(results), before)

    def judge(results: Sequence[Result]) -> list[Reproduction]:
        return _judged(settings, scale, wanted, known(results))

    study = Study(
        title=f"{', '.join(one.name for one in chosen)} at scale {scale.name}",
        questions=questions(),
        then=questions,
        out=settings.out,
        judge=judge,
        report=lambda judged: _report(settings, judged),
        on=on,
        place=place,
        estimate=settings.estimate and scale.name != "smoke",
    )
    try:
        return conducted(study, settings.dry_run)
    finally:
        if settings.evidence:
            keep(settings.known, settings.out, settings.evidence)


def _list() -> int:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from weightdecay.lab import paper

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("experiment", "what it asks"):
        table.add_column(heading)
    for name in paper.SCALES:
        table.add_column(f"runs, {name}", justify="right")
    for experiment in paper.EXPERIMENTS.values():
        counts = [str(len(_runs(experiment, scale))) for scale in paper.SCALES.values()]
        table.add_row(experiment.name, Text(experiment.asks), *counts)
    wide_enough(table).print(table)
    return DONE


def _scale(settings: ReproduceSettings) -> Scale:
    from weightdecay.lab import paper

    with as_settings():
        whole_at_least("--seeds", settings.seeds, 0, "0 takes the number of the scale.")
        whole_at_least("--validation-size", settings.validation_size, 0, "0 holds out no example.")
    scale = paper.scale(settings.scale).with_data(other_data(settings.data))
    if settings.validation_size:
        scale = scale.held_out(settings.validation_size)
    return replace(scale, seeds=settings.seeds) if settings.seeds else scale


def _runs(experiment: Experiment, scale: Scale) -> list[Run]:
    return list(
        dict.fromkeys(run for panel in experiment.panels(scale) for runs in panel.points.values() for run in runs)
    )


def _known(settings: ReproduceSettings, wanted: Wanted) -> Mapping[Run, Result]:
    """Return the results that the tables have of the runs that are wanted, and say which rows were not taken."""
    from weightdecay.lab import paper
    from weightdecay.lab.run.recorded import read_runs

    if not settings.known:
        return {}
    rows = [row for path in settings.known for row in read_runs(path)]
    found = paper.known(rows, {run for known in wanted.values() for run in known.values()})
    for line in found.said:
        say(line)
    return found.results


def _answered_before(out: Path, scale: Scale, chosen: Collection[Experiment], kept: Iterable[Result]) -> Wanted:
    """Return the other experiments that are on the page of an earlier command: they stay on it.

    One that nobody has asked for is not told, though all of its runs may be there: experiments share runs.
    """
    from weightdecay.lab import paper

    results = {replace(result.run, data_digest=""): result for result in kept}
    told: Collection[str] = _on_the_page(out)
    found: Wanted = {}
    for experiment in paper.EXPERIMENTS.values():
        if experiment in chosen or experiment.name not in told:
            continue
        known = {run: results[run] for run in _runs(experiment, scale) if run in results}
        if all(run in known for panel in paper.asked(experiment, scale, known) for run in panel.runs):
            found[experiment] = {run: result.run for run, result in known.items()}
    return found


def _on_the_page(out: Path) -> set[str]:
    """Return the names of the experiments in the rows of the scorecard that is there; none where there is no such."""
    try:
        return {row["experiment"] for row in json.loads((out / "scorecard.json").read_text(encoding="utf-8"))}
    except (OSError, ValueError, TypeError, KeyError):
        return set()


def _questions(
    settings: ReproduceSettings,
    scale: Scale,
    wanted: Wanted,
    known: Mapping[Run, Result],
    before: Collection[Run],
) -> dict[str, Question]:
    """Return the panels of the experiments, each about the runs that what is known leaves to be trained for it."""
    from weightdecay.lab import paper

    return {
        f"{experiment.name}, {panel.setting}": replace(
            panel,
            points={
                point: tuple(trained[run] for run in runs if trained[run] not in before)
                for point, runs in panel.points.items()
            },
            command=settings.command(),
        )
        for experiment, trained in wanted.items()
        for panel in paper.asked(experiment, scale, _as_asked(trained, known))
    }


def _as_asked(trained: Mapping[Run, Run], known: Mapping[Run, Result]) -> dict[Run, Result]:
    """Return the results under the runs that a panel asks for, which do not know the content of their data yet."""
    return {run: replace(known[by], run=run) for run, by in trained.items() if by in known}


def _judged(
    settings: ReproduceSettings, scale: Scale, wanted: Wanted, results: Mapping[Run, Result]
) -> list[Reproduction]:
    """Return the experiments whose runs are all there, judged: those that were asked for, and earlier ones."""
    from weightdecay.lab import paper

    asked = {**wanted, **_answered_before(settings.out, scale, wanted, results.values())}
    found = []
    for experiment, trained in sorted(asked.items(), key=lambda pair: list(paper.EXPERIMENTS).index(pair[0].name)):
        known = _as_asked(trained, results)
        runs = {run for panel in paper.asked(experiment, scale, known) for run in panel.runs}
        if lost := sum(run not in known for run in runs):
            say(f"{experiment.name} is not judged: {lost} of its {len(runs)} runs failed.")
            continue
        command = settings.command([experiment.name])
        found.append(paper.judge(experiment, scale, known.values(), paper.MEASURES, command))
    return found


def _report(settings: ReproduceSettings, judged: Sequence[Reproduction]) -> None:
    from weightdecay.lab.report import scorecard

    if not judged:
        return
    show(judged, scorecard.write(judged, settings.out))
    if settings.markdown:
        text = scorecard.markdown(judged, f"{settings.markdown.stem}/figures")
        say(f"text    {write_whole(settings.markdown, text)}")


VERDICTS = {"holds": "green", "refuted": "red", "practically equal": "", "undecided": "yellow", "not judged": "dim"}


def show(reproductions: Sequence[Reproduction], written: Any) -> None:
    """Print the scorecard, and where the files are."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from weightdecay.lab.report import scorecard

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("experiment", "claim", "verdict", "measured (best epoch, as in the paper)"):
        table.add_column(heading)
    for row in scorecard.rows(reproductions):
        where = f"{row['experiment']}, {row['panel']}"
        verdict = Text(row["verdict"], style=VERDICTS.get(row["verdict"].rstrip(" *"), ""))
        table.add_row(Text(where), Text(row["claim"]), verdict, Text(row["measured"]))
    console = wide_enough(table)
    console.print(table)
    if any(scorecard.MARK in row["verdict"] for row in scorecard.rows(reproductions)):
        console.print(f"{scorecard.MARK} the last epoch or validation comes to another verdict", highlight=False)
    if any(scorecard.OWN in row["claim"] for row in scorecard.rows(reproductions)):
        console.print(f"{scorecard.OWN} not a claim of the paper", highlight=False)
    for name, path in (
        ("page", written.page),
        ("rows", written.rows),
        ("results", written.results),
        ("runs", written.runs),
    ):
        if path is None:
            continue
        console.print(f"{name:<8}{path}", markup=False, highlight=False, soft_wrap=True)
    figures = written.page.parent / "figures"
    console.print(f"figures {figures}, {len(written.figures)} files", markup=False, highlight=False, soft_wrap=True)
