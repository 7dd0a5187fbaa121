"""``weightdecay reproduce``: the paper's figures and tables, run, drawn and judged."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from weightdecay.lab.cli.outcome import wide_enough
from weightdecay.lab.cli.planned import lasting, measured, print_plan
from weightdecay.lab.cli.say import DONE, FAILED, fail, say, status_of
from weightdecay.lab.run import Place
from weightdecay.lab.run.interrupt import sigterm_raises
from weightdecay.lab.run.settings import SettingsError, command_line

if TYPE_CHECKING:
    from weightdecay.lab.executors import Executor, RunFailure
    from weightdecay.lab.paper import Experiment, Reproduction, Scale
    from weightdecay.lab.run import Result, Run
    from weightdecay.lab.run.store import Store
    from weightdecay.lab.study.question import Question


@dataclass(frozen=True)
class ReproduceSettings:
    """Put the claims of "Understanding and Scheduling Weight Decay" to the test: plan, runs, verdicts, figures.

    What has been trained is kept, and a run that two figures share trains once; the same command continues.

    Some commands:

        weightdecay reproduce list
        weightdecay reproduce fig7 table1
        weightdecay reproduce all --scale smoke
        weightdecay reproduce table1 --scale paper --executor gpus --dry-run
        weightdecay reproduce fig1 --scale paper --data cifar10=images:photos/cifar
    """

    what: tuple[str, ...]
    """list, all, or names: fig1 … fig23, table1 … table4, transformer, norms, tensorflow."""
    scale: Literal["small", "paper", "smoke"] = "small"
    """paper: exactly as there. small: the same questions on data that a CPU learns. smoke: only to see that it runs."""
    seeds: int = 0
    """Seeds for each cell. 0: as the scale has it."""
    data: tuple[str, ...] = ()
    """NAME=OTHER: other data in place of those of the scale, as in cifar10=images:FOLDER."""
    validation_size: int = 0
    """Training examples to hold out at scale paper, which as in the paper holds out none."""
    executor: str = "local"
    """local, here, gpus, ray or slurm."""
    executor_options: tuple[str, ...] = ()
    """NAME=VALUE for the executor, as in jobs=2."""
    device: str = "auto"
    """auto: the GPU if there is one. cpu, cuda, cuda:1."""
    data_folder: Path | None = None
    """Where data sets are, and are downloaded to. Default: $WEIGHTDECAY_DATA, else a folder of the user's cache."""
    download: bool = True
    """Download data that is not there."""
    dry_run: bool = False
    """Print the plan with its estimated cost, and stop."""
    estimate: bool = True
    """Measure a few steps of each kind of run first, where the runs will be computed."""
    markdown: Path | None = None
    """Also write the scorecard as Markdown to this file, NAME.md; its figures are those in NAME/figures beside it."""
    out: Path = Path("weightdecay-paper")
    """Folder of runs and report."""

    def command(self, names: Sequence[str] = ()) -> str:
        """Return the command line that asks this again, or only a part of it: what differs from the defaults."""
        return command_line(self, ["reproduce", *(names or self.what)], NOT_AGAIN)


NOT_AGAIN = ("dry_run", "estimate", "data_folder", "download", "markdown")
"""Options that decide nothing of what a figure shows."""

DEVICES = (1, 8, 64)
"""A card, a machine, a cluster: what the plan divides the work over."""


def run_reproduce(settings: ReproduceSettings) -> int:
    """Plan, train, judge, report."""
    from weightdecay.lab import paper

    if "list" in settings.what:
        return _list()
    chosen = paper.experiments(settings.what)
    if not chosen:
        raise SettingsError("name at least one experiment: fig7, table1, all … See weightdecay reproduce list.")
    scale = _scale(settings)
    from weightdecay.lab.run.store import Store

    place = Place(device=settings.device, data=settings.data_folder, download=settings.download)
    store = Store(settings.out)
    asked = {run for experiment in chosen for run in _runs(experiment, scale)}
    on = _executor(settings, asked)
    digests = _digests(asked, place)
    wanted = {experiment: _trained(experiment, scale, digests) for experiment in chosen}
    runs = list(dict.fromkeys(run for known in wanted.values() for run in known.values()))
    missing = [run for run in runs if store.result(run) is None]
    costs = measured(missing, on, place) if settings.estimate and scale.name != "smoke" else {}
    title = f"{', '.join(one.name for one in chosen)} at scale {scale.name}"
    total = print_plan(title, runs, missing, costs, on, store)
    if total:
        shares = ", ".join(f"{lasting(total / devices)} on {devices}" for devices in DEVICES)
        say(f"on several of what it was measured on, one run each at a time: {shares}")
    if settings.dry_run:
        return DONE
    failures: dict[Run, RunFailure] = {}
    try:
        results = _train(_together(settings, scale, wanted), runs, on, store, place, failures)
    except KeyboardInterrupt as stopped:
        kept = sum(store.result(run) is not None for run in runs)
        text = f"stopped: {kept} of {len(runs)} runs are finished in {store.folder}, others keep their checkpoints"
        return fail(f"{text}; the same command continues.", status_of(stopped), label="")
    known = (*store.results(), *results)
    wanted |= _answered_before(scale, chosen, known)
    by_run = {result.run: result for result in known}
    return _report(settings, scale, wanted, by_run, failures)


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

    if settings.seeds < 0 or settings.validation_size < 0:
        raise SettingsError(f"--seeds {settings.seeds}, --validation-size {settings.validation_size}: 0 is the least.")
    given = {}
    for word in settings.data:
        name, equals, other = word.partition("=")
        if not (name and equals and other):
            raise SettingsError(f"--data {word}: write NAME=OTHER, as in cifar10=images:FOLDER.")
        given[name] = other
    scale = paper.scale(settings.scale).with_data(given)
    if settings.validation_size:
        scale = scale.held_out(settings.validation_size)
    return replace(scale, seeds=settings.seeds) if settings.seeds else scale


def _runs(experiment: Experiment, scale: Scale) -> list[Run]:
    return list(
        dict.fromkeys(run for panel in experiment.panels(scale) for runs in panel.points.values() for run in runs)
    )


def _digests(runs: Iterable[Run], place: Place) -> dict[str, str]:
    """Return what stands for the content of each data set."""
    from weightdecay.lab import data

    try:
        return {name: data.digest(name, place) for name in dict.fromkeys(run.data for run in runs)}
    except ValueError as error:
        raise SettingsError(str(error)) from None


def _trained(experiment: Experiment, scale: Scale, digests: Mapping[str, str]) -> dict[Run, Run]:
    """Return each run of an experiment with the run that is trained for it: that one names the content of its data."""
    return {run: replace(run, data_digest=digests[run.data]) for run in _runs(experiment, scale)}


def _answered_before(
    scale: Scale, chosen: Collection[Experiment], kept: Sequence[Result]
) -> dict[Experiment, dict[Run, Run]]:
    """Return the other experiments whose runs are all there, from earlier commands: they stay on the page."""
    from weightdecay.lab import paper

    trained: dict[Run, Run] = {replace(result.run, data_digest=""): result.run for result in kept}
    found = {}
    for experiment in paper.EXPERIMENTS.values():
        runs = _runs(experiment, scale)
        if experiment not in chosen and all(run in trained for run in runs):
            found[experiment] = {run: trained[run] for run in runs}
    return found


def _executor(settings: ReproduceSettings, runs: Iterable[Run]) -> Executor:
    from weightdecay.lab.cli.train import read_options
    from weightdecay.lab.executors import executor
    from weightdecay.lab.training.task import Named
    from weightdecay.lab.training.train import check

    given: dict[str, Any] = dict(read_options("--executor-options", settings.executor_options))
    if settings.executor == "slurm":
        given.setdefault("folder", str(settings.out / "slurm"))
    try:
        for run in runs:
            check(run)
            Named().check(run)
        return executor(settings.executor, **given)
    except (ValueError, ImportError, TypeError) as error:
        raise SettingsError(str(error)) from None


def _train(
    everything: Question,
    runs: Sequence[Run],
    on: Executor,
    store: Store,
    place: Place,
    failures: dict[Run, RunFailure],
) -> list[Result]:
    from weightdecay.lab.cli.view import live
    from weightdecay.lab.sweeps.sweep import sweep

    with sigterm_raises(), live(everything, store) as view:

        def failed(run: Run, reason: RunFailure) -> None:
            failures[run] = reason
            view.fail(run, reason)

        order = sorted(runs, key=lambda run: run.seed)  # one seed of everything first: early looks are fair
        return sweep(order, store, on, place, on_result=view.add, on_failure=failed)


def _together(settings: ReproduceSettings, scale: Scale, wanted: dict[Experiment, dict[Run, Run]]) -> Question:
    """Return all runs as one question, to be watched: every run under the first experiment that asks for it."""
    from weightdecay.lab.study.question import Question

    points: dict[Any, tuple[Run, ...]] = {}
    seen: set[Run] = set()
    for experiment, known in wanted.items():
        for panel in experiment.panels(scale):
            for point, runs in panel.points.items():
                new = tuple(known[run] for run in runs if known[run] not in seen)
                if new:
                    seen.update(new)
                    variant = ", ".join(filter(None, (experiment.name, panel.title, point.variant)))
                    points[replace(point, variant=variant)] = new
    return Question(points=points, setting="the paper", command=settings.command(), name="reproduce")


def _report(
    settings: ReproduceSettings,
    scale: Scale,
    wanted: dict[Experiment, dict[Run, Run]],
    by_run: Mapping[Run, Result],
    failures: Mapping[Run, RunFailure],
) -> int:
    from weightdecay.lab import paper
    from weightdecay.lab.report import scorecard

    reproductions = []
    for experiment, known in sorted(wanted.items(), key=lambda pair: list(paper.EXPERIMENTS).index(pair[0].name)):
        lost = sum(run not in by_run for run in known.values())
        if lost:
            say(f"{experiment.name} is not judged: {lost} of its {len(known)} runs failed.")
            continue
        # A panel asks for runs that do not know the content of their data yet.
        answers = [replace(by_run[trained], run=asked) for asked, trained in known.items()]
        command = settings.command([experiment.name])
        reproductions.append(paper.judge(experiment, scale, answers, paper.MEASURES, command))
    if reproductions:
        show(reproductions, scorecard.write(reproductions, settings.out))
        if settings.markdown:
            text = scorecard.markdown(reproductions, f"{settings.markdown.stem}/figures")
            settings.markdown.write_text(text, encoding="utf-8")
            say(f"text    {settings.markdown}")
    if failures:
        return fail(f"{len(failures)} runs failed, as said above; the others are kept.", FAILED)
    return DONE


VERDICTS = {"holds": "green", "refuted": "red", "undecided": "yellow", "not judged": "dim"}


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
        console.print(f"{name:<8}{path}", markup=False, highlight=False, soft_wrap=True)
    figures = written.page.parent / "figures"
    console.print(f"figures {figures}, {len(written.figures)} files", markup=False, highlight=False, soft_wrap=True)
