"""How every figure looks, and how it becomes files, or SVG to be inlined in a page."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from weightdecay.document import Drawing
from weightdecay.lab.run import Metric
from weightdecay.whole import write_whole

INK = "#1b1f24"
"""Text and axes. The inlined SVG draws this colour as ``currentColor``, so that it follows the page, dark or light."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C")
"""Okabe and Ito's colours without yellow and black, which one of the two backgrounds would hide; and a grey."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", (0, (5, 2)), (0, (1, 1.4)), (0, (5, 1.5, 1, 1.5)))

STYLE: dict[Any, Any] = {
    "text.usetex": False,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "font.size": 10.5,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#8c8c8c",
    "grid.alpha": 0.25,
    "grid.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "legend.handlelength": 2.8,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.5,
    "svg.fonttype": "path",  # the same letters on every machine, and none to fetch
    "svg.hashsalt": "weightdecay",  # the same numbers give the same file
    "figure.dpi": 100,
}


@contextmanager
def styled() -> Iterator[None]:
    """Draw in the style of all figures here: inside this, and when saving."""
    with mpl.rc_context(STYLE):
        yield


def look(position: int) -> dict[str, Any]:
    """Return colour, marker and dash of the optimizer at that position: no two alike among 28."""
    turn, place = divmod(position, len(COLOURS))
    marker = MARKERS[(place + 3 * turn) % len(MARKERS)]
    return {"color": COLOURS[place], "marker": marker, "linestyle": DASHES[turn % len(DASHES)]}


def columns_for(labels: Sequence[str], inches: float = 7.0) -> int:
    """Return how many columns of a legend fit below a figure of so many inches."""
    longest = max(map(len, labels), default=0) * 7.0 / inches
    return next((columns for columns, most in ((4, 14), (3, 22), (2, 40)) if longest <= most), 1)


def axis_title(text: str, metric: Metric) -> str:
    """Return the text with the metric's unit behind it."""
    return f"{text}, {metric.unit}" if metric.unit else text


def save(figure: Figure, folder: Path, name: str) -> tuple[Path, Path]:
    """Write ``name.png`` and ``name.svg`` into the folder, on white; return both paths."""
    svg = write_whole(folder / f"{name}.svg", as_svg(figure, facecolor="white"))
    return save_png(figure, folder, name), svg


def save_png(figure: Figure, folder: Path, name: str) -> Path:
    """Write ``name.png`` into the folder, on white; return its path."""
    buffer = io.BytesIO()
    with styled():
        figure.savefig(buffer, format="png", dpi=160, facecolor="white", metadata={"Software": None})
    return write_whole(folder / f"{name}.png", buffer.getvalue())


def draw(figure: Figure, folder: Path, name: str, caption: str) -> Drawing:
    """Write ``name.png`` and ``name.svg`` into the folder and return the figure for a page.

    ``name`` must differ from those of the page's other figures. The page's copy has no titles: the section and the
    caption say what it is. Call once per figure. Raises: OSError, where the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save(figure, folder, name)
    for axes in figure.axes:
        axes.set_title("", loc="left")  # the page has its own headings
        axes.patch.set_visible(False)
    return Drawing(in_page(as_svg(figure, facecolor="none"), name), caption)


def in_page(text: str, name: str) -> str:
    """Return an SVG file's text as an element that follows the page's colour and width.

    ``name`` is put before every id, because several figures share one page.
    """
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r'\b(id="|clip-path="url\(#|href="#)', rf"\1{name}-", text)
    text = re.sub(r"url\(#(?!" + re.escape(name) + "-)", f"url(#{name}-", text)
    # The width and height in points would win over the page's style; the viewBox keeps the shape.
    return re.sub(r'(<svg\b[^>]*?)\s+height="[^"]*"|(<svg\b[^>]*?)\s+width="[^"]*"', r"\1\2", text, count=1)


def cropped(text: str, points: float) -> str:
    """Return the text of an SVG without so many points at its top."""

    def box(found: re.Match[str]) -> str:
        width, height = map(float, found.groups())
        return f'viewBox="0 {points:.1f} {width:g} {height - points:.1f}"'

    return re.sub(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', box, text, count=1)


def as_svg(figure: Figure, facecolor: str) -> str:
    """Return the file's text without the doctype and the metadata: they name addresses, and a figure needs none."""
    buffer = io.StringIO()
    with styled():
        figure.savefig(
            buffer,
            format="svg",
            facecolor=facecolor,
            metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")),
        )
    text = re.sub(r"<!DOCTYPE.*?>\s*", "", buffer.getvalue(), flags=re.DOTALL)
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    return re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)


def plain(label: str) -> str:
    """Return the label as a legend shows it: one that begins with an underscore would be left out."""
    return label.lstrip("_")
