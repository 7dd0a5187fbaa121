"""Everything that a scorecard is, as files in a folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from weightdecay import document
from weightdecay.lab.paper.experiment import Reproduction
from weightdecay.lab.report.scorecard.lines import lines
from weightdecay.lab.report.scorecard.page import document_of
from weightdecay.lab.report.scorecard.story import stories
from weightdecay.lab.run import Result
from weightdecay.lab.run.recorded import results_csv, runs_csv
from weightdecay.whole import write_whole


@dataclass(frozen=True)
class Scorecard:
    """The files: the page, every figure as PNG and SVG, every epoch of every run, every run, and every row."""

    page: Path
    figures: tuple[Path, ...]
    results: Path | None  # none where of every run only a row is known
    runs: Path
    rows: Path


def write(reproductions: Sequence[Reproduction], folder: Path, read_from: Path | None = None) -> Scorecard:
    """Write scorecard.html, figures/, results.csv, runs.csv and scorecard.json into the folder, made if needed.

    ``read_from`` is the table of runs that all of it was read from: it is not written again.

    Raises: OSError, where the folder cannot be written.
    """
    drawn = folder / "figures"
    drawn.mkdir(parents=True, exist_ok=True)
    told = stories(reproductions)
    files: list[Path] = []
    for story in told:
        for shown in story.shown:
            for name, picture in shown.pictures.items():
                files += picture.save(drawn, name)
    text = results_csv(every_result(reproductions))
    epochs = any(result.epochs for result in every_result(reproductions))
    results = write_whole(folder / "results.csv", text) if epochs else None
    runs = read_from or write_whole(folder / "runs.csv", runs_csv(every_result(reproductions)))
    plain = json.dumps([line.to_json() for line in lines(reproductions)], ensure_ascii=False, indent=1)
    rows = write_whole(folder / "scorecard.json", plain + "\n")
    page = document.write(document_of(told, text), folder, "scorecard")
    return Scorecard(page, tuple(files), results, runs, rows)


def every_result(reproductions: Sequence[Reproduction]) -> tuple[Result, ...]:
    """Return every result once, however many experiments share it."""
    return tuple({result.run: result for one in reproductions for result in one.results}.values())
