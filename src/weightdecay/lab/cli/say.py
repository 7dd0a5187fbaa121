"""Exit statuses, and the one line that a person gets when something does not go on."""

from __future__ import annotations

import os
import sys

DONE, FAILED, MISUSED, STOPPED = 0, 1, 2, 130
"""Exit statuses: finished; the store, the disk, the data or a missing package; bad arguments; Ctrl-C (SIGTERM: 143)."""


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
