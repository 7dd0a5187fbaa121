"""The shape of λ over time that a run names by a text."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weightdecay.schedule import Shape


@functools.lru_cache(maxsize=64)
def shape_of(text: str) -> Shape:
    """Return the shape that a text names. Raises: ValueError, for one that a run cannot follow."""
    from weightdecay.schedule import parse

    shape = parse(text)
    if "metric" in shape.needs:
        raise ValueError(f"{text!r} waits for a metric, and a run of the lab gives it none.")
    return shape
