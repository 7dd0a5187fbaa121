"""The paper as a scorecard: one page, its figures and numbers as files, and the same as text for the documentation."""

from __future__ import annotations

from weightdecay.lab.report.scorecard.files import Scorecard, write
from weightdecay.lab.report.scorecard.lines import MARK, OWN, rows
from weightdecay.lab.report.scorecard.text import markdown

__all__ = ["MARK", "OWN", "Scorecard", "markdown", "rows", "write"]
