"""``weightdecay report``: what the finished runs of a folder say, or the rows of a table of runs, without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from weightdecay.lab.cli.outcome import show
from weightdecay.lab.cli.say import DONE, say
from weightdecay.lab.run.settings import SettingsError, command_line, left_out
from weightdecay.lab.study.asked import questions

if TYPE_CHECKING:
    from weightdecay.lab.run import Result
    from weightdecay.lab.study.conduct import Study
    from weightdecay.lab.study.question import Question
    from weightdecay.lab.study.statistics import Comparison


@dataclass(frozen=True)
class ReportSettings:
    """Draw what is there: table, figures and page of the finished runs in a folder, also of a sweep half done.

    Of a runs.csv that reproduce wrote: the scorecard again, with every claim whose runs are all in the file. Of one
    that referee wrote: its rulings. Nothing is trained. What a row per run cannot tell is taken from the scorecard.json
    beside the file, if there is one.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "weightdecay report weightdecay-runs",
        "weightdecay report docs/scorecard/runs.csv",
    )
    folder: Path
    """Folder of runs, which is the --out of train, sweep or compare; or a runs.csv."""
    out: Annotated[Path | None, left_out("the folder of the runs, or of the file")] = None
    """Folder for page and figures."""


def run_report(settings: ReportSettings) -> int:
    """Read the store or the file, and nothing else."""
    if settings.folder.suffix == ".csv":
        return rebuild(settings.folder, settings.out or settings.folder.parent)
    if not (settings.folder / "runs").is_dir():
        raise SettingsError(f"{settings.folder} contains no runs. Name the --out of train, sweep or compare.")
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


CLAIMS = "claims.md"
"""The scorecard as text, beside its rows and figures."""

RULINGS = "rulings.md"
"""The rulings of the referee as text."""


def rebuild(file: Path, out: Path) -> int:
    """Judge and draw the scorecard from a table of runs."""
    import json

    from weightdecay.lab import paper
    from weightdecay.lab.cli import reproduce
    from weightdecay.lab.paper.again import judged_again, with_verdicts
    from weightdecay.lab.report import scorecard
    from weightdecay.lab.run.recorded import read_runs
    from weightdecay.whole import write_whole

    rows = read_runs(file)
    found = judged_again(rows, paper.EXPERIMENTS.values())
    if not found:
        if _refereed(rows, file, out):
            return DONE
        raise SettingsError(f"{file}: no experiment of the paper and no arm of the referee has all of its runs in it.")
    kept = file.with_name("scorecard.json")
    if kept.exists():
        found = with_verdicts(found, json.loads(kept.read_text(encoding="utf-8")))
    out.mkdir(parents=True, exist_ok=True)
    reproduce.show(found, scorecard.write(found, out, read_from=file))
    text = scorecard.markdown(found, "figures", out / "figures")
    say(f"text    {write_whole(out / CLAIMS, text)}")
    return DONE


def _refereed(rows: Sequence[Result], file: Path, out: Path) -> bool:
    """Rule again from a table of runs of the referee; return whether it is one."""
    from weightdecay.lab.cli.referee import show as show_rulings
    from weightdecay.lab.referee.again import heard_again
    from weightdecay.lab.report.referee import markdown, write
    from weightdecay.whole import write_whole

    again = heard_again(rows, out, f"weightdecay report {file}")
    if again is None:
        return False
    written = write(*again, read_from=file)
    show_rulings(again[0], written)
    text = markdown(again[0], f"weightdecay report {file}", written)
    say(f"text    {write_whole(out / RULINGS, text)}")
    return True


def answering(asked: Mapping[str, Question], out: Path, **how: Any) -> Study[Mapping[str, Comparison]]:
    """Return the study that compares the points of each question, and reports so."""
    from weightdecay.lab.study.conduct import Study
    from weightdecay.lab.study.statistics import compare_all

    def judge(results: Sequence[Result]) -> Mapping[str, Comparison]:
        return compare_all(asked, results)

    return Study(questions=asked, out=out, judge=judge, report=lambda found: report(asked, found, out), **how)
