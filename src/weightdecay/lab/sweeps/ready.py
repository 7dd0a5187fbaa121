"""Runs before they are trained: refused where they cannot be, and told which content their data have."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from weightdecay.lab import data
from weightdecay.lab.run import Place, Run
from weightdecay.lab.run.settings import SettingsError
from weightdecay.lab.training.task import Named, Task
from weightdecay.lab.training.train import check as check_training


def check(run: Run, task: Task | None = None) -> None:
    """Refuse a run that cannot be computed anywhere. Raises: ValueError, which names the field."""
    check_training(run)
    (task or Named()).check(run)


def with_content(runs: Iterable[Run], place: Place) -> dict[Run, Run]:
    """Return, for each run, the one that is trained for it: that one names the content of its data.

    Raises: SettingsError, for an unknown data set; DataError, for files that are missing or damaged.
    """
    asked = list(runs)
    try:
        digests = {name: data.digest(name, place) for name in dict.fromkeys(run.data for run in asked)}
    except ValueError as error:
        raise SettingsError(str(error)) from None
    return {run: replace(run, data_digest=digests[run.data]) for run in asked}
