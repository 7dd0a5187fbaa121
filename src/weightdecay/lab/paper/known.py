"""Runs that somebody trained before, from tables of runs: which of them answer what is asked now."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from weightdecay.lab.run import Run
from weightdecay.lab.run.recorded import Recorded


@dataclass(frozen=True)
class Known:
    """The rows that are believed, and those that belong to nothing that is asked.

    ``other_data`` are rows of runs that are asked for, trained on data of the same name with another content.
    """

    results: Mapping[Run, Recorded]
    other_data: tuple[Recorded, ...]
    strangers: tuple[Recorded, ...]

    @property
    def said(self) -> list[str]:
        """What a person is told: what was taken, and what was not, and why."""
        lines = [f"{_runs(len(self.results))} known from before {_are(self.results)} not trained again."]
        if self.other_data:
            one = self.other_data[0].run
            lines.append(
                f"{_runs(len(self.other_data))} {_are(self.other_data)} of data that differ from those here, and not "
                f"taken: {one} was trained on {one.data!r} with the digest {one.data_digest[:12] or 'none'}."
            )
        if self.strangers:
            lines.append(
                f"{_runs(len(self.strangers))} {_are(self.strangers)} not asked for here, and not taken: the first is "
                f"{self.strangers[0].run}."
            )
        return lines


def known(rows: Iterable[Recorded], trained: Iterable[Run]) -> Known:
    """Return which rows are results of the runs that would be trained: those with the address of one of them.

    Of two rows of one run the first is taken.
    """
    wanted = {run.address: run for run in trained}
    alike = {replace(run, data_digest="").address for run in wanted.values()}
    results: dict[Run, Recorded] = {}
    other_data, strangers = [], []
    for row in rows:
        run = wanted.get(row.run.address)
        if run is not None:
            results.setdefault(run, row)
        elif replace(row.run, data_digest="").address in alike:
            other_data.append(row)
        else:
            strangers.append(row)
    return Known(results, tuple(other_data), tuple(strangers))


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count:,} runs"


def _are(several: Collection[object]) -> str:
    return "is" if len(several) == 1 else "are"
