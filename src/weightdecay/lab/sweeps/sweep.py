"""Many runs on whatever there is. What has finished is in the store, whatever happens to the rest."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from weightdecay.lab.executors import Executor, Outcome, RunFailure, executor
from weightdecay.lab.run import Place, Result, Run
from weightdecay.lab.run.lock import Busy
from weightdecay.lab.run.store import Store

if TYPE_CHECKING:
    from weightdecay.lab.training.task import Task

LOOK_SECONDS = 1.0
"""Between two looks at a run that another process holds."""

OnResult = Callable[[Result, bool], None]
OnFailure = Callable[[Run, RunFailure], None]


class RunError(Exception):
    """Runs that raised: the first of them, what it said, and how many others there are; its traceback is a note."""

    def __init__(self, failures: dict[Run, RunFailure]) -> None:
        run, failure = next(iter(failures.items()))
        said = str(failure).removesuffix(".")
        more = f"; and {len(failures) - 1} more runs stopped" if len(failures) > 1 else ""
        super().__init__(f"{run} stopped: {said}{more}. The others are kept.")
        if failure.traceback:
            self.add_note(f"It was stopped by this:\n{failure.traceback}")
        self.failures = failures


@dataclass(frozen=True)
class Worker:
    """What computes one run, in a worker; it travels there with everything that the run needs."""

    folder: Path
    place: Place
    task: Task | None = None

    def __call__(self, run: Run) -> Result:
        """Train, or go on where an earlier process stopped; a signal ends it after the step, with a checkpoint."""
        from weightdecay.lab.run.interrupt import on_signals
        from weightdecay.lab.training.train import train
        from weightdecay.optim.alarm import StrongPullWarning

        with on_signals() as stop, warnings.catch_warnings():
            # The λ of a question reach from too small to too large on purpose, and the errors say which are which.
            warnings.simplefilter("ignore", StrongPullWarning)
            return train(run, Store(self.folder), self.place, self.task, stop)


def sweep(
    runs: Sequence[Run],
    store: Store,
    on: Executor | None = None,
    place: Place | None = None,
    task: Task | None = None,
    on_result: OnResult | None = None,
    on_failure: OnFailure | None = None,
) -> list[Result]:
    """Return the results of the runs, in their order; train those the store does not have, each once.

    ``on`` is an executor (None: one process a usable core, each on one torch thread). ``on_result(result, reused)`` is
    called here as results come home. A run that another process holds is waited for, after all others: its result is
    read, or, where that process stopped, it is trained here. Ctrl-C stops the workers, which keep what they have, and
    is passed on.

    Raises: TypeError, where ``on`` is a text; StoreError, for a damaged file, before anything is trained; RunError,
    once all the others are done, where runs raised and nobody listens with ``on_failure``; their results are then
    missing.
    """
    if isinstance(on, str):
        raise TypeError(f"on={on!r} is a text, not an executor. Use on=executor({on!r}), of weightdecay.lab.executors.")
    worker = Worker(store.folder.resolve(), place or Place(device="auto"), task)
    known = _Known(store, on_result, on_failure)
    known.read(dict.fromkeys(runs))
    missing = [run for run in dict.fromkeys(runs) if run not in known.finished]
    while missing:
        with contextlib.closing((on or executor("local")).map(worker, missing)) as outcomes:
            for outcome in outcomes:
                known.take(outcome)
        missing = known.freed()
    if known.failures and on_failure is None:
        raise RunError(known.failures)
    return [known.finished[run] for run in runs if run in known.finished]


@dataclass
class _Known:
    """What has become of the runs so far."""

    store: Store
    on_result: OnResult | None
    on_failure: OnFailure | None
    finished: dict[Run, Result] = field(default_factory=dict)
    failures: dict[Run, RunFailure] = field(default_factory=dict)
    held: dict[Run, RunFailure] = field(default_factory=dict)  # by another process
    told: bool = False

    def read(self, runs: Iterable[Run]) -> None:
        """Take in the results that are there."""
        for run in list(runs):
            if (result := self.store.result(run)) is not None:
                self._finish(result, reused=True)

    def take(self, outcome: Outcome[Run, Result]) -> None:
        """Take in what a worker says of a run."""
        run, result = outcome.item, outcome.value
        failure = outcome.error or RunFailure("Lost", "nothing came back")
        if result is not None:
            if self.store.result(run) is None:
                self.store.save(result)  # from a node with a disk of its own
            self._finish(result, reused=False)
        elif failure.type == Busy.__name__ and run.address in failure.message:  # the lock's, and not the user's own
            self.held[run] = failure
        else:
            self.held.pop(run, None)
            self.failures[run] = failure
            if self.on_failure:
                self.on_failure(run, failure)

    def _finish(self, result: Result, reused: bool) -> None:
        self.held.pop(result.run, None)
        self.finished[result.run] = result
        if self.on_result:
            self.on_result(result, reused)

    def freed(self) -> list[Run]:
        """Wait until runs that others held can be begun here, and return them; take in results that appear."""
        self._tell()
        while self.held:
            time.sleep(LOOK_SECONDS)
            self.read(self.held)
            if free := [run for run in self.held if self._is_free(run)]:
                return free
        return []

    def _tell(self) -> None:
        """Say once that there is something to wait for."""
        if self.held and not self.told:
            self.told = True
            first = next(iter(self.held.values())).message.partition(". ")[0]
            said = (
                f"Another process is training {len(self.held)} of the runs: {first}. "
                "Waiting for them; Ctrl-C stops the wait."
            )
            warnings.warn(said, stacklevel=4)

    def _is_free(self, run: Run) -> bool:
        try:
            with self.store.open(run):
                return True
        except Busy:
            return False
