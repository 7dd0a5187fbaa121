"""An experiment as page and text tell it: question, pictures, numbers, claims, and what it took."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from weightdecay.lab.paper.experiment import Reproduction
from weightdecay.lab.report.drawn import draw, kinds
from weightdecay.lab.report.drawn.canvas import Picture
from weightdecay.lab.report.drawn.view import PaperView, views
from weightdecay.lab.report.page import versions
from weightdecay.lab.report.scorecard.cells import Listed, Settled, listed, runs_csv, settled
from weightdecay.lab.report.scorecard.lines import Line, lines_of
from weightdecay.lab.run import Result


@dataclass(frozen=True)
class Shown:
    """A panel, its pictures by the name of their files, and its tables."""

    name: str  # of files, and in the page
    view: PaperView
    pictures: dict[str, Picture]

    @property
    def settled(self) -> list[Settled]:
        """Each curve at its best λ and at the paper's."""
        return settled(self.view)

    @property
    def listed(self) -> list[Listed]:
        """Every cell."""
        return listed(self.view)

    @property
    def hides(self) -> bool:
        """Whether a picture has curves that can be hidden."""
        return any(picture.hides for picture in self.pictures.values())


@dataclass(frozen=True)
class Story:
    """An experiment with its panels. ``name`` is fit for a file and for an address in the page."""

    name: str
    reproduction: Reproduction

    @cached_property
    def views(self) -> list[PaperView]:
        """Its panels."""
        return views(self.reproduction)

    @cached_property
    def shown(self) -> list[Shown]:
        """Draw the pictures: ``fig7-decay``, or ``fig16-2-decay`` of the second panel of several."""
        found = []
        for number, view in enumerate(self.views, 1):
            name = self.panel_name(number)
            found.append(Shown(name, view, {f"{name}-{kind}": picture for kind, picture in draw(view).items()}))
        return found

    def panel_name(self, number: int) -> str:
        """Return the name of a panel, counted from 1."""
        return self.name if len(self.reproduction.answers) == 1 else f"{self.name}-{number}"

    def picture_names(self, folder: Path | None = None) -> list[list[str]]:
        """Name the pictures of every panel without drawing them; also those that lie in the folder from before."""

        def there(kind: str, name: str, view: PaperView) -> bool:
            return kind in kinds(view) or (folder is not None and (folder / f"{name}.png").exists())

        return [
            [name for kind in view.experiment.figures if there(kind, name := f"{self.panel_name(number)}-{kind}", view)]
            for number, view in enumerate(self.views, 1)
        ]

    @cached_property
    def lines(self) -> list[Line]:
        """Its rows of the scorecard."""
        return lines_of(self.reproduction, self.views)

    @property
    def seeds(self) -> list[int]:
        """Of all its runs, ascending."""
        return sorted({result.run.seed for result in self.reproduction.results})

    @property
    def cost(self) -> str:
        """Say what the runs took."""
        return cost(self.reproduction.results)

    @property
    def versions(self) -> str:
        """Say what the runs were made with."""
        return said_versions(self.reproduction.results)

    @property
    def runs(self) -> str:
        """One row per run, as comma-separated values."""
        return runs_csv(self.reproduction.experiment.name, self.views)


def stories(reproductions: Sequence[Reproduction]) -> list[Story]:
    """Return the experiments under names that no two share."""
    found: dict[str, Story] = {}
    for one in reproductions:
        plain = re.sub(r"[^a-z0-9]+", "-", one.experiment.name.lower()).strip("-") or "experiment"
        name, number = plain, 1
        while name in found:
            number += 1
            name = f"{plain}-run{number}"
        found[name] = Story(name, one)
    return list(found.values())


def cost(results: Sequence[Result]) -> str:
    """Say how many runs there were and how long they trained, and on what."""
    seconds = sum(result.seconds for result in results)
    runs = "1 run" if len(results) == 1 else f"{len(results):,} runs"
    hours = f" ({seconds / 3600:,.1f} hours)" if seconds >= 3600 else ""
    where = ", ".join(dict.fromkeys(result.where for result in results if result.where))
    return f"{runs}, {seconds:,.0f} seconds of training{hours}{f' on {where}' if where else ''}"


def said_versions(results: Sequence[Result]) -> str:
    """Say name and version of everything that the runs were made with."""
    return ", ".join(f"{name} {version}" for name, version in versions(results).items())
