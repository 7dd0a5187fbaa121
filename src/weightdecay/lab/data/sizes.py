"""Numbers that cut a data set to a run, as far as they can be judged before it is read. Without torch."""

from __future__ import annotations

from weightdecay.lab.run import Run

COUNTS = ("epochs", "batch_size", "sequence", "train_size", "validation_size", "test_size", "image_size")
"""Settings that count something."""


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
