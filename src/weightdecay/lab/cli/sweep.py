"""``weightdecay sweep FILE``: a grid from a readable file, planned, trained, reported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from weightdecay.lab.cli.planned import measured, print_plan
from weightdecay.lab.cli.report import report
from weightdecay.lab.cli.say import DONE, FAILED, fail, status_of
from weightdecay.lab.run.interrupt import sigterm_raises
from weightdecay.lab.run.settings import SettingsError, command_line
from weightdecay.lab.study.asked import questions
from weightdecay.lab.sweeps import plan as plans

if TYPE_CHECKING:
    from weightdecay.lab.executors import Executor, RunFailure
    from weightdecay.lab.run import Run
    from weightdecay.lab.run.store import Store
    from weightdecay.lab.study.question import Question


@dataclass(frozen=True)
class SweepSettings:
    """Train a grid of runs from a file of settings and ranges; plan and cost first, then table, figures and page.

    What has been trained is kept: the same command continues, wherever it was stopped, also with a larger grid.

    A file, in TOML:

        data = "cifar10"
        network = "resnet20"
        epochs = 100
        seeds = 3
        [[grid]]
        optimizer = ["adamw", "adams"]
        weight_decay = { from = 1e-4, to = 1e-1, count = 4 }
        [executor]
        name = "local"

    Executors: local, here, gpus, ray, slurm. Settings: those of `weightdecay train --help`, with underscores.
    """

    file: Path
    """The sweep."""
    dry_run: bool = False
    """Print the plan with its estimated cost, and stop."""
    estimate: bool = True
    """Measure a few steps of each kind of run first, where the runs will be computed."""
    out: Path | None = None
    """Folder of runs and report. Default: as the file says, else the file's name with -runs, beside it."""

    @property
    def command(self) -> str:
        """The command line that asks this again."""
        return command_line(self, ["sweep", str(self.file)], leave=("dry_run", "estimate"))


def run_sweep(settings: SweepSettings) -> int:
    """Plan, train, report."""
    plan = plans.read(settings.file)
    from weightdecay.lab import data
    from weightdecay.lab.executors import executor
    from weightdecay.lab.run.store import Store
    from weightdecay.lab.training.task import Named
    from weightdecay.lab.training.train import check

    out = settings.out or settings.file.parent / plan.out
    digests = {name: data.digest(name, plan.place) for name in dict.fromkeys(run.data for run in plan.runs)}
    runs = [replace(run, data_digest=digests[run.data]) for run in plan.runs]
    store = Store(out)
    try:
        chosen = {"folder": str(out / "slurm")} if plan.executor["name"] == "slurm" else {}
        on = executor(**{**chosen, **plan.executor})
        for run in runs:
            check(run)
            Named().check(run)
    except (ValueError, ImportError) as error:
        raise SettingsError(f"{settings.file}: {error}") from None
    missing = [run for run in runs if store.result(run) is None]
    costs = measured(missing, on, plan.place) if settings.estimate else {}
    print_plan(plan.title or settings.file.name, runs, missing, costs, on, store)
    if settings.dry_run:
        return DONE
    return _train(settings, plan, runs, on, store)


def _train(settings: SweepSettings, plan: plans.Plan, runs: list[Run], on: Executor, store: Store) -> int:
    from weightdecay.lab.cli.view import live
    from weightdecay.lab.sweeps.sweep import sweep

    asked = questions(runs, settings.command, plan.title)
    failures: dict[Run, RunFailure] = {}
    everything = _together(asked)
    try:
        with sigterm_raises(), live(everything, store) as view:

            def failed(run: Run, reason: RunFailure) -> None:
                failures[run] = reason
                view.fail(run, reason)

            results = sweep(everything.runs, store, on, plan.place, on_result=view.add, on_failure=failed)
    except KeyboardInterrupt as stopped:
        kept = sum(store.result(run) is not None for run in runs)
        text = f"stopped: {kept} of {len(runs)} runs are finished in {store.folder}, others keep their checkpoints"
        return fail(f"{text}; the same command continues.", status_of(stopped), label="")
    report(asked, results, store.folder)
    if failures:
        return fail(f"{len(failures)} of {len(runs)} runs failed, as said above; the others are kept.", FAILED)
    return DONE


def _together(asked: Mapping[str, Question]) -> Question:
    """Return the runs of all questions as one, to be watched; points of several bear the name of theirs."""
    if len(asked) == 1:
        return next(iter(asked.values()))
    points = {
        replace(point, variant=", ".join(filter(None, (name, point.variant)))): runs
        for name, question in asked.items()
        for point, runs in question.points.items()
    }
    return replace(next(iter(asked.values())), points=points)
