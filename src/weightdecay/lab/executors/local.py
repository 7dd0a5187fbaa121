"""The cores of this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass

from weightdecay.checks import whole_at_least
from weightdecay.lab.executors.pools import Pools
from weightdecay.lab.executors.workers import Workers, WorkersExecutor


@dataclass(frozen=True)
class Local(WorkersExecutor):
    """``jobs`` worker processes of one thread each (None: one per available core)."""

    jobs: int | None = None
    retries: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.jobs is not None:
            whole_at_least("jobs", self.jobs, 1, "Omit it to use one worker per available core.")

    def width(self) -> int:
        """As many as there are workers."""
        return self.jobs or usable_cores()

    def open(self) -> Workers:
        """Return the pools."""
        return Pools([{}] * self.width())


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
