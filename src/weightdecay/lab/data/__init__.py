"""Data sets by name: each is read once in a process, and cut to a run by what the run asks for."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from weightdecay.checks import unknown
from weightdecay.lab.data import cifar, digits, mnist, ptb, pydoc, textfile
from weightdecay.lab.data.base import Batch, Data, DataError, Facts
from weightdecay.lab.data.folder import scan
from weightdecay.lab.run import Place, Run


class Content(Protocol):
    """What a data set is, before a run cuts it."""

    @property
    def digest(self) -> str:
        """What stands for the content where the name does not; else empty."""

    def data(self, run: Run, place: Place) -> Data:
        """Return what a run learns from and is judged on."""


def by_class(name: str, place: Place) -> Content:
    """Return a folder of images by class, ``images:PATH``: held in memory if they are small and of one size."""
    from weightdecay.lab.data import held, stream

    found = scan(place.find(name.removeprefix("images:")))
    if held.small(found):
        try:
            return held.load(found, place)
        except held.UnevenError:
            pass  # the first images of the classes were alike, and a later one is not
    return stream.Photos(found)


def imagenet(name: str, place: Place) -> Content:
    """Return ImageNet's ``train/`` and ``val/`` in ``imagenet/`` of the folder of the data sets."""
    from weightdecay.lab.data import stream

    return stream.Photos(scan(place.data_folder / "imagenet", tests=("val",)), stream.IMAGENET)


DATA: dict[str, Callable[[str, Place], Content]] = {
    "digits": digits.load,
    "cifar10": cifar.load,
    "cifar100": cifar.load,
    "mnist": mnist.load,
    "imagenet": imagenet,
    "ptb": ptb.load,
    "pydoc": pydoc.load,
    "images:PATH": by_class,
    "text:PATH": textfile.load,
}


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


def digest(name: str, place: Place) -> str:
    """Return what to put into ``Run.data_digest``: empty for data that its name fixes. Raises as :func:`load`."""
    return _content(name, place).digest


def _content(name: str, place: Place) -> Content:
    kind, colon, path = name.partition(":")
    key = f"{kind}:PATH" if colon else name
    if key not in DATA or (colon and not path):
        raise ValueError(unknown("data set", name, DATA))
    return _read(key, name, place.data_folder, place.download, _stamp(place.find(path)) if colon else ())


@lru_cache(maxsize=4)
def _read(key: str, name: str, data_folder: Path, download: bool, stamp: tuple[object, ...]) -> Content:
    return DATA[key](name, Place(data=data_folder, download=download))


def _stamp(path: Path) -> tuple[object, ...]:
    """When a file, or a folder and those in it two levels deep, last changed: whether to read it again."""
    if not path.is_dir():
        return (path.stat().st_mtime_ns, path.stat().st_size) if path.is_file() else ()
    inside = [path, *path.iterdir()]
    inside += [
        Path(entry) for folder in inside[1:] if folder.is_dir() for entry in os.scandir(folder) if entry.is_dir()
    ]
    return tuple((str(entry), entry.stat().st_mtime_ns) for entry in sorted(inside))


__all__ = ["DATA", "Batch", "Data", "DataError", "Facts", "digest", "load", "names"]
