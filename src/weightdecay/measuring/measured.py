"""What was measured, in a record, in words and in a row of a table."""

from __future__ import annotations

import math
from dataclasses import dataclass

from weightdecay.measuring.experiment import Pulls
from weightdecay.measuring.kinds import NONE, TOLERANCE, UNNAMED
from weightdecay.measuring.reach import Reach
from weightdecay.measuring.walk import LR, STEPS, STRENGTH

PLACES = {"before": "before the update", "after": "after the update", "gradient": "inside the gradient", "": "–"}
FORMULAS = {
    "vanilla": "λ",
    "decoupled": "ηλ",
    "independent": "λ η_t/η_max",
    "corrected": "λ η_t²/η_max",
    "stable": "ηλ · gain",
    "elementwise": "ηλ · gain of the element",
}
HEADINGS = ("optimizer", "kind", "pull/formula", "lr", "schedule", "gradient", "where", "vectors", "bf16", "notes")
"""Of the cells of :meth:`Measured.row`."""


@dataclass(frozen=True)
class Measured:
    r"""The effect of an optimizer's ``weight_decay``, as its paths show it. See :func:`weightdecay.measure`.

    ``kind``
        A decay as :mod:`weightdecay.catalog` names it: "l2", "decoupled", "independent", "vanilla", "stable",
        "elementwise", "corrected"; "cautious(decoupled)" where it acts only on elements that the update shrinks too;
        "none" where λ changes nothing; "unnamed" where the numbers fit none of these.
    ``also``
        Other names with the same path: L2 under SGD without momentum is "decoupled" too.
    ``low``, ``high``
        pull/formula over the steps that count: 1 is an exact λ, −1 lets weights grow. For L2: the multiple of λθ that
        is added to the gradient.
    ``lr``, ``schedule``, ``gradient``
        Exponents of the pull, in the lr, in lr over the initial lr, and in the scale of the gradients. Under L2 and
        where the update depends on the weight they need not be whole, nor the same at every step; they are those of the
        last step, whose gradient is 0.
    ``pull``
        At the last step, at lr 0.1 and λ 0.01.
    ``where``
        "before" or "after" the update, in the "gradient", or "" where that cannot be told.
    ``steps``
        At how many of 12 steps the numbers are those of the kind.
    ``reach``
        Vectors, groups, λ as a tensor, bfloat16: :class:`Reach`. None for what is no optimizer of torch's kind.
    """

    name: str
    kind: str
    also: tuple[str, ...]
    low: float
    high: float
    lr: float
    schedule: float
    gradient: float
    pull: float
    where: str
    steps: int
    sees_weight: bool
    effect: float
    apart: float
    default: float | None = None
    reach: Reach | None = None

    def fits(self, kind: str, rtol: float = 1e-2) -> bool:
        """Whether it is that kind of decay, with λ as it stands: pull/formula within ``rtol`` of 1."""
        if kind not in (self.kind, *self.also):
            return False
        if kind in (NONE, UNNAMED) or kind in self.also:
            return True
        return all(abs(ratio - 1) <= rtol for ratio in (self.low, self.high))

    @property
    def ratio(self) -> str:
        """pull/formula in words: one number, or the smallest and the largest."""
        if math.isnan(self.low):
            return "–"
        if abs(self.high - self.low) < TOLERANCE * max(abs(self.low), abs(self.high)):
            return f"{(self.low + self.high) / 2:.3g}"
        return f"{self.low:.2g} to {self.high:.2g}"

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks for the user beside the kind."""
        said = [f"here also {', '.join(self.also)}"] if self.also else []
        if self.kind not in (NONE, UNNAMED, "l2") and self.steps < STEPS:
            said.append(f"at {self.steps} of {STEPS} steps")
        if self.high < 0:
            said.append("weights grow")
        if self.sees_weight and self.kind != NONE:
            said.append("the update depends on the weight")
        if (reach := self.reach) is not None and self.kind != NONE:
            said += [
                *(["a group's own λ is ignored"] if reach.groups is False else []),
                *(["a λ written later is ignored"] if reach.written is False else []),
                *(["a tensor λ decays differently"] if reach.tensor is False else []),
            ]
        return tuple(said)

    def row(self) -> tuple[str, ...]:
        """Return the cells under :data:`HEADINGS`."""
        shown = [_exponent(x) for x in (self.lr, self.schedule, self.gradient)]
        if self.kind in ("l2", NONE):
            shown = ["–"] * 3
        vectors, arrives = "–", "–"
        if self.reach is not None and self.kind != NONE:
            vectors = {True: "yes", False: "no", None: "refused"}[self.reach.vectors]
            arrives = _arrives(self.reach.bfloat16)
        where = {"gradient": "in g", "": "–"}.get(self.where, self.where)
        return (self.name, self.kind, self.ratio, *shown, where, vectors, arrives, "; ".join(self.notes))

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.kind}" + (f", pull = {formula}" if (formula := self._formula()) else "")]
        if self.kind == NONE:
            lines.append(f"  weights with λ = {STRENGTH} and with λ = 0 are the same after each of {STEPS} steps")
            return "\n".join(lines)
        if self.kind == "l2":
            lines.append(f"  the path is that of {self.ratio} λθ added to the gradient by hand")
        else:
            each = ", ".join(f"{_exponent(x)} in {of}" for x, of in self._exponents())
            lines.append(f"  pull at lr {LR}, λ {STRENGTH}: {self.pull:.3g}; exponents: {each}")
            if not math.isnan(self.low):
                lines.append(f"  pull/formula: {self.ratio}")
        if self.where:
            lines.append(f"  where: {PLACES[self.where]}")
        if self.reach is not None:
            lines.append(f"  vectors beside matrices: {_said(self.reach.vectors, 'decay', 'do not decay')}")
            lines.append(f"  weights in bfloat16: {_arrives(self.reach.bfloat16)} of the decay arrives")
        if self.default is not None:
            lines.append(f"  λ unless given: {self.default:g}")
        return "\n".join(lines + [f"  note: {note}" for note in self.notes])

    def _formula(self) -> str:
        inner = self.kind.removeprefix("cautious(").removesuffix(")")
        return FORMULAS.get(inner, "")

    def _exponents(self) -> tuple[tuple[float, str], ...]:
        return ((self.lr, "the lr"), (self.schedule, "its schedule"), (self.gradient, "the gradient's scale"))


def last(pulls: Pulls) -> tuple[float, float, float, float]:
    """Return pull and exponents at the last step at which there are such; NaN where there is none."""
    table = list(
        zip(pulls.pull.tolist(), pulls.lr.tolist(), pulls.schedule.tolist(), pulls.gradient.tolist(), strict=True)
    )
    there = [row for row in table if all(map(math.isfinite, row))]
    return there[-1] if there else (table[-1][0], math.nan, math.nan, math.nan)


def _exponent(value: float) -> str:
    return "–" if math.isnan(value) else f"{value + 0.0:.2f}".replace("-0.00", "0.00")


def _arrives(part: float | None) -> str:
    return "refused" if part is None else f"{100 * part:.0f} %".replace("-0 %", "0 %")


def _said(what: bool | None, yes: str, no: str) -> str:
    return "refused" if what is None else yes if what else no
