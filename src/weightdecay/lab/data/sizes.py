"""Numbers that cut a data set to a run, as far as they can be judged before it is read. Without torch."""

from __future__ import annotations

from weightdecay.lab.run import Run

COUNTS = ("epochs", "batch_size", "sequence", "train_size", "validation_size", "test_size", "image_size")
"""Settings that count something."""

MOST_CLASSES = 1_000_000
"""Numbers of classes are below it."""


def classes(run: Run) -> tuple[int, ...]:
    """Return the classes that a run learns, ascending; none where it learns all. Raises: ValueError.

    >>> classes(Run("sgd", 0.1, 0.0, 0, classes="7, 0-2"))
    (0, 1, 2, 7)
    """
    found: set[int] = set()
    for part in run.classes.split(",") if run.classes else ():
        ends = [word.strip() for word in part.split("-")]
        low, high = ends[0], ends[-1]
        numbers = len(ends) <= 2 and low.isdecimal() and high.isdecimal()
        if not numbers or not int(low) <= int(high) < MOST_CLASSES:
            raise ValueError(f"classes={run.classes!r}: write numbers from 0 on, as in 0-4 or 5,7,9.")
        found |= set(range(int(low), int(high) + 1))
    if len(found) == 1:
        raise ValueError(f"classes={run.classes!r}: two classes are the least that a network can tell apart.")
    return tuple(sorted(found))


def check(run: Run) -> None:
    """Refuse numbers that cut no data set. Raises: ValueError, which names the field."""
    for name in COUNTS:
        if getattr(run, name) >= 2**63:
            raise ValueError(f"{name}={getattr(run, name)}: no data and no training are so large; use less than 2**63.")
    for name in ("train_size", "validation_size", "test_size", "image_size"):
        if getattr(run, name) < 0:
            raise ValueError(f"{name}={getattr(run, name)} is negative.")
    if not 0 <= run.label_noise < 1:
        raise ValueError(f"label_noise={run.label_noise:g} is outside [0, 1): it is a fraction of the training labels.")
    for name in ("batch_size", "sequence"):
        if getattr(run, name) < 1:
            raise ValueError(f"{name}={getattr(run, name)} is less than 1.")
    classes(run)
