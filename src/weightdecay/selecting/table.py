"""An audit as a table of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weightdecay.selecting.survey import Audit, Row

HEADINGS = ("role", "tensors", "elements", "λ", "decay", "pull per step", "half-life", "reason")
RIGHT = ("tensors", "elements", "λ", "pull per step", "half-life")


def text_of(audit: Audit) -> str:
    """Return the table; rows and findings that are suspicious begin with "!"."""
    cells = [HEADINGS, *(_cells(row) for row in audit.rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(HEADINGS))]
    marked = {name for finding in audit.findings for name in finding.names}
    bad = {id(row) for row in audit.rows if marked & names_in(audit, row)}
    bad |= {id(row) for row in audit.rows for f in audit.findings if f.kind == "total" and row.role in f.roles}
    lines = [audit.optimizer]
    for row, texts in zip((None, *audit.rows), cells, strict=True):
        padded = (
            text.rjust(width) if heading in RIGHT else text.ljust(width)
            for text, width, heading in zip(texts, widths, HEADINGS, strict=True)
        )
        lines.append(f"{'!' if id(row) in bad else ' '} {'  '.join(padded)}".rstrip())
    lines += [f"! {finding.text}" for finding in audit.findings]
    return "\n".join(lines)


def names_in(audit: Audit, row: Row) -> set[str]:
    """Return the names of the tensors of a row."""
    return {
        held.entry.name
        for held in audit.tensors
        if held.role == row.role
        and held.strength == row.weight_decay
        and (held.meaning.decay if held.meaning is not None else "in no group") == row.decay
        and (held.meaning.pull if held.meaning is not None else None) == row.pull
    }


def _cells(row: Row) -> tuple[str, ...]:
    half_life = row.half_life
    return (
        row.role,
        f"{row.tensors:,}",
        f"{row.elements:,}",
        "–" if row.weight_decay is None else f"{row.weight_decay:.6g}",
        row.decay if row.weight_decay else "–" if row.weight_decay == 0 else row.decay,
        "–" if row.pull is None else f"{row.pull:.3g}",
        "–" if half_life is None else f"{half_life:,.0f}",
        row.reason,
    )
