"""One self-contained page for anything that is computed: an answer, then sections of text, figures and tables.

A command makes its figures in the style of :mod:`weightdecay.lab.report.figures`, and hands over plain values::

    with styled():
        figure = Figure(figsize=(7.0, 4.2), layout="constrained")
        ...
    shown = draw(figure, folder, "spectrum", "What is drawn, and what to see in it.")   # spectrum.png, spectrum.svg
    page = Document(
        title="weightdecay spectrum",
        answer="The largest eigenvalue is 12.3; λ alone decides 97 % of the directions.",
        sections=(Section("The spectrum", ("A paragraph.",), (shown, Table(("λ", "share"), (("1e-4", 0.97),)))),),
        facts=(("Data", "digits"),),
        command="weightdecay spectrum RUN",
        downloads={"eigenvalues.csv": text},
    )
    write(page, folder, "spectrum")                    # spectrum.html, and eigenvalues.csv beside it

The page loads nothing from elsewhere, runs no script, follows a reader's light or dark setting, and opens offline.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from weightdecay.lab.report import figures
from weightdecay.lab.report.whole import write_whole

Cell = str | int | float | None
"""What a table holds: text as it is, numbers to four digits, None as an empty cell."""

MEDIA = {".csv": "text/csv", ".json": "application/json", ".toml": "text/plain", ".txt": "text/plain"}


@dataclass(frozen=True)
class Drawing:
    """A figure in a page. ``svg`` is markup of our own making (see :func:`draw`) and is not escaped."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Table:
    """Rows of plain values under a heading; columns of numbers only are set to the right.

    Raises: ValueError, where a row has more or fewer cells than the heading.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows, 1):
            if len(row) != len(self.head):
                raise ValueError(f"row {number} has {len(row)} cells, the heading {len(self.head)}: {row!r}.")

    @property
    def numeric(self) -> tuple[bool, ...]:
        """For each column, whether every cell in it is a number or empty."""
        return tuple(all(not isinstance(row[column], str) for row in self.rows) for column in range(len(self.head)))


@dataclass(frozen=True)
class Section:
    """A heading, paragraphs, and under them drawings and tables in the order given. ``folded``: opened by a click."""

    heading: str
    text: Sequence[str] = ()
    parts: Sequence[Drawing | Table] = ()
    folded: bool = False


@dataclass(frozen=True)
class Document:
    """A page: title, the answer in one paragraph, warnings, sections, how it was made, and its numbers as files."""

    title: str
    answer: str
    sections: Sequence[Section]
    notes: Sequence[str] = ()  # what a careful reader must know before believing the answer, in whole sentences
    facts: Sequence[tuple[str, str]] = ()  # term and text: data, network, versions, seconds
    command: str = ""  # that makes this page again
    downloads: Mapping[str, str] = field(default_factory=dict)  # file name → text


def draw(figure: Figure, folder: Path, name: str, caption: str) -> Drawing:
    """Write ``name.png`` and ``name.svg`` into the folder and return the figure for a page.

    ``name`` must differ from those of the page's other figures. The page's copy has no titles: the section and the
    caption say what it is. Call once a figure. Raises: OSError, where the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures.save(figure, folder, name)
    return Drawing(figures.inline(figure, name), caption)


def render(document: Document) -> str:
    """Return the page. All text is escaped; only the SVG of drawings is not."""
    environment = Environment(
        loader=PackageLoader("weightdecay.lab", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = shown
    environment.tests["drawing"] = lambda part: isinstance(part, Drawing)
    return environment.get_template("document.html.j2").render(
        document=document,
        markup=Markup,
        links={name: _link(name, text) for name, text in document.downloads.items()},
    )


def write(document: Document, folder: Path, name: str) -> Path:
    """Write ``name.html`` and the downloads into the folder, which is made if needed; return the page's path.

    Raises: OSError, where the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in document.downloads.items():
        write_whole(folder / file, text)
    return write_whole(folder / f"{name}.html", render(document))


def shown(value: Cell) -> str:
    """Return a cell as text.

    >>> shown(1.2345e-5), shown(1234567), shown(12.0), shown(float("inf")), shown(None), shown(-0.5)
    ('1.234e-05', '1,234,567', '12', '∞', '', '−0.5')
    """
    if value is None or isinstance(value, str):
        return value or ""
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
    return text.replace("-", "−", 1) if value < 0 else text


def _link(name: str, text: str) -> str:
    kind = MEDIA.get(Path(name).suffix, "application/octet-stream")
    return f"data:{kind};charset=utf-8;base64," + base64.b64encode(text.encode()).decode()
