"""``weightdecay sweep FILE``: a grid from a readable file, planned, trained, reported."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightdecay.lab import plan as plans
from weightdecay.lab.cli.outcome import wide_enough
from weightdecay.lab.cli.report import report
from weightdecay.lab.cli.say import DONE, FAILED, fail, say, status_of
from weightdecay.lab.interrupt import sigterm_raises
from weightdecay.lab.settings import SettingsError

if TYPE_CHECKING:
    from weightdecay.lab.cost import Cost
    from weightdecay.lab.executors import Executor, RunFailure
    from weightdecay.lab.question import Question
    from weightdecay.lab.run import Run
    from weightdecay.lab.store import Store


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
        words = ["weightdecay", "sweep", str(self.file)]
        return shlex.join(words + (["--out", str(self.out)] if self.out else []))


def run_sweep(settings: SweepSettings) -> int:
    """Plan, train, report."""
    plan = plans.read(settings.file)
    from weightdecay.lab import data
    from weightdecay.lab.executors import executor
    from weightdecay.lab.store import Store
    from weightdecay.lab.task import Named
    from weightdecay.lab.train import check

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
    costs = _measured(missing, on, plan.place) if settings.estimate else {}
    _print_plan(plan.title or settings.file.name, runs, missing, costs, on, store)
    if settings.dry_run:
        return DONE
    return _train(settings, plan, runs, on, store)


def _measured(missing: list[Run], on: Executor, place: Any) -> Mapping[Run, Cost]:
    """Measure each kind of run. Raises: SettingsError, for a kind that cannot be computed: before hours of others."""
    from weightdecay.lab.cost import measure
    from weightdecay.lab.executors import RunFailure

    costs = {}
    for kind, cost in measure(missing, on, place).items():
        if isinstance(cost, RunFailure):
            raise SettingsError(f"{kind.network} on {kind.data} cannot be trained: {cost.message or cost.type}")
        costs[kind] = cost
    return costs


def _print_plan(
    title: str, runs: list[Run], missing: list[Run], costs: Mapping[Run, Cost], on: Executor, store: Store
) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from weightdecay.lab.cost import kind

    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    for heading, side in (("data", "left"), ("network", "left"), ("optimizers", "left"), ("runs", "right")):
        table.add_column(heading, justify=side)  # type: ignore[arg-type]
    for heading in ("epochs", "an epoch", "a run", "all of them"):
        table.add_column(heading, justify="right")
    kinds: dict[tuple[Run, int], list[Run]] = {}
    for run in missing:
        kinds.setdefault((kind(run), run.epochs), []).append(run)
    total = 0.0
    for (one, epochs), members in kinds.items():
        cost = costs.get(one)
        optimizers = ", ".join(dict.fromkeys(run.optimizer for run in members))
        network = " ".join([one.network, *_what_sets_apart(one, [each for each, _ in kinds])])
        cells = [one.data, network, optimizers, str(len(members)), str(epochs)]
        if cost:
            total += len(members) * cost.of(members[0])
            cells += [lasting(cost.epoch), lasting(cost.of(members[0])), lasting(len(members) * cost.of(members[0]))]
        table.add_row(*map(Text, cells), *([] if cost else ["not measured"] * 3))
    if missing:
        wide_enough(table).print(table)
    kept = len(runs) - len(missing)
    say(f"{len(runs)} runs, {kept} of them kept from before, in {store.folder}")
    if costs:
        where = ", ".join(dict.fromkeys(cost.where for cost in costs.values()))
        width = on.width()
        at_once = f"; about {lasting(total / min(width, len(missing)))} with {width} at once" if width else ""
        say(f"estimated: {lasting(total)} of computing on {where}{at_once}, from a few measured steps")


NAMED = ("data", "data_digest", "network", "network_options")
"""What has a column of its own."""


def _what_sets_apart(one: Run, others: list[Run]) -> list[str]:
    """Return what a kind of run has of its own beside data and network: its network's options, its batch size …."""
    from weightdecay.lab.cost import KEPT

    varied = [name for name in KEPT if len({getattr(each, name) for each in others}) > 1]
    own = [f"{name}={getattr(one, name)}" for name in varied if name not in NAMED]
    return [f"{name}={value}" for name, value in one.network_options] + own


def lasting(seconds: float) -> str:
    """Return a duration as a person says it.

    >>> lasting(0.4), lasting(75), lasting(7000), lasting(200000)
    ('0.4 s', '75 s', '117 min', '55.6 h')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _train(settings: SweepSettings, plan: plans.Plan, runs: list[Run], on: Executor, store: Store) -> int:
    from weightdecay.lab.cli.view import live
    from weightdecay.lab.sweep import sweep

    asked = plans.questions(runs, settings.command, plan.title)
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
