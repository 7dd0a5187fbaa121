"""Folders of images by class: what is in them, and one image of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from weightdecay.lab.data.base import DataError
from weightdecay.lab.run.place import broken_link

if TYPE_CHECKING:
    from PIL.Image import Image

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp")

EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
"""Pillow's modes of pixels that are RGB of 8 bits after a conversion that keeps their values' range."""


@dataclass(frozen=True, eq=False)
class Part:
    """The training or the test images: paths relative to ``root``, by class and name, and the class of each."""

    root: str
    names: list[str]
    labels: list[int]

    def path(self, index: int) -> str:
        """Return the whole path of an image."""
        return os.path.join(self.root, self.names[index])

    def read(self, index: int) -> bytes:
        """Return the bytes of a file. Raises: DataError, which names it."""
        try:
            with open(self.path(index), "rb") as file:
                return file.read()
        except OSError as error:
            raise DataError(f"{self.path(index)} cannot be read: {error.strerror}.") from error


@dataclass(frozen=True, eq=False)
class Folder:
    """A folder with ``train/<class>/…`` and ``test/<class>/…`` or ``val/<class>/…``, classes in the order of names."""

    path: Path
    classes: tuple[str, ...]
    train: Part
    test: Part

    @cached_property
    def listing(self) -> str:
        """The SHA-256 of the names and sizes of all files: quick, and blind to a change that keeps the size."""
        return self._hashed(lambda stat: f"{stat.st_size}")

    @cached_property
    def state(self) -> str:
        """The SHA-256 of the names, sizes and times of all files: other in every copy of the folder."""
        return self._hashed(lambda stat: f"{stat.st_size} {stat.st_mtime_ns}")

    def _hashed(self, describe: Callable[[os.stat_result], str]) -> str:
        found = hashlib.sha256()
        for part in (self.train, self.test):
            for index, name in enumerate(part.names):
                found.update(f"{os.path.basename(part.root)}/{name} {describe(os.stat(part.path(index)))}\n".encode())
        return found.hexdigest()


def scan(path: Path, tests: tuple[str, ...] = ("test", "val")) -> Folder:
    """List the images of a folder; ``tests`` are the names its test part may have.

    Names that begin with a dot are left out; any other file must be an image.
    Raises: DataError, which names what is missing or does not belong there.
    """
    if not path.is_dir():
        parts = f"train/<class>/… and {' or '.join(tests)}/<class>/…"
        what = broken_link(path) or f"is not a folder. It must contain {parts}."
        raise DataError(f"{path} {what}")
    present = [name for name in tests if (path / name).is_dir()]
    if len(present) > 1:
        raise DataError(f"{path} has both {' and '.join(present)}: move the one away that is not to be tested on.")
    if not (path / "train").is_dir() or not present:
        missing = " or ".join(tests) if (path / "train").is_dir() else "train"
        raise DataError(
            f"{path} has no folder {missing}. It must hold train/<class>/… and {present or tests}/<class>/…."
        )
    train, test = path / "train", path / present[0]
    classes = _classes(train)
    for folder, other in ((test, train), (train, test)):
        lacking = sorted({*_classes(other)} - {*_classes(folder)})
        if lacking:
            raise DataError(
                f"{folder} lacks the class {lacking[0]!r}, which {other} has"
                + (f" (and {len(lacking) - 1} more)" if len(lacking) > 1 else "")
                + ". Both must have the same classes."
            )
    if len(classes) < 2:
        raise DataError(f"{train} holds one class, {classes[0]!r}: a network is trained to tell two or more apart.")
    return Folder(path, tuple(classes), _part(train, classes), _part(test, classes))


def _classes(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        seen = [(entry.name, entry.is_dir()) for entry in map(_whole, entries) if not entry.name.startswith(".")]
    stray = sorted(name for name, is_folder in seen if not is_folder)
    if stray:
        raise DataError(f"{folder / stray[0]} is in no class: {folder} may only hold one folder for each class.")
    if not seen:
        raise DataError(f"{folder} holds no class: one folder for each is expected, with its images inside.")
    return sorted(name for name, _ in seen)


def _whole(entry: os.DirEntry[str]) -> os.DirEntry[str]:
    """Return the entry of a folder. Raises: DataError, for a link to nothing."""
    if entry.is_symlink() and (what := broken_link(entry.path)):
        raise DataError(f"{entry.path} {what}")
    return entry


def _part(root: Path, classes: list[str]) -> Part:
    names: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = sorted(_images(str(root), name))
        if not found:
            raise DataError(f"{root / name} is empty: every class must have an image in training and in test.")
        names += found
        labels += [label] * len(found)
    return Part(str(root), names, labels)


def _images(root: str, inside: str) -> Iterator[str]:
    with os.scandir(os.path.join(root, inside)) as entries:
        for entry in map(_whole, entries):
            name = f"{inside}/{entry.name}"
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _images(root, name)
            elif entry.name.lower().endswith(ENDINGS):
                yield name
            else:
                raise DataError(
                    f"{os.path.join(root, name)} is not an image by its ending ({', '.join(ENDINGS)}). Move it away."
                )


def opened(path: str, content: bytes) -> Image:
    """Return the image that a file's bytes are, as RGB, decoded; grey ones are converted.

    Raises: DataError, which names the file, for what cannot be decoded or would lose its range as 8 bits.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(BytesIO(content))
        if image.mode not in EIGHT_BITS:
            raise ValueError(f"its pixels are of kind {image.mode}, not of 8 bits; convert it first")
        return image.convert("RGB")
    except Exception as error:  # whatever a decoder stumbles over, the file is what to name
        reason = "it is of no known format" if isinstance(error, UnidentifiedImageError) else error
        raise DataError(
            f"{path} ({len(content):,} bytes) cannot be read as an image: {reason}. Replace it, or take it out of the "
            "folder."
        ) from error
