"""Exit statuses, and the one line that a person gets when something does not go on."""

from __future__ import annotations

import contextlib
import os
import sys

DONE, FAILED, MISUSED, STOPPED, UNHEARD = 0, 1, 2, 130, 141
"""Exit statuses: finished; the store, the disk, the data or a missing package; bad arguments; Ctrl-C (SIGTERM: 143);
the reader of a pipe has left, as SIGPIPE would end it."""


def open_missing() -> None:
    """Open to nowhere the streams that were closed before the program began, for it and its workers.

    Else the next file that is opened, a result maybe, would take their numbers, and what a library prints.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(descriptor, True)
            setattr(sys, name, os.fdopen(descriptor, mode))


def turn_away() -> None:
    """Turn the streams that take nothing more to nowhere: Python flushes them at its end, and would complain."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with contextlib.suppress(OSError), open(os.devnull, "w") as nowhere:  # a stream of a test has no number
                os.dup2(nowhere.fileno(), stream.fileno())


def modules_from_here() -> None:
    """Let the modules in the working directory be found, as ``python -m`` does: a command has only its own folder.

    Worker processes of this machine inherit the path.
    """
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def say(text: str) -> None:
    """Write a line on stdout, at once: who reads along through a pipe shall see it too."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def status_of(stopped: KeyboardInterrupt) -> int:
    """Return the exit status of a program that was stopped: by Ctrl-C, or by the signal that Stopped names."""
    return int(getattr(stopped, "status", STOPPED))


def fail(text: str, status: int, label: str = "error: ") -> int:
    """Write one line on stderr and return the exit status. Of the processes of torchrun only the first one writes."""
    if os.environ.get("RANK", "0") == "0":
        sys.stderr.write(label + " ".join(text.split()) + "\n")
    return status
