"""A figure that knows which of its parts belong to which curve, and where its numbers can be read."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Literal

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Transform

from weightdecay.document import Drawing
from weightdecay.lab.report import figures
from weightdecay.lab.report.figures import INK, columns_for
from weightdecay.whole import write_whole


@dataclass(frozen=True)
class Spot:
    """A place of a figure, and what a reader is told there. ``curve`` is a position among the panel's curves."""

    x: float
    y: float
    through: Transform  # from x and y to the display
    text: str
    curve: int


@dataclass(frozen=True)
class Picture:
    """A figure, what is to be seen in it, and what can be read from it."""

    figure: Figure
    title: str
    caption: str
    spots: tuple[Spot, ...] = ()
    hides: bool = False  # whether its curves can be hidden one by one

    @cached_property
    def svg(self) -> str:
        """The figure without a background. It is laid out here, once: files and page show the same."""
        with figures.styled():
            self.figure.draw_without_rendering()
        self.figure.set_layout_engine(None)
        return figures.as_svg(self.figure, facecolor="none")

    def save(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write ``name.png`` and ``name.svg`` into the folder, on white; return both paths."""
        white = '<rect width="100%" height="100%" fill="#ffffff"/>'
        text = re.sub(r"<svg\b[^>]*>", lambda tag: tag[0] + white, self.svg, count=1)
        svg = write_whole(folder / f"{name}.svg", text)
        return figures.save_png(self.figure, folder, name), svg

    def drawing(self, name: str, caption: str = "") -> Drawing:
        """Return the figure for a page, which writes its title: what stands behind the name of an experiment.

        Without such a name the section says what it is. See :meth:`inline`.
        """
        title = self.title.partition("\n")[0].partition(": ")[2]
        return Drawing(self.inline(name), caption or self.caption, title[:1].upper() + title[1:], bool(self.spots))

    def inline(self, name: str) -> str:
        """Return the figure for a page: parts of a curve carry ``data-curve``, spots their text as a ``<title>``.

        ``name`` must differ from those of the page's other figures. The title is cut off.
        """
        text = figures.cropped(figures.in_page(self.svg, name), self._above)
        text = text.replace("<svg", f'<svg role="group" aria-label="{escape(self.title)}"', 1)
        text = re.sub(rf'id="({re.escape(name)}-(curve|key)-(\d+)-\d+)"', r'id="\1" data-\2="\3"', text)
        shown = "".join(self._spots())
        return text.replace("</svg>", f'<g class="spots">{shown}</g></svg>') if shown else text

    @property
    def _above(self) -> float:
        """The height of the title, in points from the top. Known once the figure is laid out."""
        titles = [one for one in self.figure.findobj(Text) if isinstance(one, Text) and one.get_text() == self.title]
        low = min((one.get_window_extent().y0 for one in titles), default=self.figure.bbox.y1)
        return max(0.0, (self.figure.bbox.y1 - low) * 72 / self.figure.dpi)

    def _spots(self) -> Iterator[str]:
        """Return the spots in the units of the SVG, which are points from the upper left."""
        points, height = 72 / self.figure.dpi, 72 * self.figure.get_size_inches()[1]
        for spot in self.spots:
            x, y = spot.through.transform((spot.x, spot.y)) * points
            if math.isfinite(x) and math.isfinite(y):
                yield (
                    f'<circle class="spot" data-curve="{spot.curve}" cx="{x:.1f}" cy="{height - y:.1f}" r="8" '
                    f'tabindex="-1"><title>{escape(spot.text)}</title></circle>\n'
                )


@dataclass
class Canvas:
    """A figure being drawn."""

    figure: Figure
    spots: list[Spot] = field(default_factory=list)
    named: dict[str, int] = field(default_factory=dict)  # label of a legend → curve
    count: int = 0

    @contextmanager
    def curve(self, axes: Axes, position: int) -> Iterator[None]:
        """Whatever is drawn on the axes inside this belongs to the curve."""
        before = set(axes.get_children())
        yield
        for artist in axes.get_children():
            if artist not in before:
                self._tag(artist, "curve", position)
                if not str(artist.get_label()).startswith("_"):
                    self.named[str(artist.get_label())] = position

    def spot(self, axes: Axes, x: float, y: float, text: str, curve: int, through: Transform | None = None) -> None:
        """Let a number be read at a place, in the data's coordinates unless another transform says otherwise."""
        self.spots.append(Spot(x, y, through or axes.transData, text, curve))

    def legend(self, axes: Axes, *more: Line2D) -> None:
        """Put the legend of the axes below the figure, and what marks mean after it."""
        handles, labels = axes.get_legend_handles_labels()
        handles, labels = [*handles, *more], [*labels, *(str(one.get_label()) for one in more)]
        if not labels:
            return
        width, height = self.figure.get_size_inches()
        columns = columns_for(labels, width)
        self.figure.set_size_inches(width, height + 0.22 * math.ceil(len(labels) / columns))
        legend = self.figure.legend(handles, labels, loc="outside lower center", ncols=columns)
        for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
            position = self.named.get(text.get_text())
            if position is not None and handle is not None:
                self._tag(handle, "key", position)
                self._tag(text, "key", position)

    def done(self, title: str, caption: str) -> Picture:
        """Return the picture."""
        for axes in self.figure.axes:
            axes.patch.set_visible(False)  # the page has its own background
        return Picture(self.figure, title, caption, tuple(self.spots), hides=bool(self.named))

    def _tag(self, artist: Artist, kind: str, position: int) -> None:
        self.count += 1
        artist.set_gid(f"{kind}-{position}-{self.count}")  # numbers only: no name of a curve becomes markup


def mark(label: str, marker: str, size: float = 8.0, line: Literal["none", "-"] = "none", width: float = 1.2) -> Line2D:
    """Return an entry of a legend that explains a mark."""
    return Line2D(
        [], [], color=INK, marker=marker, linestyle=line, linewidth=width, markersize=size, markerfacecolor="none",
        markeredgewidth=1.2, label=label,
    )  # fmt: skip
