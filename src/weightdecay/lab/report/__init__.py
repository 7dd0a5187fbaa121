"""Figures, one page and one table of raw numbers, from results alone."""

from __future__ import annotations

import weightdecay.lab.report.backend  # noqa: F401 - before anything imports matplotlib
from weightdecay.lab.report.page import Report, write

__all__ = ["Report", "write"]
