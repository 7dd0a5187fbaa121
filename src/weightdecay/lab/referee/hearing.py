"""From a question to a ruling: round by round, each with the runs that what is known makes worth training.

Everything is kept: the same command goes on where it was, and after the last round trains nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from weightdecay.lab.referee.answer import Answer, answered
from weightdecay.lab.referee.arm import Arm
from weightdecay.lab.referee.carried import TIMES, changes, variants
from weightdecay.lab.referee.ladder import AT_MOST, JUDGING, TUNING, Ladder
from weightdecay.lab.referee.task import Task
from weightdecay.lab.run import Place, Result, Run
from weightdecay.lab.run.store import Store
from weightdecay.lab.study.conduct import Audience, Later, Study, conduct
from weightdecay.lab.study.question import Point, Question

if TYPE_CHECKING:
    from weightdecay.lab.executors import Executor

HOUR = 3600.0


@dataclass(frozen=True)
class Case:
    """What is asked of the referee."""

    tasks: tuple[Task, ...]
    arms: tuple[Arm, ...]
    out: Path
    command: str
    seeds: int = 8
    margin: float = 1.0
    hours: float = math.inf  # of computing, for what is trained now
    on: Executor | None = None
    place: Place = field(default_factory=lambda: Place(device="auto"))
    known: Sequence[Result] = ()
    carry: bool = False

    @property
    def most(self) -> int:
        """The runs of all rounds, at most."""
        each = len(TIMES) * len(TUNING) if self.carry else 0  # of a change
        return len(self.arms) * sum(AT_MOST + self.seeds + each * len(changes(task)) for task in self.tasks)


@dataclass(frozen=True)
class Heard:
    """The answers, by task; ``left_out``: runs that the next round wants, and that the hours did not allow."""

    answers: tuple[Answer, ...]
    results: tuple[Result, ...]
    left_out: int = 0


class Book:
    """What is known of runs: from the folder, from tables, and those that raised."""

    def __init__(self, store: Store | None, known: Iterable[Result]) -> None:
        self.store = store
        self.results = {result.run.address: result for result in known}
        self.failed: set[str] = set()

    def result(self, run: Run) -> Result | None:
        """Return what came of a run."""
        if run.address not in self.results and self.store and (found := self.store.result(run)) is not None:
            self.results[run.address] = found
        return self.results.get(run.address)

    def score(self, task: Task, run: Run) -> float | None:
        """Return the error that chooses, on the validation set at the last epoch; infinite where it diverged."""
        return self._number(run, task.validated)

    def test(self, task: Task, run: Run) -> float:
        """Return the error that judges, on the test set at the last epoch; infinite where it diverged."""
        number = self._number(run, task.tested)
        assert number is not None
        return number

    def gain(self, run: Run) -> float | None:
        """Return the gain after the first epoch; None where there is none."""
        result = self.result(run)
        return result.gain(0) if result is not None else None

    def seconds(self, task: Task) -> list[float]:
        """Return what each known run of a task took, with those that have another batch or width."""
        of = (task, *variants(task))
        return [one.seconds for one in self.results.values() if any(each.has(one.run) for each in of)]

    def _number(self, run: Run, of: Callable[[Result], float | None]) -> float | None:
        if run.address in self.failed:
            return math.inf
        if (result := self.result(run)) is None:
            return None
        value = of(result)
        return math.inf if result.status == "diverged" or value is None else value


def hear(case: Case, audience: Audience | None = None) -> Heard | None:
    """Train round by round until every arm is judged, or the hours are over. None: no further than the plan."""
    audience = audience or Audience()
    book = Book(Store(case.out), case.known)
    ladders = ladders_of(case, book)
    spent, rounds, left_out = 0.0, 0, 0
    while wanted := _wanted(ladders):
        costs = {task.name: book.seconds(task) for task in case.tasks}
        taken = _within(wanted, case.hours * HOUR - spent, costs)
        left_out = len(wanted) - len(taken)
        if not taken:
            break
        rounds += 1
        study = _study(case, taken, rounds)
        answer = conduct(study, audience if rounds == 1 else Later(audience))
        if answer is None:
            return None
        book.failed |= {run.address for run in answer.failures}
        for result in answer.verdicts:
            book.results[result.run.address] = result
            spent += result.seconds
    answers = tuple(ruled_on(task, ladders[task.name], case, book) for task in case.tasks)
    return Heard(answers, tuple(book.results.values()), left_out if wanted else 0)


def ladders_of(case: Case, book: Book) -> dict[str, list[Ladder]]:
    """Return every arm on every task, by the task's name."""
    seeds = tuple(range(JUDGING, JUDGING + case.seeds))
    return {
        task.name: [Ladder(arm, task, partial(book.score, task), book.gain, seeds, case.carry) for arm in case.arms]
        for task in case.tasks
    }


def ruled_on(task: Task, ladders: Sequence[Ladder], case: Case, book: Book) -> Answer:
    """Return what is known of a task."""
    return answered(task, ladders, partial(book.test, task), case.margin, math.fsum(book.seconds(task)))


def _wanted(ladders: Mapping[str, Sequence[Ladder]]) -> dict[Run, str]:
    """Return the runs that the next round wants: all arms with the first seed, then all with the second."""
    found = {run: name for name, own in ladders.items() for ladder in own for run in ladder.asked()[1]}
    return dict(sorted(found.items(), key=lambda pair: pair[0].seed))


def _within(wanted: Mapping[Run, str], seconds: float, costs: Mapping[str, Sequence[float]]) -> dict[Run, str]:
    """Return the first of the runs that fit into the time, where a run takes what those of its task took.

    Of a task without any, its first run alone, to see.
    """
    if math.isinf(seconds):
        return dict(wanted)
    taken: dict[Run, str] = {}
    for run, task in wanted.items():
        if not costs[task] and task in taken.values():
            continue
        seconds -= fmean(costs[task]) if costs[task] else 0.0
        if seconds <= 0:
            break
        taken[run] = task
    return taken


def _study(case: Case, taken: Mapping[Run, str], rounds: int) -> Study[Sequence[Result]]:
    questions = {}
    words = {task.name: task.words for task in case.tasks}
    for task in dict.fromkeys(taken.values()):
        points: dict[Point, list[Run]] = {}
        for run in (run for run, of in taken.items() if of == task):
            decay = str(dict(run.optimizer_options).get("decay", ""))
            points.setdefault(Point(run.optimizer, run.lr, run.weight_decay, decay), []).append(run)
        questions[task] = Question(
            {point: tuple(runs) for point, runs in points.items()}, words[task], case.command, name="referee"
        )
    return Study(
        title=f"referee, round {rounds}",
        questions=questions,
        out=case.out,
        judge=lambda results: results,
        report=lambda results: None,
        on=case.on,
        place=case.place,
        estimate=rounds == 1,
    )


def named(tasks: Sequence[Task], place: Place) -> tuple[Task, ...]:
    """Return the tasks with the digest of their data. Raises: SettingsError, DataError, for data that are not there."""
    from weightdecay.lab.sweeps.ready import with_content

    bases = [task.base(optimizer="sgd", lr=0.1, weight_decay=0.0, seed=0) for task in tasks]
    trained = with_content(bases, place)
    return tuple(replace(task, digest=trained[base].data_digest) for task, base in zip(tasks, bases, strict=True))
