"""Ctrl-C and SIGTERM: finish the step, keep a checkpoint, leave with the signal's own exit status."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

SAME_WISH = 1.0
"""Seconds within which a second signal is the same wish: a scheduler signals all, and torchrun passes it on."""


class Stopped(KeyboardInterrupt):
    """Training stopped because somebody asked; what was trained is kept. ``status`` is the exit status."""

    def __init__(self, by: int) -> None:
        super().__init__(by)
        self.by = by

    def __str__(self) -> str:
        return f"{self.name}; what was trained is kept, and the same call continues"

    @property
    def status(self) -> int:
        """128 + the signal's number, as a shell reports it: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.by

    @property
    def name(self) -> str:
        """What a person calls the signal."""
        return "Ctrl-C" if self.by == signal.SIGINT else signal.Signals(self.by).name


class Stop:
    """The wish to stop: false until a signal has come."""

    def __init__(self) -> None:
        self.by: int | None = None
        self.since = 0.0

    def __bool__(self) -> bool:
        return self.by is not None

    @property
    def stopped(self) -> Stopped:
        """What to raise once everything is kept."""
        return Stopped(self.by or signal.SIGTERM)


@contextlib.contextmanager
def sigterm_raises() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does, to a program that only waits for others: raise, here Stopped."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, before)  # a second one acts at once
        raise Stopped(number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def on_signals() -> Iterator[Stop]:
    """Note SIGINT and SIGTERM instead of dying of them; a second one, later, acts as if nobody had listened.

    Outside the main thread, where no signal can be caught, the wish stays false.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if stop.by is None:
            stop.by, stop.since = number, now
        elif now - stop.since > SAME_WISH:
            for each, handler in before.items():
                signal.signal(each, handler)
            signal.raise_signal(number)

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, note)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
