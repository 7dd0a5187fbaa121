"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

ENDING = ".part"
"""Of a file that is not whole yet: what a killed process leaves."""


@contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """Yield a file beside the path, which takes its place at the end: a reader never meets half a file.

    Where anything raises, what was there before is there still. A link is followed; a device or a pipe, which has no
    half, is written itself. The mode is that of the file before, or what the umask gives. Raises: OSError.
    """
    if path.exists() and not path.is_file():
        with open(path, "wb") as itself:
            yield itself
        return
    path = Path(os.path.realpath(path))
    aside = path.with_name(f".{path.name[:50]}.{secrets.token_hex(4)}{ENDING}")
    try:
        with open(aside, "xb") as file:
            yield file
        if path.exists():
            shutil.copymode(path, aside)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes) -> Path:
    """Write a text or bytes so, and return the path. Raises: OSError, which names the file."""
    try:
        with written(path) as file:
            file.write(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        error.filename, error.filename2 = str(path), None  # a full disk names none, a rename two
        raise
    return path
