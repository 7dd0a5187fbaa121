"""``weightdecay report FOLDER``: what the finished runs of a folder say, however they were trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightdecay.lab.cli.outcome import show
from weightdecay.lab.cli.say import DONE, say
from weightdecay.lab.run.settings import SettingsError, command_line
from weightdecay.lab.study.asked import questions

if TYPE_CHECKING:
    from weightdecay.lab.run import Result
    from weightdecay.lab.study.conduct import Study
    from weightdecay.lab.study.question import Question
    from weightdecay.lab.study.statistics import Comparison


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
    from weightdecay.lab.study.statistics import compare_all

    results = Store(settings.folder).results()
    if not results:
        raise SettingsError(f"{settings.folder}: no run has finished yet.")
    command = command_line(settings, ["report", str(settings.folder)])
    asked = questions([result.run for result in results], command)
    report(asked, compare_all(asked, results), settings.out or settings.folder)
    return DONE


def report(asked: Mapping[str, Question], comparisons: Mapping[str, Comparison], folder: Path) -> None:
    """Print and write what the results say to each question, in a folder each if there are several."""
    from weightdecay.lab.report import write

    for name, question in asked.items():
        if name in comparisons:
            show(comparisons[name], write(comparisons[name], folder / name if len(asked) > 1 else folder))
        else:
            say(f"{question.setting}: no run has finished.")


def answering(asked: Mapping[str, Question], out: Path, **how: Any) -> Study[Mapping[str, Comparison]]:
    """Return the study that compares the points of each question, and reports so."""
    from weightdecay.lab.study.conduct import Study
    from weightdecay.lab.study.statistics import compare_all

    def judge(results: Sequence[Result]) -> Mapping[str, Comparison]:
        return compare_all(asked, results)

    return Study(questions=asked, out=out, judge=judge, report=lambda found: report(asked, found, out), **how)
