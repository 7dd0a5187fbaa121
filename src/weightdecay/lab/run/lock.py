"""One process at a time, for as long as it lives: the kernel takes the lock back whatever the holder dies of."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path


class Busy(Exception):  # noqa: N818 - what it says of the run, not that something went wrong
    """Another process is at it: one line that says who and what to do."""


_held: set[int] = set()


def _let_go() -> None:
    """In a child: a copy of the descriptor would hold the lock after its owner was killed."""
    for descriptor in _held:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)


@contextlib.contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold the lock; the file stays where it is, and says who held it last.

    Raises: Busy, where somebody else holds it; OSError, where the file cannot be written.
    """
    with _opened(path) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
            raise Busy(f"{what} is being trained by {holder}. Wait for it, or stop it first.") from None
        _sign(descriptor)
        yield


@contextlib.contextmanager
def awaited(path: Path) -> Iterator[None]:
    """Hold the lock as :func:`locked` does, after waiting for whoever holds it. Raises: OSError, as there."""
    with _opened(path) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        _sign(descriptor)
        yield


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Open the file; the lock goes with its descriptor, of which no child keeps a copy."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    _held.add(descriptor)
    try:
        yield descriptor
    finally:
        _held.discard(descriptor)
        os.close(descriptor)


def _sign(descriptor: int) -> None:
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
