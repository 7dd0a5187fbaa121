"""The end of a comparison on the terminal: the table, the answer in words, and where the files are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from weightdecay.lab.report import Report
    from weightdecay.lab.study.statistics import Comparison


def show(comparison: Comparison, report: Report) -> None:
    """Print the table and where the files are."""
    from weightdecay.lab.report.page import answer, notes

    table = _table(comparison)
    console = wide_enough(table)
    console.print(table)
    console.print(answer(comparison) + "\n", markup=False, highlight=False)
    for note in notes(comparison):
        console.print(f"note: {note}", markup=False, highlight=False)
    for name, path in (
        ("page", report.page),
        ("results", report.results),
        *(("figure", one) for one in report.figures),
    ):
        console.print(f"{name:<8}{path}", markup=False, highlight=False, soft_wrap=True)


def wide_enough(table: Table) -> Console:
    """Return where to print: as wide as the terminal, or as the table, since a file has no edge to break lines at."""
    from rich.console import Console

    console = Console()
    if console.is_terminal:
        return console
    return Console(width=max(console.width, Console(width=1000).measure(table).maximum))


def _table(comparison: Comparison) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from weightdecay.lab.report.compared import DECAY_IN_WORDS, standings
    from weightdecay.lab.report.page import seeds_of

    metric = comparison.metric
    unit = f", {metric.unit}" if metric.unit else ""
    title = f"{metric.name.capitalize()} at the last epoch{unit} ({seeds_of(comparison)})"
    table = Table(
        title=Text(title),
        box=box.SIMPLE_HEAD,
        title_justify="left",
        title_style="bold",
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    shown = standings(comparison)
    columns = [place for place, head in enumerate(shown.head) if head != DECAY_IN_WORDS]  # too wide for a terminal
    for place in columns:
        heading = shown.head[place].removesuffix(unit).lower()
        number = shown.numeric[place]
        table.add_column(Text(heading), justify="right" if number else "left", no_wrap=number)
    styles = {"best": "bold green", "beyond seed noise": "yellow"}
    for row, standing in zip(shown.rows, comparison.standings, strict=True):
        table.add_row(*(Text(str(row[place])) for place in columns), style=styles.get(standing.verdict, ""))
    return table
