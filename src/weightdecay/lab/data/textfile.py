"""Texts in files: three files that name their part, or a single one that is cut."""

from __future__ import annotations

import codecs
import hashlib
from pathlib import Path

from weightdecay.lab.data.base import DataError
from weightdecay.lab.data.text import Words, words
from weightdecay.lab.run import Place
from weightdecay.lab.run.place import broken_link

PARTS = ("train", "valid", "test")

SHARES = (90, 95)
"""Percent of the lines of a single file after which its validation and its test part begin."""


def load(name: str, place: Place) -> Words:
    """Return the words of ``text:PATH``: a file, or a folder with one file for each of train, valid and test.

    Raises: DataError, where there are no such files or what they hold is no text.
    """
    path = place.find(name.removeprefix("text:"))
    if path.is_dir():
        files = [part_of(path, part) for part in PARTS]
        found = hashlib.sha256()
        for file in files:
            content = bytes_of(file)
            found.update(f"{file.name} {len(content)}\n".encode())
            found.update(content)
        train, valid, test = map(lines_of, files)
        return words(train, valid, test, name, found.hexdigest())
    if not path.is_file():
        what = broken_link(path) or "is neither a file nor a folder. Write text:PATH with the path of a text."
        raise DataError(f"{path} {what}")
    lines = lines_of(path)
    parts = cut(lines)
    if not all(parts):
        raise DataError(
            f"{path} has {len(lines)} {'line' if len(lines) == 1 else 'lines'}, too few to be cut by lines into 90, 5 "
            "and 5 percent for training, validation and test. Break it into more lines, or name a folder with "
            "train.txt, valid.txt and test.txt."
        )
    return words(*parts, name, hashlib.sha256(bytes_of(path)).hexdigest())


def part_of(folder: Path, part: str) -> Path:
    """Return the file of the folder that has the part in its name. Raises: DataError, unless there is exactly one."""
    named = [path for path in folder.iterdir() if part in path.stem.lower()]
    for path in named:
        if what := broken_link(path):
            raise DataError(f"{path} {what}")
    found = sorted(path for path in named if path.is_file())
    if len(found) != 1:
        what = f"{len(found)} files ({', '.join(path.name for path in found)})" if found else "no file"
        raise DataError(
            f"{folder} has {what} with {part!r} in the name; one each is expected for {', '.join(PARTS)}, "
            "as in train.txt, valid.txt, test.txt."
        )
    return found[0]


def bytes_of(path: Path) -> bytes:
    """Return the content of a text without the byte order mark that some editors begin it with: it is no word."""
    return path.read_bytes().removeprefix(codecs.BOM_UTF8)


def lines_of(path: Path) -> list[str]:
    """Return the lines of a text in UTF-8. Raises: DataError."""
    try:
        lines = bytes_of(path).decode().split("\n")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is no text in UTF-8: byte {error.start:,} is {error.object[error.start]:#04x}. Convert it first."
        ) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    return lines[:-1] if not lines[-1] else lines


def cut(lines: list[str]) -> tuple[list[str], list[str], list[str]]:
    """Return the first 90, the next 5 and the last 5 percent of the lines.

    >>> [len(part) for part in cut(["a line"] * 100)]
    [90, 5, 5]
    """
    valid, test = (len(lines) * share // 100 for share in SHARES)
    return lines[:valid], lines[valid:test], lines[test:]
