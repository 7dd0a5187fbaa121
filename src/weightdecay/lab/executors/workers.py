"""The one loop that hands calls to workers: as many as they take, each again when its worker was lost.

What an engine adds is only how a call starts and how it ends.
"""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from traceback import walk_tb
from typing import Any

import cloudpickle

from weightdecay.checks import whole_at_least
from weightdecay.lab.executors.base import Executor, Item, Outcome, RunFailure, Value

GRACE = 10.0
"""Seconds that a call has to finish its step and keep a checkpoint after it was told to stop."""


@dataclass(frozen=True)
class Call:
    """One item on its way: pickled by value, so that what a user defined in ``__main__`` arrives too."""

    index: int
    function: bytes
    item: bytes


@dataclass(frozen=True)
class Lost:
    """The worker of a call died: killed, out of memory, its node gone. Nothing is known against the call itself."""

    reason: str


Answer = bytes | Lost | RunFailure
"""What ``work`` returned; or why it did not: the call may be begun again, or it may not."""


def work(function: bytes, item: bytes) -> bytes:
    """Compute one call, in a worker. Return (value, None) or (None, RunFailure), pickled.

    Exceptions are the call's own, and so is SystemExit, where no signal was its reason. Anything else
    (KeyboardInterrupt, the lab's Stopped) came from outside: it is passed on, and counts as the loss of the worker.
    """
    try:
        return bytes(cloudpickle.dumps((cloudpickle.loads(function)(cloudpickle.loads(item)), None)))
    except (Exception, SystemExit) as error:
        if isinstance(error, SystemExit) and _of_a_signal(error):
            raise
        return bytes(cloudpickle.dumps((None, RunFailure.of(error))))


def _of_a_signal(error: SystemExit) -> bool:
    """Whether a handler of a signal raised it, or it answers an interrupt."""
    handlers = [getattr(signal.getsignal(each), "__code__", None) for each in signal.valid_signals()]
    return isinstance(error.__context__, KeyboardInterrupt) or any(
        frame.f_code in handlers for frame, _ in walk_tb(error.__traceback__)
    )


def work_until_sigterm(function: bytes, item: bytes) -> bytes:
    """Compute one call, in a worker that SIGTERM tells to stop: it reaches the call as a Ctrl-C would.

    A call with a handler of its own, as the lab's loop has, decides itself what it finishes first.
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return work(function, item)
    finally:
        signal.signal(signal.SIGTERM, before)


def work_until_ctrl_c(function: bytes, item: bytes) -> bytes:
    """Compute one call, in a worker that is interrupted, even where a shell in the background began its family.

    Such a shell tells its children to ignore Ctrl-C, and they tell theirs.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return work(function, item)


class Workers(ABC):
    """What computes the calls of one ``map``, while it lasts."""

    @abstractmethod
    def room(self) -> int:
        """Return how many more calls they take now; at least one when they have none."""

    @abstractmethod
    def start(self, calls: Sequence[Call]) -> None:
        """Begin the calls; do not wait for them."""

    @abstractmethod
    def finished(self) -> Iterable[tuple[Call, Answer]]:
        """Wait until a call has ended; return all that have."""

    @abstractmethod
    def close(self) -> None:
        """End the calls that are still going, give them :data:`GRACE` to keep a checkpoint, leave no worker behind."""


class WorkersExecutor(Executor):
    """An executor with workers, which can be lost: ``retries`` says how often a call is begun again because of that.

    A call that raised is not begun again: it would raise again.
    """

    retries: int

    def __post_init__(self) -> None:
        whole_at_least("retries", self.retries, 0, "It is how often a call is begun again; 0: never.")

    @abstractmethod
    def open(self) -> Workers:
        """Return workers, ready."""

    def map(
        self, function: Callable[[Item], Value], items: Sequence[Item]
    ) -> Generator[Outcome[Item, Value], None, None]:
        """Yield exactly one outcome per item, as they finish; see :class:`Executor`.

        Raises: what pickling raises, before anything starts, for a function or an item that cannot travel.
        """
        packed = bytes(cloudpickle.dumps(function))
        return self._outcomes(items, [Call(i, packed, bytes(cloudpickle.dumps(item))) for i, item in enumerate(items)])

    def _outcomes(self, items: Sequence[Item], calls: list[Call]) -> Generator[Outcome[Item, Any], None, None]:
        if not calls:
            return
        waiting, losses = deque(calls), Counter[int]()
        with closing(self.open()) as workers:
            going = _begin(workers, waiting)
            while going:
                ready = []
                for call, answer in workers.finished():
                    going -= 1
                    losses[call.index] += isinstance(answer, Lost)
                    if isinstance(answer, Lost) and losses[call.index] <= self.retries:
                        waiting.append(call)
                    else:
                        ready.append(_outcome(items[call.index], answer, losses[call.index]))
                # Before the caller has its say, so that nobody idles while it writes results.
                going += _begin(workers, waiting)
                yield from ready


def _begin(workers: Workers, waiting: deque[Call]) -> int:
    """Start as many calls as there is room for; return how many."""
    batch = [waiting.popleft() for _ in range(min(workers.room(), len(waiting)))]
    if batch:
        workers.start(batch)
    return len(batch)


def _outcome(item: Item, answer: Answer, losses: int) -> Outcome[Item, Any]:
    if isinstance(answer, Lost):
        return Outcome(item, error=RunFailure("Lost", answer.reason, attempts=losses))
    if isinstance(answer, RunFailure):
        value, error = None, answer
    else:
        try:
            value, error = cloudpickle.loads(answer)
        except Exception as unreadable:
            value, error = None, RunFailure.of(unreadable)
    return Outcome(item, value, replace(error, attempts=error.attempts + losses) if error else None)
