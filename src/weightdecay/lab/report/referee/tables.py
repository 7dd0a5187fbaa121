"""The arms of a task as a table, and their numbers as text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from statistics import stdev

from weightdecay.document import Column, Mark, Table
from weightdecay.document.parts import Look
from weightdecay.lab.referee.answer import REFERENCE, Answer, Standing
from weightdecay.lab.referee.carried import Carried
from weightdecay.lab.referee.rulings import Ruled
from weightdecay.lab.report.numbers import decay

NO_BREAK = "\N{NO-BREAK SPACE}"

LOOKS: Mapping[Ruled, Look] = {"better": "good", "worse": "bad", "undecided": "open", "practically equal": ""}
"""How a verdict looks, in the order in which verdicts are counted."""


def columns(answer: Answer) -> tuple[Column[Standing], ...]:
    """Return the columns of a task's table."""
    text = answer.task.of_text
    unit = "%" if text else "points"
    return (
        Column("optimizer, decay", lambda one: Mark(one.arm.title, "strong")),
        Column("lr", lambda one: f"{one.cell.lr:g}", number=True),
        Column("λ", lambda one: decay(one.cell.weight_decay) if one.arm.has_weight_decay else "", number=True),
        Column(answer.task.judged_by + ("" if text else ", %"), lambda one: over_seeds(one, text), number=True),
        Column(f"minus {REFERENCE}, {unit} [95 %]", difference, number=True),
        Column("verdict", verdict),
        Column("basin", lambda one: share(one.basin), number=True),
        Column(f"kept λ costs, {unit}", lambda one: "" if one.kept_cost is None else plain(one.kept_cost), number=True),
    )


def table(answer: Answer) -> Table:
    """Return the arms, best first."""
    return Table.of(answer.standings, columns(answer))


def carried_table(answer: Answer) -> Table | None:
    """Return what it costs to keep λ where lr, batch and width change; None where that was not asked."""
    rows = [one for one in answer.standings if one.carried]
    if not rows:
        return None
    changed = [one.change for one in rows[0].carried]
    arm = Column[Standing]("optimizer, decay", lambda one: Mark(one.arm.title, "strong"))
    costs = (Column(change.title, partial(_cost_at, place)) for place, change in enumerate(changed))
    return Table.of(rows, (arm, *costs))


def _cost_at(place: int, one: Standing) -> str:
    return kept_cost(one.carried[place])


def kept_cost(one: Carried) -> str:
    """Return ``× 3: +0.42 ± 0.1``: the multiple of λ that is best there, and what it costs to keep λ.

    A line may end after the colon and nowhere else.
    """
    spread = f" ± {plain(stdev(one.costs))}" if all(map(math.isfinite, one.costs)) else ""
    cost = f"{plain(one.mean, sign=True)}{spread}".replace(" ", NO_BREAK)
    return f"×{NO_BREAK}{one.best:g}: {cost}"


def over_seeds(one: Standing, text: bool) -> str:
    """Return mean ± standard deviation over the judging seeds; of a perplexity, by its logarithm."""
    values = list(one.judged.values())
    if not all(map(math.isfinite, values)):
        return "∞"
    if text:
        return f"{math.exp(one.mean / 100):.3f} ± {stdev(values):.1f} %"
    return f"{one.mean:.2f} ± {stdev(values):.2f}"


def difference(one: Standing) -> str:
    """Return ``−0.31 [−0.9, +0.28]``; an en dash for the reference."""
    if one.ruling is None:
        return "–"
    if one.ruling.interval is None:
        return plain(one.ruling.mean, sign=True)
    low, high = one.ruling.interval
    return f"{plain(one.ruling.mean, sign=True)} [{plain(low, sign=True)}, {plain(high, sign=True)}]"


def plain(value: float, sign: bool = False) -> str:
    """Return a number to two decimals, with a minus that is one.

    >>> plain(-0.5), plain(0.25, sign=True), plain(float("inf"))
    ('−0.50', '+0.25', '∞')
    """
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    value = round(value, 6)  # as in the file of numbers: both are written alike
    return (f"{value:+.2f}" if sign else f"{value:.2f}").replace("-", "−")


def share(value: float | None) -> str:
    """Return a share in percent."""
    return "" if value is None else f"{100 * value:.0f} %"


def verdict(one: Standing) -> Mark:
    """Return the ruling in a word."""
    if one.ruling is None:
        return Mark("reference" if one.arm.decay == REFERENCE else "no reference", "soft")
    return Mark(one.ruling.verdict, LOOKS[one.ruling.verdict])


def finite(value: float | None) -> float | None:
    """Return the number rounded for a file, or None for what JSON cannot hold."""
    return round(value, 6) if value is not None and math.isfinite(value) else None
