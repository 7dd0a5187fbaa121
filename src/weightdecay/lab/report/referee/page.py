"""The referee's answers as a page, with how the arms were tuned and judged."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from weightdecay.document import Document, Section
from weightdecay.document.parts import Part
from weightdecay.lab.referee.answer import Answer
from weightdecay.lab.referee.ladder import AT_MOST, TUNING
from weightdecay.lab.report.referee.tables import carried_table, finite, table
from weightdecay.lab.report.referee.words import counted, notes, reading, said

if TYPE_CHECKING:
    from weightdecay.lab.referee.hearing import Case, Heard
    from weightdecay.lab.report.drawn.canvas import Picture

ROWS, RUNS, SUMMARY = "referee.json", "runs.csv", "summary"


def document_of(
    heard: Heard,
    case: Case,
    pictures: Mapping[str, Mapping[str, Picture]],
    runs: str,
    over_tasks: Mapping[str, Picture],
) -> Document:
    """Return the page. ``pictures`` are by their task, and then by their file, ``over_tasks`` of several, by their
    file; ``runs`` is the table of all runs, as text.
    """
    all_tasks = [picture.drawing(f"of-{name}") for name, picture in over_tasks.items()]
    sections = [Section("All tasks", (), tuple(all_tasks))] if all_tasks else []
    for answer in heard.answers:
        parts: list[Part] = [table(answer)] if answer.standings else []
        parts += [kept] if (kept := carried_table(answer)) else []
        parts += [picture.drawing(f"of-{name}") for name, picture in pictures[answer.task.name].items()]
        sections.append(
            Section(f"{answer.task.name}: {answer.task.words}", (said(answer),), (*parts, *reading(answer)))
        )
    return Document(
        title="weightdecay referee",
        answer=counted(heard.answers) if over_tasks else " ".join(said(answer) for answer in heard.answers),
        notes=[note for answer in heard.answers for note in notes(answer, heard.results)],
        sections=sections,
        facts=facts(heard, case),
        command=case.command,
        downloads={ROWS: as_json(heard.answers), RUNS: runs},
    )  # fmt: skip


def facts(heard: Heard, case: Case) -> list[tuple[str, str]]:
    """Return how the arms were tuned and judged, and what it took."""
    seconds = math.fsum(answer.seconds for answer in heard.answers)
    versions = dict.fromkeys(
        f"{name} {version}" for result in heard.results for name, version in result.versions.items()
    )
    where = dict.fromkeys(result.where for result in heard.results if result.where)
    return [
        ("Tuning", f"each arm {AT_MOST} runs at most on the seeds {', '.join(map(str, TUNING))}: 5 cells around a "
                   "guess, 15 around the best of them, at most 15 beyond the edges at which the best 5 lie, these 5 "
                   "with a second seed, the best 2 with two more; chosen by the validation error of the last epoch"),
        ("Judging", f"the best cell of each arm with {case.seeds} other seeds, by the test error of the last epoch"),
        ("Margin", f"{case.margin:g}"),
        ("Computing", f"{seconds / 3600:.2f} hours on {', '.join(where) or 'nothing yet'}"),
        ("Versions", ", ".join(versions)),
    ]  # fmt: skip


def as_json(answers: Sequence[Answer]) -> str:
    """Return :func:`numbers` as the text of a file."""
    return json.dumps(numbers(answers), indent=1, ensure_ascii=False) + "\n"


def numbers(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """Return every number as plain values, for JSON; None stands for what is not finite."""
    return [
        {
            "task": answer.task.name, "words": answer.task.words, "margin": answer.margin,
            "hours": round(answer.seconds / 3600, 3), "waiting": dict(answer.waiting),
            "arms": [
                {
                    "optimizer": one.arm.optimizer, "decay": one.arm.decay, "lr": one.cell.lr,
                    "weight_decay": one.cell.weight_decay, "tuned": finite(one.tuned), "mean": finite(one.mean),
                    "judged": {str(seed): finite(value) for seed, value in one.judged.items()},
                    "difference": finite(one.ruling.mean) if one.ruling else None,
                    "interval": [finite(end) for end in one.ruling.interval]
                    if one.ruling and one.ruling.interval else None,
                    "verdict": one.ruling.verdict if one.ruling else None,
                    "carried": {
                        each.change.title: {"best": each.best, "costs": [finite(cost) for cost in each.costs]}
                        for each in one.carried
                    },
                    "basin": one.basin, "kept_cost": finite(one.kept_cost), "edge": list(one.edge),
                    "tries": len(one.tried),
                }
                for one in answer.standings
            ],
        }
        for answer in answers
    ]  # fmt: skip
