"""CPython's own help pages: a real text that every Python carries, in its own version."""

from __future__ import annotations

import hashlib

from weightdecay.lab.data.base import DataError
from weightdecay.lab.data.text import Words, words
from weightdecay.lab.data.textfile import cut
from weightdecay.lab.run import Place


def load(name: str, place: Place) -> Words:
    """Return the pages in the order of their names, the first 90 % of the lines for training.

    They change with Python's version, so the digest is part of a run.
    Raises: DataError, for a Python that was built without them.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise DataError("this Python came without its help pages, pydoc_data.topics. Use another text.") from error
    text = "\n".join(topics[page] for page in sorted(topics))
    return words(*cut(text.split("\n")), name, hashlib.sha256(text.encode()).hexdigest())
