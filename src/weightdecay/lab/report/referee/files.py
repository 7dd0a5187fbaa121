"""The files of a report: a page, its figures, the numbers as JSON and the runs as CSV."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from weightdecay import document
from weightdecay.lab.referee.answer import Answer
from weightdecay.lab.report.referee.page import ROWS, RUNS, SUMMARY, as_json, document_of
from weightdecay.lab.run.recorded import runs_csv
from weightdecay.whole import write_whole

if TYPE_CHECKING:
    from weightdecay.lab.referee.hearing import Case, Heard
    from weightdecay.lab.report.drawn.canvas import Picture

PAGE = "referee"


@dataclass(frozen=True)
class Written:
    """The files of a report."""

    page: Path
    rows: Path
    runs: Path
    figures: tuple[Path, ...]
    titles: Mapping[str, Mapping[str, str]]  # of the figures of each task, by name
    over_tasks: Mapping[str, str]  # the titles of those of several tasks, by name


def write(heard: Heard, case: Case, read_from: Path | None = None) -> Written:
    """Write page, figures (PNG and SVG), referee.json and runs.csv into the folder of the case.

    ``read_from`` is the table that all of it was read from: runs.csv is that table, as it is.
    Raises: OSError, where the folder cannot be written.
    """
    pictures = {answer.task.name: _pictures(answer) for answer in heard.answers}
    folder = case.out / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    over_tasks = _over_tasks([answer for answer in heard.answers if ruled(answer)])
    drawn = {name: picture for own in (*pictures.values(), over_tasks) for name, picture in own.items()}
    files = [path for name, picture in drawn.items() for path in picture.save(folder, name)]
    titles = {task: _titles(own) for task, own in pictures.items()}
    known = sorted(heard.results, key=lambda one: one.run.address)
    runs = read_from.read_text(encoding="utf-8") if read_from else runs_csv(known)
    page = document.write(document_of(heard, case, pictures, runs, over_tasks), case.out, PAGE)
    rows = write_whole(case.out / ROWS, as_json(heard.answers))
    return Written(page, rows, case.out / RUNS, tuple(files), titles, _titles(over_tasks))


def _pictures(answer: Answer) -> dict[str, Picture]:
    """Return the figures of a task: differences, basins and what it costs to keep λ, where there is any."""
    from weightdecay.lab.report.drawn import basins, forest, kept

    name, found = answer.task.name, {}
    if ruled(answer):
        found[name] = forest.draw(answer)
    if basins.has_any(answer):
        found[f"{name}-basins"] = basins.draw(answer)
    if any(one.carried for one in answer.standings):
        found[f"{name}-kept"] = kept.draw(answer)
    return found


def _over_tasks(answers: Sequence[Answer]) -> dict[str, Picture]:
    """Return the figures of several tasks: all of them, and each decay that more than one has a ruling on."""
    from weightdecay.lab.report.drawn import forest

    if len(answers) < 2:
        return {}
    own = {f"decay-{slug(decay)}": forest.of_decay(decay, answers) for decay in forest.on_several(answers)}
    return {SUMMARY: forest.together(answers), **own}


def slug(decay: str) -> str:
    """Return the name of a decay for a file: decoupled@cosine → decoupled-cosine."""
    return re.sub(r"\W+", "-", decay).strip("-")


def _titles(pictures: Mapping[str, Picture]) -> dict[str, str]:
    return {name: picture.title for name, picture in pictures.items()}


def ruled(answer: Answer) -> bool:
    """Whether any arm of a task has a ruling."""
    return any(one.ruling for one in answer.standings)
