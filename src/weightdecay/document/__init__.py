"""One page system for everything that is computed: a document of plain values becomes one file that opens offline.

A command draws its figures and hands over plain values::

    page = Document(
        title="weightdecay spectrum",
        answer="The largest eigenvalue is 12.3; λ alone decides 97 % of the directions.",
        sections=(Section("The spectrum", ("A paragraph.",), (drawing, Table(("λ", "share"), (("1e-4", 0.97),)))),),
        facts=(("Data", "digits"),),
        command="weightdecay spectrum RUN",
        downloads={"eigenvalues.csv": text},
    )
    write(page, folder, "spectrum")                    # spectrum.html, and eigenvalues.csv beside it

The page loads nothing from elsewhere, follows a reader's light or dark setting, fits a phone, prints, and is read with
the keyboard. It runs one script of our own, known by its hash, and only where something can be hidden or pointed at.
The standard library is all that it needs.
"""

from __future__ import annotations

from weightdecay.document.html import render, write
from weightdecay.document.parts import (
    Cell,
    Column,
    Document,
    Download,
    Drawing,
    Filter,
    Mark,
    Note,
    Panel,
    Section,
    Table,
    Terms,
    shown,
)

__all__ = [
    "Cell",
    "Column",
    "Document",
    "Download",
    "Drawing",
    "Filter",
    "Mark",
    "Note",
    "Panel",
    "Section",
    "Table",
    "Terms",
    "render",
    "shown",
    "write",
]
