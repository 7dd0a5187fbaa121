"""``weightdecay report FOLDER``: what the finished runs of a folder say, however they were trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from weightdecay.lab.cli.outcome import show
from weightdecay.lab.cli.say import DONE, say
from weightdecay.lab.run.settings import SettingsError, command_line
from weightdecay.lab.study.asked import questions

if TYPE_CHECKING:
    from weightdecay.lab.run import Result
    from weightdecay.lab.study.question import Question


@dataclass(frozen=True)
class ReportSettings:
    """Draw what is there: table, figures and page of the finished runs in a folder, also of a sweep half done.

    weightdecay report weightdecay-runs
    """

    folder: Path
    """Folder of runs: the --out of train, sweep or compare."""
    out: Path | None = None
    """Folder for the page and the figures. Default: the folder itself."""


def run_report(settings: ReportSettings) -> int:
    """Read the store, and nothing else."""
    if not (settings.folder / "runs").is_dir():
        raise SettingsError(f"{settings.folder} holds no runs: it is no --out of weightdecay train, sweep or compare.")
    from weightdecay.lab.run.store import Store

    results = Store(settings.folder).results()
    if not results:
        raise SettingsError(f"{settings.folder}: no run has finished yet.")
    command = command_line(settings, ["report", str(settings.folder)])
    report(questions([result.run for result in results], command), results, settings.out or settings.folder)
    return DONE


def report(asked: Mapping[str, Question], results: Sequence[Result], folder: Path) -> None:
    """Print and write what the results say to each question, in a folder each if there are several.

    Runs without a result are left out.
    """
    from weightdecay.lab.report import write
    from weightdecay.lab.study.statistics import compare

    there = {result.run for result in results}
    for name, question in asked.items():
        points = {point: tuple(run for run in runs if run in there) for point, runs in question.points.items()}
        answered = replace(question, points={point: runs for point, runs in points.items() if runs})
        if answered.points:
            comparison = compare(answered, results)
            show(comparison, write(comparison, folder / name if len(asked) > 1 else folder))
        else:
            say(f"{question.setting}: no run has finished.")
