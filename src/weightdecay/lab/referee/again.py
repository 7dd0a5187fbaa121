"""The rulings again, from a table of runs: without the data, and without training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from weightdecay.lab.referee.answer import REFERENCE
from weightdecay.lab.referee.arm import FROZEN, NONE, OVER_TIME, Arm, arms
from weightdecay.lab.referee.hearing import Book, Case, Heard, ladders_of, ruled_on
from weightdecay.lab.referee.ladder import JUDGING
from weightdecay.lab.referee.task import OF_THE_ARM, TASKS, Task
from weightdecay.lab.run import Result, Run
from weightdecay.lab.run.methods import METHODS, method

OF_THE_DATA = ("data", "data_digest")


def heard_again(rows: Sequence[Result], out: Path, command: str) -> tuple[Heard, Case] | None:
    """Return what the rows of a table say of the tasks that have a name; None where no arm of any is judged.

    Tasks, arms and judging seeds are those of which the table has runs; arms of which not all are there wait.
    """
    tasks = _tasks([row.run for row in rows])
    if not tasks:
        return None
    judging = {row.run.seed for row in rows if row.run.seed >= JUDGING}
    case = Case(tasks, _arms(row.run for row in rows), out, command, seeds=len(judging), known=rows)
    book = Book(None, rows)
    ladders = ladders_of(case, book)
    begun = {name: [one for one in own if one.begun()] for name, own in ladders.items()}
    answers = tuple(ruled_on(task, begun[task.name], case, book) for task in tasks)
    if not any(answer.standings for answer in answers):
        return None
    return Heard(answers, tuple(rows)), case


def _tasks(runs: Sequence[Run]) -> tuple[Task, ...]:
    """Return the tasks of which there are runs, with the data that these read."""
    found: dict[tuple[str, str, str], Task] = {}
    known = {_common(task.base(optimizer="sgd", lr=0.1, weight_decay=0.0, seed=0)): task for task in TASKS.values()}
    for run in runs:
        task = known.get(_common(run))
        if task is not None:
            read = replace(task, run={**task.run, "data": run.data}, digest=run.data_digest)
            found.setdefault((task.name, run.data, run.data_digest), read)
    return tuple(sorted(found.values(), key=lambda task: list(TASKS).index(task.name)))


def _common(run: Run) -> str:
    """Return what runs of one task share, whatever the name and the content of the data."""
    starts = [replace(one, seed=0, data="", data_digest="", start=None).address for one in run.line()[1:]]
    values = {**asdict(run), "start": starts}
    return str({name: value for name, value in values.items() if name not in (*OF_THE_ARM, *OF_THE_DATA)})


def _arms(runs: Iterable[Run]) -> tuple[Arm, ...]:
    """Return every optimizer with every decay that the runs have."""
    decays: dict[str, dict[str, None]] = {}
    for run in runs:
        row = method(run.optimizer)
        decays.setdefault(row.base, {}).update(dict.fromkeys(_decays(run)))
    return tuple(arm for base, own in decays.items() for arm in arms((base,), own))


def _decays(run: Run) -> Iterator[str]:
    """Yield the words of the decays that a run may be of."""
    given = dict(run.optimizer_options).get("decay")
    shape = OVER_TIME + run.weight_decay_schedule if run.weight_decay_schedule else ""
    if run.frozen:
        yield FROZEN
    elif not run.weight_decay:
        yield NONE
    elif given:
        yield str(given) + shape
    else:
        yield (METHODS[run.optimizer].decay if run.optimizer in METHODS else REFERENCE) + shape
