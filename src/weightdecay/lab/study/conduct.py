"""From a question to its answer, in the same way for ``compare``, ``sweep``, ``reproduce`` and ``Own``.

::

    questions → check → cost → plan → runs → verdicts → report
                                       ↳ then what they make worth asking, if there is more

What differs between the four is what a :class:`Study` holds, and who is told (:class:`Audience`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from weightdecay.lab.run import Place, Result, Run
from weightdecay.lab.run.settings import SettingsError
from weightdecay.lab.run.store import Store
from weightdecay.lab.study.asked import together
from weightdecay.lab.study.question import Question

if TYPE_CHECKING:
    from weightdecay.lab.executors import Executor, RunFailure
    from weightdecay.lab.sweeps.cost import Cost

Verdicts = TypeVar("Verdicts")


@dataclass(frozen=True)
class Study(Generic[Verdicts]):
    """What is asked, where it is computed, and what becomes of the results."""

    title: str
    questions: Mapping[str, Question]  # by a name that sets each apart from the others
    out: Path
    judge: Callable[[Sequence[Result]], Verdicts]
    report: Callable[[Verdicts], object]  # writes the files
    on: Executor | None = None  # None: one process for each usable core
    place: Place = field(default_factory=lambda: Place(device="auto"))
    task: Any = None  # None: the data and the network that a run names
    estimate: bool = False  # measure what each kind of run costs, before any is trained
    then: Callable[[Sequence[Result]], Mapping[str, Question]] = lambda results: {}
    """What the results make worth asking beside it: asked once they are there, until nothing new is."""

    @property
    def runs(self) -> tuple[Run, ...]:
        """Every run once, in the order in which they are trained."""
        return together(self.questions).runs


@dataclass(frozen=True)
class Planned:
    """What is about to be trained. ``costs`` are by kind of run (:func:`sweeps.cost.kind`); empty: not measured."""

    title: str
    runs: tuple[Run, ...]
    missing: tuple[Run, ...]
    costs: Mapping[Run, Cost]
    width: int | None  # runs at a time, where that is known
    folder: Path


class Watcher(Protocol):
    """Who hears of each run as it ends."""

    def add(self, result: Result, reused: bool) -> None:
        """Take in a result; ``reused``: from an earlier command."""

    def fail(self, run: Run, reason: RunFailure) -> None:
        """Take in that a run raised."""


class Audience:
    """Who is told. This one asks for nothing: a line for each result on stderr, and a run that raises is raised."""

    def plan(self, planned: Planned) -> bool:
        """Hear what is about to be trained; return whether to go on."""
        return True

    def more(self, planned: Planned) -> None:
        """Hear what the results made worth training next, which nobody need confirm."""

    @contextmanager
    def watch(self, everything: Question, store: Store) -> Iterator[Watcher | None]:
        """Follow the runs. None: nobody does but :meth:`add`, and runs that raised end the study."""
        yield None

    def add(self, result: Result, reused: bool) -> None:
        """Say what a run came to."""
        run, kept = result.run, " (kept)" if reused else ""
        line = f"{run.optimizer} λ={run.weight_decay:g} lr={run.lr:g} seed {run.seed}: {result.metric.name} "
        if sys.stderr:
            sys.stderr.write(f"{line}{result.last:.4g}{kept}\n")


@dataclass(frozen=True)
class Later(Audience):
    """Who hears of a study that follows from the results of another, as one that needs no confirmation."""

    first: Audience

    def plan(self, planned: Planned) -> bool:
        """Pass it on, and go on."""
        self.first.more(planned)
        return True

    @contextmanager
    def watch(self, everything: Question, store: Store) -> Iterator[Watcher | None]:
        """Follow the runs as the first did."""
        with self.first.watch(everything, store) as watcher:
            yield watcher

    def add(self, result: Result, reused: bool) -> None:
        """Say what a run came to, as the first did."""
        self.first.add(result, reused)


@dataclass(frozen=True)
class Answered(Generic[Verdicts]):
    """A study that has been conducted: the verdicts, and the runs that raised."""

    verdicts: Verdicts
    failures: Mapping[Run, RunFailure]
    asked: int  # runs


def conduct(study: Study[Verdicts], audience: Audience | None = None) -> Answered[Verdicts] | None:
    """Answer the questions; what was trained before is kept. None, where the audience went no further than the plan.

    Ctrl-C stops the workers, which keep what they have, and is passed on; the same study continues.

    Raises: SettingsError, before anything is trained, for a run that cannot be computed; StoreError and DataError, for
    files; RunError, where runs raised and nobody watches.
    """
    audience, everything = audience or Audience(), together(study.questions)
    runs, store = everything.runs, Store(study.out)
    missing = tuple(run for run in runs if store.result(run) is None)
    width = study.on.width() if study.on is not None else None
    costs: Mapping[Run, Cost] = {}
    go_on = True
    if not study.estimate:  # then nothing heavy is waited for
        go_on = audience.plan(Planned(study.title, runs, missing, costs, width, store.folder))
    check(runs, study.task)
    if study.estimate:
        costs = measured(missing, study)
        go_on = audience.plan(Planned(study.title, runs, missing, costs, width, store.folder))
    if not go_on:
        return None
    results, failures = train(study, everything, store, audience)
    asked = set(runs)
    while new := {name: one for name, one in study.then(results).items() if not asked.issuperset(one.runs)}:
        following = together(new)
        missing = tuple(run for run in following.runs if store.result(run) is None)
        audience.more(Planned(study.title, following.runs, missing, costs, width, store.folder))
        more, failed = train(study, following, store, audience)
        results, failures = [*results, *more], failures | failed
        asked |= set(following.runs)
    verdicts = study.judge(results)
    study.report(verdicts)
    return Answered(verdicts, failures, len(asked))


def check(runs: Sequence[Run], task: Any = None) -> None:
    """Refuse runs that cannot be computed anywhere. Raises: SettingsError, which names the field."""
    from weightdecay.lab.sweeps.ready import check as refuse

    try:
        for run in runs:
            refuse(run, task)
    except SettingsError:
        raise
    except ValueError as error:
        raise SettingsError(str(error)) from error


def measured(missing: Sequence[Run], study: Study[Any]) -> Mapping[Run, Cost]:
    """Measure each kind of run. Raises: SettingsError, for a kind that cannot be computed: before hours of others."""
    from weightdecay.lab.executors import RunFailure, executor
    from weightdecay.lab.sweeps.cost import measure

    costs = {}
    for kind, cost in measure(missing, study.on or executor("local"), study.place, study.task).items():
        if isinstance(cost, RunFailure):
            raise SettingsError(f"{kind.network} on {kind.data} cannot be trained: {cost.message or cost.type}")
        costs[kind] = cost
    return costs


def train(
    study: Study[Any], everything: Question, store: Store, audience: Audience
) -> tuple[list[Result], dict[Run, RunFailure]]:
    """Return the results of all runs, and what those that raised said."""
    from weightdecay.lab.sweeps.sweep import sweep

    failures: dict[Run, RunFailure] = {}
    with audience.watch(everything, store) as watcher:
        if watcher is None:
            return sweep(everything.runs, store, study.on, study.place, study.task, on_result=audience.add), failures

        def failed(run: Run, reason: RunFailure) -> None:
            failures[run] = reason
            watcher.fail(run, reason)

        results = sweep(
            everything.runs, store, study.on, study.place, study.task, on_result=watcher.add, on_failure=failed
        )
    return results, failures
