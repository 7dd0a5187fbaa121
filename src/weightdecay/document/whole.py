"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, content: str | bytes) -> Path:
    """Write aside, then rename: a reader never meets half a file. Raises: OSError, which names the file."""
    aside = path.with_name(path.name + ".part")
    try:
        aside.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(aside, path)
    except OSError as error:
        error.filename, error.filename2 = str(path), None  # a full disk names none, a rename two
        raise
    finally:
        aside.unlink(missing_ok=True)
    return path
