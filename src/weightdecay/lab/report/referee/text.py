"""The referee's answers as a page of the documentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from weightdecay.document import Table
from weightdecay.lab.report.referee.tables import carried_table, table
from weightdecay.lab.report.referee.words import notes, reading, said

if TYPE_CHECKING:
    from weightdecay.lab.referee.hearing import Heard


def markdown(heard: Heard, command: str, titles: Mapping[str, Mapping[str, str]]) -> str:
    """Return the answers as a page of the documentation, for a folder that holds the figures."""
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
    for answer in heard.answers:
        shown = table(answer)
        lines += [f"## {answer.task.name}", "", f"{answer.task.words[:1].upper()}{answer.task.words[1:]}.", ""]
        lines += [said(answer), ""]
        lines += _rows(shown)
        if kept := carried_table(answer):
            lines += ["", *_rows(kept)]
        for name, title in titles[answer.task.name].items():
            lines += ["", f"![{title}](figures/{name}.png)"]
        told = notes(answer, heard.results)
        lines += ["", *(f"{text}\n" for text in reading(answer)), *(f"- {note}" for note in told)]
        lines += [""] * bool(told)
        lines += [f"{answer.seconds / 3600:.2f} hours of one CPU core.", ""]
    return "\n".join(lines)


def _rows(table: Table) -> list[str]:
    head = ["| " + " | ".join(table.head) + " |", "|" + "---|" * len(table.head)]
    return head + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in table.rows]
