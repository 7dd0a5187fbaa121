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
        run = asdict(result.run)
        run["milestones"] = " ".join(map(str, result.run.milestones))
        for name in ("optimizer_options", "network_options"):
            run[name] = " ".join(f"{key}={value}" for key, value in getattr(result.run, name))
        head = [result.run.address, *run.values(), result.status, result.metric.name, round(result.seconds, 3)]
        head += [result.skipped_steps, result.clamped_steps]
        writer.writerows(head + list(asdict(epoch).values()) for epoch in result.epochs)
    return text.getvalue()
