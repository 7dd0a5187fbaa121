"""One measurement as a row, and many rows as one table."""

import platform
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import torch

COLUMNS = ("section", "what", "value", "against", "its value", "ratio", "goal", "note")


@dataclass(frozen=True)
class Row:
    """A number with its unit, what it is compared with, and the goal: of the ratio, or of the number without one."""

    section: str
    what: str
    value: float | None = None
    unit: str = ""
    against: str = ""
    other: float | None = None
    ratio: float | None = None
    goal: float | None = None
    note: str = ""
    failed: bool = False

    @property
    def verdict(self) -> str:
        """Say "met", "missed", "failed", or nothing where there is no goal."""
        judged = self.value if self.ratio is None else self.ratio
        if self.failed or self.goal is None or judged is None:
            return "failed" if self.failed else ""
        return "met" if judged <= self.goal else "missed"

    def cells(self) -> tuple[str, ...]:
        """Return the row as text, one cell per column."""
        goal = "" if self.goal is None else f"≤ {self.goal:.4g}"
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        cells = (
            *(self.section, self.what, number(self.value, self.unit), self.against, number(self.other, self.unit)),
            *(ratio, f"{goal} {self.verdict}".strip(), self.note),
        )
        return tuple(" ".join(cell.replace("|", "/").split()) for cell in cells)

    def line(self) -> str:
        """Return the row as a line of a Markdown table."""
        return f"| {' | '.join(self.cells())} |"

    def plain(self) -> dict[str, object]:
        """Return the row as plain values, with its verdict."""
        return {**asdict(self), "verdict": self.verdict}


HEADER = f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|"


def number(value: float | None, unit: str) -> str:
    """Return the number with four digits and its unit."""
    text = "" if value is None else f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"
    return f"{text} {unit}" if text and unit else text


def table(rows: Iterable[Row]) -> str:
    """Return the rows as a Markdown table."""
    return "\n".join([HEADER, *(row.line() for row in rows)]) + "\n"


def machine() -> str:
    """Return what the numbers depend on, in one line."""
    return (
        f"torch {torch.__version__}, Python {platform.python_version()}, {torch.get_num_threads()} CPU threads, "
        f"{time.strftime('%Y-%m-%d')}"
    )
