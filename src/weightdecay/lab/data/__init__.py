"""Data sets by name: each is read once in a process, and cut to a run by what the run asks for.

The names are known without torch; what reads a data set is imported when that is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Protocol

from weightdecay.checks import unknown
from weightdecay.lab.data.base import Batch, Data, DataError, Facts
from weightdecay.lab.run import Place, Run


class Content(Protocol):
    """What a data set is, before a run cuts it."""

    @property
    def digest(self) -> str:
        """What stands for the content where the name does not; else empty."""

    def data(self, run: Run, place: Place) -> Data:
        """Return what a run learns from and is judged on."""


# Data set → the file of this folder that reads it, with a function load(name, place).
DATA: dict[str, str] = {
    "digits": "digits",
    "cifar10": "cifar",
    "cifar100": "cifar",
    "mnist": "mnist",
    "imagenet": "imagenet",
    "ptb": "ptb",
    "pydoc": "pydoc",
    "images:PATH": "classes",
    "text:PATH": "textfile",
}

FIXED = frozenset({"digits", "cifar10", "cifar100", "mnist", "ptb"})
"""Data sets whose content their name fixes: a run keeps no digest of them."""


def names() -> tuple[str, ...]:
    """Return what a run's ``data`` may be; PATH stands for one of your own."""
    return tuple(DATA)


def load(run: Run, place: Place) -> Data:
    """Return the data set that the run names, cut to the run and the place.

    Raises: ValueError, for an unknown name (with the nearest) or a cut that cannot be made; DataError, for files that
    are missing or damaged, or no longer what they were when the run was made.
    """
    content = _content(run.data, place)
    if run.data_digest and run.data_digest != content.digest:
        raise DataError(
            f"the data has changed since this run was made: the digest of {run.data!r} was {run.data_digest} and is "
            f"{content.digest or 'none'}. Bring the old data back, or make a new run for the new data."
        )
    return content.data(run, place)


def find(name: str) -> str:
    """Return the row of :data:`DATA` that a run's ``data`` means. Raises: ValueError, with the nearest name."""
    kind, colon, path = name.partition(":")
    key = f"{kind}:PATH" if colon else name
    if key not in DATA or (colon and not path):
        raise ValueError(unknown("data set", name, DATA))
    return key


def digest(name: str, place: Place) -> str:
    """Return what to put into ``Run.data_digest``: empty for data that its name fixes. Raises as :func:`load`."""
    return _content(name, place).digest


def _content(name: str, place: Place) -> Content:
    key = find(name)
    path = name.partition(":")[2]
    return _read(key, name, place.data_folder, place.download, _stamp(place.find(path)) if path else ())


@lru_cache(maxsize=4)
def _read(key: str, name: str, data_folder: Path, download: bool, stamp: tuple[object, ...]) -> Content:
    read: Callable[[str, Place], Content] = import_module(f"{__name__}.{DATA[key]}").load
    return read(name, Place(data=data_folder, download=download))


def _stamp(path: Path) -> tuple[object, ...]:
    """When a file, or a folder and those in it two levels deep, last changed: whether to read it again."""
    if not path.is_dir():
        return (path.stat().st_mtime_ns, path.stat().st_size) if path.is_file() else ()
    inside = [path, *path.iterdir()]
    inside += [
        Path(entry) for folder in inside[1:] if folder.is_dir() for entry in os.scandir(folder) if entry.is_dir()
    ]
    return tuple((str(entry), entry.stat().st_mtime_ns) for entry in sorted(inside) if entry.exists())


__all__ = ["DATA", "FIXED", "Batch", "Data", "DataError", "Facts", "digest", "find", "load", "names"]
