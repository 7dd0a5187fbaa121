"""The referee's answers as a page of the documentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from weightdecay.document import Table
from weightdecay.lab.report.referee.tables import carried_table, table
from weightdecay.lab.report.referee.words import counted, notes, reading, said

if TYPE_CHECKING:
    from weightdecay.lab.referee.hearing import Heard
    from weightdecay.lab.report.referee.files import Written


def markdown(heard: Heard, command: str, written: Written) -> str:
    """Return the answers as a page of the documentation, for the folder that holds the figures."""
    lines = [
        "# The referee's rulings",
        "",
        "Made by",
        "",
        f"    {command}",
        "",
        "from the committed runs, without training.",
    ]
    lines += ["How an arm is tuned and judged: [the referee](../referee.md).", ""]
    if written.over_tasks:
        lines += ["## All tasks", "", counted(heard.answers), *_shown(written.over_tasks), ""]
    for answer in heard.answers:
        shown = table(answer)
        lines += [f"## {answer.task.name}", "", f"{answer.task.words[:1].upper()}{answer.task.words[1:]}.", ""]
        lines += [said(answer), ""]
        lines += _rows(shown)
        if kept := carried_table(answer):
            lines += ["", *_rows(kept)]
        lines += _shown(written.titles[answer.task.name])
        told = notes(answer, heard.results)
        lines += ["", *(f"{text}\n" for text in reading(answer)), *(f"- {note}" for note in told)]
        lines += [""] * bool(told)
        lines += [f"{answer.seconds / 3600:.2f} hours of one CPU core.", ""]
    return "\n".join(lines)


def _shown(titles: Mapping[str, str]) -> list[str]:
    return [line for name, title in titles.items() for line in ("", f"![{title}](figures/{name}.png)")]


def _rows(table: Table) -> list[str]:
    head = ["| " + " | ".join(table.head) + " |", "|" + "---|" * len(table.head)]
    return head + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in table.rows]
