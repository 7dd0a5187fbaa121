"""Runs as evidence: one table that grows from one occasion to the next; and other data in place of the usual ones."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from weightdecay.lab.cli.say import say
from weightdecay.lab.run.settings import SettingsError
from weightdecay.whole import write_whole


def keep(tables: Iterable[Path], out: Path, path: Path) -> None:
    """Write every run of the tables and of the folder, each once, by address: what has an end counts, judged or not."""
    from weightdecay.lab.run.recorded import read_runs, runs_csv
    from weightdecay.lab.run.store import Store

    rows = [*(row for table in tables for row in read_runs(table)), *Store(out).results()]
    by_address = {row.run.address: row for row in rows}  # epochs, where they are known, before a row
    write_whole(path, runs_csv(by_address[address] for address in sorted(by_address)))
    say(f"runs    {path}, {len(by_address)} of them")


def other_data(words: Iterable[str]) -> dict[str, str]:
    """Read ``cifar10=images:FOLDER``. Raises: SettingsError, for what is not written so."""
    found = {}
    for word in words:
        name, equals, other = word.partition("=")
        if not (name and equals and other):
            raise SettingsError(f"--data {word}: write NAME=OTHER, as in cifar10=images:FOLDER.")
        found[name] = other
    return found
