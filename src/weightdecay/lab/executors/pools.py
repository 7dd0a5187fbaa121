"""Worker processes on this machine, one a slot, each with an environment of its own: cores and GPUs are both slots.

Every slot is a loky pool of one process. Of one pool of many, a death takes all the calls along and nobody can tell
whose fault it was; of pools of one, exactly the call that died is begun again. loky (joblib's) because it starts
processes with an environment that is there before anything is imported (threads, the visible card), does not import the
user's ``__main__`` again, and kills a worker with its children.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from weightdecay.lab.executors.workers import GRACE, Answer, Call, Lost, Workers, work_until_sigterm

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Two runs of two threads on two cores are several times slower than two of one."""


@dataclass
class Slot:
    """A place for one worker."""

    environment: Mapping[str, str]
    pool: Any = None
    call: Call | None = None
    future: Future[bytes] | None = None


class Pools(Workers):
    """One worker process a slot, started when the slot is first used."""

    def __init__(self, environments: Sequence[Mapping[str, str]]) -> None:
        self.slots = [Slot({**ONE_THREAD, **environment}) for environment in environments]
        # A worker that has grown a lot retires after its call and another takes its place: nothing to tell the user.
        warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)

    def room(self) -> int:
        """One call a slot."""
        return sum(slot.call is None for slot in self.slots)

    def start(self, calls: Sequence[Call]) -> None:
        """Give each call to a free slot."""
        for slot, call in zip([slot for slot in self.slots if slot.call is None], calls, strict=False):
            slot.call = call  # first: a Ctrl-C right here must find the slot busy
            slot.future = _submit(slot, call)

    def finished(self) -> list[tuple[Call, Answer]]:
        """Wait for the first; a slot whose worker died gets another with its next call."""
        done, _ = wait(_futures(self.slots), return_when=FIRST_COMPLETED)
        return [self._ended(slot) for slot in self.slots if slot.future in done]

    def _ended(self, slot: Slot) -> tuple[Call, Answer]:
        assert slot.call
        assert slot.future
        call, error = slot.call, slot.future.exception()
        answer: Answer = slot.future.result() if error is None else Lost(_reason(error))
        slot.call = slot.future = None
        if isinstance(error, BrokenProcessPool):
            _discard(slot)
        return call, answer

    def close(self) -> None:
        """SIGTERM to the busy workers, time to keep a checkpoint, then SIGKILL; a second Ctrl-C shortens it."""
        busy = [slot for slot in self.slots if slot.call]
        try:
            for slot in busy:
                for process in list(slot.pool._processes.values()) if slot.pool else []:
                    process.terminate()
            wait(_futures(busy), timeout=GRACE)
        finally:
            opened = [slot.pool for slot in self.slots if slot.pool]
            for slot in self.slots:
                slot.pool = slot.call = slot.future = None
            with ThreadPoolExecutor(len(opened) or 1) as together:  # each waits for its worker to be gone
                list(together.map(lambda pool: pool.shutdown(wait=True, kill_workers=bool(busy)), opened))


def _submit(slot: Slot, call: Call) -> Future[bytes]:
    if slot.pool and not _alive(slot.pool):
        _discard(slot)
    try:
        slot.pool = slot.pool or _pool(slot.environment)
        future: Future[bytes] = slot.pool.submit(work_until_sigterm, call.function, call.item)
    except BrokenProcessPool:  # it died just now
        return _submit(slot, call)
    return future


def _alive(pool: Any) -> bool:
    """Whether a pool still has its worker, which may have died after its call."""
    workers = list(pool._processes.values())  # loky has no public name for them
    return bool(workers) and all(worker.is_alive() for worker in workers)


def _discard(slot: Slot) -> None:
    slot.pool.shutdown(wait=True, kill_workers=True)
    slot.pool = None


def _futures(slots: Sequence[Slot]) -> list[Future[bytes]]:
    return [slot.future for slot in slots if slot.future]


def _reason(error: BaseException) -> str:
    if not isinstance(error, BrokenProcessPool):
        return f"the worker was stopped from outside ({type(error).__name__})"
    codes = re.search(r"exit codes.*(\{.*\})", str(error))
    return f"the worker died{' of ' + codes[1].strip('{}') if codes else ''}"


def _pool(environment: Mapping[str, str]) -> Any:
    from joblib.externals.loky import ProcessPoolExecutor
    from joblib.externals.loky.backend import get_context

    return ProcessPoolExecutor(
        1,
        context=get_context("loky"),
        env=dict(environment),
        initializer=_settle,
        initargs=(os.getpid(), multiprocessing.get_start_method(allow_none=True)),
    )


def _settle(driver: int, start_method: str | None) -> None:
    """In a new worker: leave Ctrl-C to the driver, which passes it on; leave with the driver, should it be killed.

    Processes that a call starts (a DataLoader's) start as the driver's own do: loky leaves its method as the default,
    and that serves its own workers only.
    """
    multiprocessing.set_start_method(start_method, force=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def follow() -> None:
        while os.getppid() == driver:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)  # at once the end of a worker that has nothing to do
        until = time.monotonic() + GRACE
        while signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL and time.monotonic() < until:
            time.sleep(0.1)  # the call goes on
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
