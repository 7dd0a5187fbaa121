"""Runs before they are trained: refused where they cannot be, and told which content their data have.

What can be told without torch is told first, and torch imported only for what it alone can tell: it takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from weightdecay import catalog
from weightdecay.lab import data
from weightdecay.lab.run import Place, Run
from weightdecay.lab.run.settings import SettingsError
from weightdecay.lab.training import sound

if TYPE_CHECKING:
    from weightdecay.lab.training.task import Task


def check(run: Run, task: Task | None = None) -> None:
    """Refuse a run that cannot be computed anywhere. Raises: ValueError, which names the field."""
    sound.check(run)
    if task is None:
        sound.check_names(run)
    else:
        task.check(run)
    if not _can_be_built(run):
        from weightdecay.lab.training.train import check as check_training

        check_training(run)


def _can_be_built(run: Run) -> bool:
    """Whether nobody need build the run's optimizer to know that it can be: one of ours, with no other option."""
    options = dict(run.optimizer_options)
    momentum = options.pop("momentum", 0.0)
    usual = type(momentum) is float and 0 <= momentum < 1 and (not momentum or run.optimizer in ("sgd", "sgds", "sgdw"))
    return run.optimizer in catalog.BUILT_IN and usual and not options


def with_content(runs: Iterable[Run], place: Place) -> dict[Run, Run]:
    """Return, for each run, the one that is trained for it: that one names the content of its data.

    Raises: SettingsError, for an unknown data set and for settings that cannot be meant; DataError, for files that are
    missing or damaged.
    """
    asked = list(runs)
    try:
        for run in asked:
            sound.check(run)
            sound.check_names(run)
        read = dict.fromkeys(one.data for run in asked for one in run.line())
        digests = {name: data.digest(name, place) for name in read}
    except ValueError as error:
        raise SettingsError(str(error)) from None

    def named(run: Run) -> Run:
        start = None if run.start is None else named(run.start)
        return replace(run, data_digest=digests[run.data], start=start)

    return {run: named(run) for run in asked}
