"""Every epoch of every run, as one table of comma-separated values."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import asdict, fields

from weightdecay.lab.run import Epoch, Result, Run

RUN = tuple(field.name for field in fields(Run))
EPOCH = tuple(field.name for field in fields(Epoch))
RESULT = ("status", "metric", "seconds", "skipped_steps", "clamped_steps")
COLUMNS = ("address", *RUN, *RESULT, "epoch", "epoch_lr", *EPOCH[2:])
"""``lr`` is the run's, ``epoch_lr`` that of the epoch's last step."""


def results_csv(results: Iterable[Result]) -> str:
    """Return one row a run and epoch. Losses are empty where they were not finite.

    Milestones stand with spaces between them, options as ``momentum=0.9 nesterov=True``; ``test`` and ``validation``
    are the metric.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for result in results:
        head = _head(result)
        writer.writerows(head + list(asdict(epoch).values()) for epoch in result.epochs)
    return text.getvalue()


def _head(result: Result) -> list[object]:
    run = asdict(result.run)
    run["milestones"] = " ".join(map(str, result.run.milestones))
    for name in ("optimizer_options", "network_options"):
        run[name] = " ".join(f"{key}={value}" for key, value in getattr(result.run, name))
    head = [result.run.address, *run.values(), result.status, result.metric.name, round(result.seconds, 3)]
    return [*head, result.skipped_steps, result.clamped_steps]


NUMBERS = ("best", "last", "selected", "train_loss")
"""Of a run: the metric at its best epoch, at the last and at the one that validation selects, and the last loss."""


def runs_csv(results: Iterable[Result]) -> str:
    """Return one row a run, with everything that decided it; what it does not have is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("address", *RUN, *RESULT, *NUMBERS, "weights"))
    for result in results:
        numbers = (result.best, result.last, result.selected, result.epochs[-1].train_loss)
        writer.writerow([*_head(result), *numbers, result.weights])
    return text.getvalue()
