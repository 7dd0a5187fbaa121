"""Many runs on whatever there is. What has finished is in the store, whatever happens to the rest."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from weightdecay.lab.executors import Executor, RunFailure, executor
from weightdecay.lab.place import Place
from weightdecay.lab.run import Result, Run
from weightdecay.lab.store import Store
from weightdecay.lab.task import Task

OnResult = Callable[[Result, bool], None]
OnFailure = Callable[[Run, RunFailure], None]


class RunError(Exception):
    """Runs that raised: the first of them, what it said, and how many others there are."""

    def __init__(self, failures: dict[Run, RunFailure]) -> None:
        run, failure = next(iter(failures.items()))
        said = str(failure).removesuffix(".")
        more = f"; and {len(failures) - 1} more runs stopped" if len(failures) > 1 else ""
        super().__init__(f"{run} stopped: {said}{more}. The others are kept.")
        self.failures = failures


@dataclass(frozen=True)
class Worker:
    """What computes one run, in a worker; it travels there with everything that the run needs."""

    folder: Path
    place: Place
    task: Task | None = None

    def __call__(self, run: Run) -> Result:
        """Train, or go on where an earlier process stopped; a signal ends it after the step, with a checkpoint."""
        from weightdecay.lab.interrupt import on_signals
        from weightdecay.lab.train import train

        with on_signals() as stop:
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
    called here as results come home. Ctrl-C stops the workers, which keep what they have, and is passed on.

    Raises: StoreError, for a damaged file, before anything is trained; RunError, once all the others are done, where
    runs raised and nobody listens with ``on_failure``; their results are then missing.
    """
    finished: dict[Run, Result] = {}
    for run in dict.fromkeys(runs):
        if (result := store.result(run)) is not None:
            finished[run] = result
            if on_result:
                on_result(result, True)
    missing = [run for run in dict.fromkeys(runs) if run not in finished]
    failures: dict[Run, RunFailure] = {}
    worker = Worker(store.folder.resolve(), place or Place(device="auto"), task)
    with contextlib.closing((on or executor("local")).map(worker, missing)) as outcomes:
        for outcome in outcomes:
            if outcome.value is None:
                failures[outcome.item] = outcome.error or RunFailure("Lost", "nothing came back")
                if on_failure:
                    on_failure(outcome.item, failures[outcome.item])
                continue
            finished[outcome.item] = outcome.value
            if store.result(outcome.item) is None:
                store.save(outcome.value)  # from a node with a disk of its own
            if on_result:
                on_result(outcome.value, False)
    if failures and on_failure is None:
        raise RunError(failures)
    return [finished[run] for run in runs if run in finished]
