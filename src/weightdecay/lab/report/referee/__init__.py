"""The referee's answers: a page with a table and figures for each task, all of that as files, and as text."""

from __future__ import annotations

from weightdecay.lab.report.referee.files import Written, write
from weightdecay.lab.report.referee.tables import carried_table, table
from weightdecay.lab.report.referee.text import markdown
from weightdecay.lab.report.referee.words import notes, said

__all__ = ["Written", "carried_table", "markdown", "notes", "said", "table", "write"]
