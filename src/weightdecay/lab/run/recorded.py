"""Finished runs as tables of comma-separated values, a row per run or a row per epoch; and a row per run read again."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from weightdecay.lab.run.run import ERROR, Epoch, Metric, Option, Result, Run
from weightdecay.lab.run.settings import SettingsError

RUN = tuple(each.name for each in fields(Run))
EPOCH = tuple(each.name for each in fields(Epoch))
RESULT = ("status", "metric", "seconds", "skipped_steps", "clamped_steps")
COLUMNS = ("address", *RUN, *RESULT, "epoch", "epoch_lr", *EPOCH[2:])
"""Of the table of epochs. ``lr`` is the run's, ``epoch_lr`` that of the epoch's last step."""

LATE = 0.2
"""The last part of the epochs of which a row per run has the means."""

NUMBERS: Mapping[str, Callable[[Result], float | None]] = {
    "best": lambda result: result.best,
    "last": lambda result: result.last,
    "selected": lambda result: result.selected,
    "validated": lambda result: result.validated,
    "train_loss": lambda result: result.late("train_loss", 0),
    "late_test": lambda result: result.late("test", LATE),
    "late_train_loss": lambda result: result.late("train_loss", LATE),
    "first_gain": lambda result: result.gain(0),
    "last_gain": lambda result: result.gain(-1),
    "last_validated": lambda result: result.last_validated,
    "start_test": lambda result: result.start_test,
    "start_validated": lambda result: result.start_validated,
}
"""What a row per run says of its epochs: all that a claim about the run reads. Empty: the run has no such number."""

UNKNOWN = "?"
"""In place of a number that the writer did not know either: it had read a file without that column."""

RUNS = ("address", *RUN, *RESULT, "unit", *NUMBERS, "weights", "where", "versions")
"""The columns of the table of runs."""


class UnrecordedError(Exception):
    """A number was asked for that the row of a run does not have, because it needs the epochs of the run."""


@dataclass(frozen=True)
class Recorded(Result):
    """A result of which one row is known, and not its epochs: ``epochs`` is empty.

    Every property is the number of the row. A number whose column the file lacks raises :class:`UnrecordedError`; files
    of the first version have neither ``validated`` nor any column after it.
    """

    numbers: Mapping[str, float | None] = field(default_factory=dict)

    def __hash__(self) -> int:
        """Return the hash of the run."""
        return hash(self.run)

    @property
    def best(self) -> float:
        """See :attr:`Result.best`."""
        return _certain(self._number("best"))

    @property
    def last(self) -> float:
        """See :attr:`Result.last`."""
        return _certain(self._number("last"))

    @property
    def selected(self) -> float | None:
        """See :attr:`Result.selected`."""
        return self._number("selected")

    @property
    def validated(self) -> float | None:
        """See :attr:`Result.validated`."""
        return self._number("validated")

    @property
    def last_validated(self) -> float | None:
        """See :attr:`Result.last_validated`."""
        return self._number("last_validated")

    def late(self, quantity: str, part: float) -> float:
        """See :meth:`Result.late`. ``part`` is 0 or :data:`LATE`."""
        names = {"test": ("last", "late_test"), "train_loss": ("train_loss", "late_train_loss")}.get(quantity, ())
        name = dict(zip((0.0, LATE), names, strict=False)).get(part)
        return _certain(self._number(name or f"{quantity} over the last {part:g} of the epochs"))

    def gain(self, epoch: int) -> float | None:
        """See :meth:`Result.gain`. ``epoch`` is 0 or −1."""
        return self._number({0: "first_gain", -1: "last_gain"}.get(epoch, f"gain of epoch {epoch}"))

    def _number(self, name: str) -> float | None:
        if name not in self.numbers:
            raise UnrecordedError(f"{self.run}: its row has no column {name!r}, and its epochs are not known.")
        return self.numbers[name]


def _certain(value: float | None) -> float:
    return float("inf") if value is None else value


# ---------------------------------------------------------------- writing


def results_csv(results: Iterable[Result]) -> str:
    """Return one row per run and epoch. Losses are empty where they were not finite.

    Milestones stand with spaces between them, options as ``momentum=0.9 nesterov=True``; ``test`` and ``validation``
    are the metric.
    """
    rows = (_head(result) + list(asdict(epoch).values()) for result in results for epoch in result.epochs)
    return _table(COLUMNS, rows)


def runs_csv(results: Iterable[Result]) -> str:
    """Return one row per run, with everything that decided it and :data:`NUMBERS`; :func:`read_runs` reads it."""
    return _table(RUNS, map(_row, results))


def _row(result: Result) -> list[object]:
    numbers = [_written(of, result) for of in NUMBERS.values()]
    versions = "; ".join(f"{name} {version}" for name, version in result.versions.items())
    return [*_head(result), result.metric.unit, *numbers, result.weights, result.where, versions]


def _written(of: Callable[[Result], float | None], result: Result) -> float | str | None:
    try:
        return of(result)
    except UnrecordedError:
        return UNKNOWN


def _head(result: Result) -> list[object]:
    run = asdict(result.run)
    run["milestones"] = " ".join(map(str, result.run.milestones))
    for name in ("optimizer_options", "network_options"):
        run[name] = " ".join(f"{key}={value}" for key, value in getattr(result.run, name))
    run["start"] = json.dumps(run["start"]) if result.run.start is not None else ""
    head = [result.run.address, *run.values(), result.status, result.metric.name, round(result.seconds, 3)]
    return [*head, result.skipped_steps, result.clamped_steps]


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


# ---------------------------------------------------------------- reading


def read_runs(path: Path) -> list[Recorded]:
    """Return the runs of a file that :func:`runs_csv` wrote, in its order.

    Raises: SettingsError, which names the file and the line, for a row whose address is not that of its settings: it
    was edited, or belongs to another version of the program.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise SettingsError(f"{path} cannot be read: {reason}.") from None
    reader = csv.DictReader(io.StringIO(text))
    missing = {"address", "status", "best", "last"} - set(reader.fieldnames or ())
    if missing:
        raise SettingsError(f"{path} is not a table of runs: it has no column {min(missing)!r}.")
    return [_read(row, f"{path}, line {number}") for number, row in enumerate(reader, 2)]


def _read(row: Mapping[str, str], where: str) -> Recorded:
    try:
        run = Run(**{each.name: _value(each.name, each.type, row) for each in fields(Run) if each.name in row})
        if run.address != row["address"]:
            raise SettingsError(
                f"{where}: the settings of the row have the address {run.address}, and the row says {row['address']}. "
                "The row was edited, or another version wrote it: leave it out."
            )
        name = row["metric"]
        unit = row.get("unit", ERROR.unit if name == ERROR.name else "")
        return Recorded(
            run=run,
            status=row["status"],
            epochs=(),
            seconds=float(row["seconds"]),
            metric=Metric(name, unit),
            where=row.get("where", ""),
            versions=dict(one.rsplit(" ", 1) for one in row.get("versions", "").split("; ") if " " in one),
            weights=row["weights"],
            skipped_steps=int(row["skipped_steps"]),
            clamped_steps=int(row["clamped_steps"]),
            start_test=_optional(row, "start_test"),
            start_validated=_optional(row, "start_validated"),
            numbers={
                name: float(row[name]) if row[name] else None for name in NUMBERS if row.get(name, UNKNOWN) != UNKNOWN
            },
        )
    except (ValueError, TypeError, KeyError) as error:
        if isinstance(error, SettingsError):
            raise
        raise SettingsError(f"{where}: {error} cannot be read.") from None


def _optional(row: Mapping[str, str], name: str) -> float | None:
    return float(row[name]) if row.get(name) else None


def _value(name: str, kind: object, row: Mapping[str, str]) -> Any:
    text = row[name]
    if kind == "Options":
        return tuple(sorted(_options(text)))
    if kind == "bool":
        return text == "True"
    if kind == "Run | None":
        return Run.from_json(json.loads(text)) if text else None
    if kind == "tuple[float, ...]":
        return tuple(map(float, text.split()))
    return {"int": int, "float": float}.get(str(kind), str)(text)


def _options(text: str) -> Iterable[tuple[str, Option]]:
    """Yield the options of ``momentum=0.9 decay=cautious(toward(1.0, stable))``: no space in brackets parts two."""
    for one in re.split(r" (?=[^\s=(]+=)(?![^()]*\))", text) if text else ():
        name, _, value = one.partition("=")
        yield name, _option(value)


def _option(text: str) -> Option:
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
