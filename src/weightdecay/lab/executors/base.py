"""A list of independent calls, computed by whatever there is: this process, its cores, its GPUs, a cluster."""

from __future__ import annotations

import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")


class EngineError(RuntimeError):
    """The engine is not there, or does not let us in: nothing was begun. The message says what to do."""


@dataclass(frozen=True)
class RunFailure:
    """Why a call has no value: the exception it raised, or how its worker was lost, every time."""

    type: str  # "ValueError"; "Lost": the worker died
    message: str
    traceback: str = ""
    attempts: int = 1  # how often the call was begun

    def __str__(self) -> str:
        times = f" ({self.attempts} attempts)" if self.attempts > 1 else ""
        return f"{self.type}: {self.message}{times}"

    @classmethod
    def of(cls, error: BaseException) -> RunFailure:
        """Return what of an exception can travel."""
        return cls(type(error).__name__, str(error), "".join(traceback.format_exception(error)))


@dataclass(frozen=True)
class Outcome(Generic[Item, Value]):
    """What became of one item: ``value``, or ``error`` if that is not None."""

    item: Item
    value: Value | None = None
    error: RunFailure | None = None


class Executor(ABC):
    """Where calls are computed. A subclass is a frozen dataclass of settings."""

    def width(self) -> int | None:
        """Return how many calls are computed at the same time; None where that is for others to decide."""
        return None

    @abstractmethod
    def map(
        self, function: Callable[[Item], Value], items: Sequence[Item]
    ) -> Generator[Outcome[Item, Value], None, None]:
        """Yield exactly one outcome per item, as they finish, in any order.

        A call that raises is an outcome; the others go on. Ctrl-C, an exception in the loop over the iterator, and
        closing the iterator end every call and every worker. Where the iterator is kept in a variable, close it:
        ``with contextlib.closing(executor.map(...)) as outcomes``.
        """
