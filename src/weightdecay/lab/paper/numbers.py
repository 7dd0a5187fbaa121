"""The paper's own numbers, as it printed them. They are facts about the paper, never about this program."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Number:
    """One number of the paper: a mean over three seeds with its deviation, where it prints one.

    Units: percent, of wrong answers on the test set at the best epoch. ``text`` is as printed, ``<=4.83`` among them.
    """

    source: str  # "table1"
    data: str
    network: str
    optimizer: str
    setting: str
    mean: float
    std: float | None
    text: str


@cache
def numbers() -> tuple[Number, ...]:
    """Return every number that the package ships, in the paper's order."""
    return tuple(_read())


def _read() -> Iterator[Number]:
    with (files(__package__) / "results.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield Number(
                source=row["source"],
                data=row["dataset"],
                network=row["model"],
                optimizer=row["optimizer"],
                setting=row["setting"],
                mean=float(row["mean"].lstrip("<=")),
                std=float(row["std"]) if row["std"] else None,
                text=row["mean"] + (f" ± {row['std']}" if row["std"] else ""),
            )


def of(source: str, network: str = "", optimizer: str = "", setting: str = "") -> tuple[Number, ...]:
    """Return the numbers that match all that is given.

    >>> [number.text for number in of("table1", "ResNet18", "AdamS")]
    ['4.91 ± 0.04']
    """
    return tuple(
        number
        for number in numbers()
        if number.source == source
        and network in ("", number.network)
        and optimizer in ("", number.optimizer)
        and setting in ("", number.setting)
    )
