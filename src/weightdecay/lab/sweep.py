"""Many runs on the cores of this machine. What has finished is in the store, whatever happens to the rest."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence

from weightdecay.lab.run import Result, Run
from weightdecay.lab.store import Store, StoreError

OnResult = Callable[[Result, bool], None]


class RunError(Exception):
    """A run that raised: which one, and what it said."""


def sweep(
    runs: Sequence[Run], store: Store, jobs: int | None = None, on_result: OnResult | None = None
) -> list[Result]:
    """Return the results of the runs, in their order; train those the store does not have, each once.

    ``jobs`` runs go side by side (None: one a usable core; 1: in this process), each on one torch thread, because two
    runs of two threads on two cores are several times slower than two of one. ``on_result(result, reused)`` is
    called here as results come. Ctrl-C stops the workers and is passed on.

    Raises: StoreError, for a damaged file, before anything is trained; RunError, for a run that raised.
    """
    finished: dict[Run, Result] = {}
    for run in dict.fromkeys(runs):
        if (result := store.result(run)) is not None:
            finished[run] = result
            if on_result:
                on_result(result, True)
    missing = [run for run in dict.fromkeys(runs) if run not in finished]
    with _trained(missing, store, min(jobs or usable_cores(), max(len(missing), 1))) as results:
        for result in results:
            finished[result.run] = result
            if on_result:
                on_result(result, False)
    return [finished[run] for run in runs]


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _trained(runs: Sequence[Run], store: Store, jobs: int) -> Iterator[Iterator[Result]]:
    """Yield results as they finish; leave no worker behind."""
    if jobs == 1:
        yield (_one(run, str(store.folder)) for run in runs)
        return
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor

    try:
        parallel = Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1, pre_dispatch=jobs)
        yield parallel(delayed(_one)(run, str(store.folder)) for run in runs)
    except BaseException:
        get_reusable_executor().shutdown(wait=False, kill_workers=True)
        raise


def _one(run: Run, folder: str) -> Result:
    """Train one run on one thread. In a worker; everything that is imported here is imported there."""
    import torch

    from weightdecay.lab.train import train

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return train(run, Store(folder))
    except (StoreError, KeyboardInterrupt):
        raise
    except Exception as error:
        raise RunError(f"{run} stopped: {type(error).__name__}: {error}") from error
    finally:
        torch.set_num_threads(threads)
