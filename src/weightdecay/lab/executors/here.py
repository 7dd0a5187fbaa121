"""In this process, one after the other: for a debugger, and for sweeps too small to start a worker for."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from weightdecay.lab.executors.base import Executor, Item, Outcome, RunFailure, Value


@dataclass(frozen=True)
class Here(Executor):
    """One after the other, in this process, on one torch thread as everywhere else: the last bits depend on threads.

    Nothing is pickled, nothing is retried. Ctrl-C and whatever else is not an Exception ends the map.
    """

    def width(self) -> int:
        """One."""
        return 1

    def map(
        self, function: Callable[[Item], Value], items: Sequence[Item]
    ) -> Generator[Outcome[Item, Value], None, None]:
        """Yield the outcomes, in the order of the items."""
        for item in items:
            yield _call(function, item)


def _call(function: Callable[[Item], Value], item: Item) -> Outcome[Item, Value]:
    with _one_thread():
        try:
            return Outcome(item, function(item))
        except Exception as error:
            return Outcome(item, error=RunFailure.of(error))


@contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
