"""What a page is made of: plain values, without a word of markup but that of the figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

T = TypeVar("T")

Look = Literal["", "good", "bad", "open", "strong", "soft"]
"""good and bad: a verdict; open: undecided; strong: what a row is called; soft: an aside."""


@dataclass(frozen=True)
class Mark:
    """Text with a look. ``swatch`` is the colour of a dot before it, ``under`` a second, smaller line.

    ``link`` is the address of a section of the same page.
    """

    text: str
    look: Look = ""
    swatch: str = ""
    under: str = ""
    link: str = ""

    def __str__(self) -> str:
        return self.text


Cell = str | int | float | None | Mark
"""What a table holds: text as it is, numbers to four digits, None as an empty cell."""


@dataclass(frozen=True)
class Column(Generic[T]):
    """A column of a table of things: its heading, and how a cell is written. ``number``: set to the right.

    By default a column whose cells are all numbers or empty is set to the right.
    """

    head: str
    of: Callable[[T], Cell]
    number: bool | None = None


@dataclass(frozen=True)
class Filter:
    """A box above a table. Without a tick it hides the rows of its tag; with ``only``, a tick hides all other rows."""

    label: str
    tag: str
    only: bool = False


@dataclass(frozen=True)
class Table:
    """Rows under a heading, in a box of its own that scrolls where the window is narrow.

    ``cards``: on a phone each row becomes a card, for tables of sentences. ``chosen`` are the rows that stand out.
    ``tags`` are those of each row, for ``filters``.

    Raises: ValueError, where a row has more or fewer cells than the heading.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    numbers: Sequence[bool | None] = ()
    cards: bool = False
    chosen: frozenset[int] = frozenset()
    tags: Sequence[frozenset[str]] = ()
    filters: Sequence[Filter] = ()

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows, 1):
            if len(row) != len(self.head):
                raise ValueError(f"row {number} has {len(row)} cells, the heading {len(self.head)}: {row!r}.")

    @classmethod
    def of(cls, things: Iterable[T], columns: Sequence[Column[T]], **more: Any) -> Table:
        """Return the table of things, one row each."""
        rows = [[column.of(thing) for column in columns] for thing in things]
        return cls([column.head for column in columns], rows, numbers=[column.number for column in columns], **more)

    @property
    def numeric(self) -> tuple[bool, ...]:
        """For each column, whether it is set to the right."""
        said = self.numbers or (None,) * len(self.head)
        return tuple(
            all(not isinstance(row[place], (str, Mark)) for row in self.rows) if one is None else one
            for place, one in enumerate(said)
        )


@dataclass(frozen=True)
class Drawing:
    """A figure. ``svg`` is markup of our own making and is not escaped; colours of text in it are ``currentColor``.

    ``points``: marks of it carry a text, which a reader gets on pointing or with the arrow keys.
    """

    svg: str
    caption: str
    title: str = ""
    points: bool = False


@dataclass(frozen=True)
class Panel:
    """Drawings that share their curves. ``curves`` are (name, colour): each can be hidden in all of them at once.

    A curve is named in the SVG by its position: ``data-curve="0"``, in a legend ``data-key="0"``. ``small``: several
    drawings stand side by side where there is room.
    """

    drawings: Sequence[Drawing]
    curves: Sequence[tuple[str, str]] = ()
    small: bool = False


@dataclass(frozen=True)
class Note:
    """What a careful reader must know before believing something."""

    text: str


@dataclass(frozen=True)
class Terms:
    """Terms, each with its text. ``code``: the terms whose text is a command line."""

    rows: Sequence[tuple[str | Mark, str]]
    code: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Download:
    """A file that the page carries."""

    name: str
    content: str | bytes


Part = str | Drawing | Panel | Table | Note | Terms | Download


@dataclass(frozen=True)
class Section:
    """A heading, paragraphs, and under them the parts in the order given; a text among them is an aside.

    ``folded``: opened by a click. ``name`` is its address in the page; ``aside`` stands, softly, behind the heading.
    """

    heading: str
    text: Sequence[str] = ()
    parts: Sequence[Part | Section] = ()
    folded: bool = False
    name: str = ""
    aside: str = ""


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
    head: str = ""  # of the browser's tab, where it is not the title


def shown(value: Cell) -> str:
    """Return a cell as text.

    >>> shown(1.2345e-5), shown(1234567), shown(12.0), shown(float("inf")), shown(None), shown(-0.5)
    ('1.234e-05', '1,234,567', '12', '∞', '', '−0.5')
    """
    if value is None or isinstance(value, (str, Mark)):
        return str(value or "")
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
    return text.replace("-", "−", 1) if value < 0 else text
