"""The rows of the scorecard: a claim on a panel, what the paper said, what was measured, and whether it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

from weightdecay.lab.paper.experiment import Reproduction, Row
from weightdecay.lab.paper.ordering import Judgement, Verdict
from weightdecay.lab.report.drawn.view import PaperView, views

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

MARK = "†"
"""Behind a verdict of the paper's measure that another measure does not share."""

OWN = "◇"
"""Behind a claim that the paper does not make."""


@dataclass(frozen=True)
class Line:
    """A row with the panel it was judged on."""

    row: Row
    view: PaperView
    reproduction: Reproduction

    @property
    def verdict(self) -> str:
        """By the paper's measure, marked where another disagrees."""
        return self.row.headline.verdict + ("" if self.row.agree else f" {MARK}")

    @property
    def claim(self) -> str:
        """The sentence, marked where it is not the paper's."""
        return self.row.claim.text + (f" {OWN}" if self.row.claim.own else "")

    @property
    def where(self) -> str:
        """Network, data and scale."""
        return self.view.where

    @property
    def by_measure(self) -> Mapping[str, Judgement]:
        """Every judgement, the paper's own measure first."""
        return self.row.judged

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        setting = self.view.answer.question.task
        return {
            "experiment": self.row.experiment,
            "panel": self.row.panel,
            "claim": self.row.claim.text,
            "own": self.row.claim.own,
            "paper": self.row.claim.paper,
            "scale": self.reproduction.scale.name,
            "network": setting.network,
            "data": setting.data,
            "read_from": self.view.read_from,
            "setting": setting.words,
            "agree": self.row.agree,
            "by_measure": {
                name: {"verdict": one.verdict, "measured": one.measured, "seeds_needed": one.seeds}
                for name, one in self.row.judged.items()
            },
            "command": self.reproduction.command,
        }


def lines(reproductions: Sequence[Reproduction]) -> list[Line]:
    """Return the rows of all experiments, in their order."""
    return [line for one in reproductions for line in lines_of(one, views(one))]


def lines_of(reproduction: Reproduction, panels: Sequence[PaperView]) -> list[Line]:
    """Return the rows of one experiment."""
    by_title = {view.answer.question.setting: view for view in reversed(panels)}
    return [Line(row, by_title[row.panel], reproduction) for row in reproduction.rows]


def rows(reproductions: Sequence[Reproduction]) -> list[dict[str, str]]:
    """Return the scorecard as plain text: one row per claim and panel; for terminals.

    A verdict is that of the paper's measure; ``†`` behind it says that another measure comes to another one.
    """
    return [
        {
            "experiment": line.row.experiment,
            "panel": line.view.name,
            "claim": line.claim,
            "verdict": line.verdict,
            "measured": line.row.headline.measured,
        }
        for line in lines(reproductions)
    ]


@dataclass(frozen=True)
class Tally:
    """What the scorecard comes to."""

    lines: Sequence[Line]

    @cached_property
    def verdicts(self) -> dict[Verdict, int]:
        """How many rows got each verdict, by the paper's measure."""
        return {verdict: sum(line.row.headline.verdict == verdict for line in self.lines) for verdict in VERDICTS}

    @property
    def disagreements(self) -> int:
        """How many rows get another verdict by another measure."""
        return sum(not line.row.agree for line in self.lines)

    @property
    def own(self) -> int:
        """How many rows the paper does not have."""
        return sum(line.row.claim.own for line in self.lines)

    @property
    def scales(self) -> tuple[str, ...]:
        """Of all rows."""
        return tuple(dict.fromkeys(line.reproduction.scale.name for line in self.lines))

    def __str__(self) -> str:
        """Return the outcome in plain words."""
        count, judged = len(self.lines), {name: number for name, number in self.verdicts.items() if number}
        words = {
            "holds": "{} holds", "refuted": "{} is refuted", "practically equal": "{} comes out practically equal",
            "undecided": "{} is undecided at this power", "not judged": "{} is not judged",
        }  # fmt: skip
        several = {
            "holds": "{} hold", "refuted": "{} are refuted", "practically equal": "{} come out practically equal",
            "undecided": "{} are undecided at this power", "not judged": "{} are not judged",
        }  # fmt: skip
        said = [(words if number == 1 else several)[name].format(number) for name, number in judged.items()]
        text = f"{count} {'claim' if count == 1 else 'claims'}, at scale {' and '.join(self.scales)}: "
        text += (", ".join(said[:-1]) + " and " + said[-1] if len(said) > 1 else "".join(said)) + "."
        if self.disagreements:
            row = "row gets" if self.disagreements == 1 else "rows get"
            text += f" {self.disagreements} {row} another verdict at the last epoch or by validation ({MARK})."
        return text
