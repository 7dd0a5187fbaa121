"""Claims that one number is lower than others: a paired test over seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from weightdecay.lab.paper.experiment import Judge, Panel
from weightdecay.lab.paper.measure import Measure
from weightdecay.lab.paper.ordering import Judgement, all_of, margin
from weightdecay.lab.paper.premise import judged_without, unmet
from weightdecay.lab.run import Result
from weightdecay.lab.study.answer import Answer, Cell, mean
from weightdecay.lab.study.difference import Difference, paired

Chosen = Callable[[Answer[Panel], str, Measure], Cell]
"""(answer, curve, measure) → the cell of the curve that is compared."""


def tuned(answer: Answer[Panel], curve: str, measure: Measure) -> Cell:
    """Compare each curve at the lr and λ that are best for it."""
    return answer.best(curve, measure.chosen_by)


def fixed(answer: Answer[Panel], curve: str, measure: Measure) -> Cell:
    """Compare each curve at the paper's lr and λ."""
    return answer.at_fixed(curve)


def lowest(curve: str, others: Sequence[str], at: Chosen = tuned) -> Judge:
    """The curve is lower than each of the others; paired over seeds, see :func:`ordering.all_of`.

    At the paper's λ, AdamW is judged where its premise holds: see :mod:`premise`.
    """

    def judge(answer: Answer[Panel], measure: Measure) -> Judgement:
        mine = at(answer, curve, measure)
        against, reasons = _parted(answer, [at(answer, other, measure) for other in others], at)
        if not against:
            return Judgement("not judged", "; ".join(reasons))
        differences = [_paired(mine, cell, measure) for cell in against]
        verdict, seeds = all_of(differences, [_margin(cell, measure) for cell in against])
        said = "; ".join(
            f"− {cell.point.title} {mean(cell.results, measure.of):.4g} = {one}"
            for cell, one in zip(against, differences, strict=True)
        )
        where = f" (λ {mine.point.weight_decay:g})"
        first = f"{mine.point.title}{where} {mean(mine.results, measure.of):.4g} {said}"
        return judged_without(verdict, [first], reasons, seeds)

    return judge


def _parted(answer: Answer[Panel], cells: Sequence[Cell], at: Chosen) -> tuple[list[Cell], list[str]]:
    """Return the cells that are judged, and the reasons of those that are not."""
    reasons = [unmet(answer, cell) if at is fixed else "" for cell in cells]
    judged = [cell for cell, reason in zip(cells, reasons, strict=True) if not reason]
    return judged, [reason for reason in reasons if reason]


def lower_everywhere(curve: str, others: Sequence[str]) -> Judge:
    """The curve is lower than each of the others wherever both are drawn: at every λ, at the same lr."""

    def judge(answer: Answer[Panel], measure: Measure) -> Judgement:
        drawn = answer.question.drawn
        pairs: list[tuple[str, float, Difference]] = []
        margins: list[float] = []
        for other in others:
            theirs = {(cell.point.lr, drawn[cell.point]): cell for cell in answer.of(other)}
            for cell in answer.of(curve):
                place = (cell.point.lr, drawn[cell.point])
                if place in theirs:
                    pairs.append((theirs[place].point.title, place[1], _paired(cell, theirs[place], measure)))
                    margins.append(_margin(theirs[place], measure))
        verdict, seeds = all_of([one for *_, one in pairs], margins)
        below = sum(one.mean < 0 for *_, one in pairs)
        worst = max(pairs, key=lambda pair: pair[2].mean)
        title = answer.of(curve)[0].point.title
        said = (
            f"{title} is lower at {below} of {len(pairs)} places; least so at {worst[1]:g} "
            f"against {worst[0]}: {worst[2]}"
        )
        return Judgement(verdict, said, seeds)

    return judge


def _paired(a: Cell, b: Cell, measure: Measure) -> Difference:
    return _by_seed(a, b, measure.of)


def _by_seed(a: Cell, b: Cell, of: Callable[[Result], float]) -> Difference:
    """Pair the first seeds, which both have: a cell that is left behind in the race has fewer (:mod:`race`)."""
    count = min(len(a.results), len(b.results))
    return paired(*([of(result) for result in cell.results[:count]] for cell in (a, b)))


def _margin(cell: Cell, measure: Measure) -> float:
    return margin(cell.results[0].metric, mean(cell.results, measure.of))


def decreasing(along: Sequence[tuple[str, float]]) -> Judge:
    """The metric falls from each (curve, place) to the next."""

    def judge(answer: Answer[Panel], measure: Measure) -> Judgement:
        cells = [cell_at(answer, curve, place) for curve, place in along]
        steps = [_paired(later, earlier, measure) for earlier, later in pairwise(cells)]
        verdict, seeds = all_of(steps, [_margin(earlier, measure) for earlier in cells[:-1]])
        means = ", ".join(f"{mean(cell.results, measure.of):.4g}" for cell in cells)
        return Judgement(verdict, f"{means}; steps {', '.join(map(str, steps))}", seeds)

    return judge


def lower_at(first: tuple[str, float], second: tuple[str, float]) -> Judge:
    """The first (curve, place) is lower than the second."""

    def judge(answer: Answer[Panel], measure: Measure) -> Judgement:
        a, b = (cell_at(answer, curve, place) for curve, place in (first, second))
        one = _paired(a, b, measure)
        means = [mean(cell.results, measure.of) for cell in (a, b)]
        verdict, seeds = all_of([one], [_margin(b, measure)])
        return Judgement(verdict, f"{means[0]:.4g} − {means[1]:.4g} = {one}", seeds)

    return judge


def cell_at(answer: Answer[Panel], curve: str, place: float) -> Cell:
    """Return the cell of a curve that is drawn at a place. Raises: KeyError, where there is none."""
    for cell in answer.of(curve):
        if math.isclose(answer.question.drawn[cell.point], place, rel_tol=1e-9):
            return cell
    raise KeyError(f"{curve!r} has no run at {place:g}")


def lower_error_at_no_lower_loss(curve: str, others: Sequence[str], at: Chosen = fixed, part: float = 0.2) -> Judge:
    """Over the last part of the epochs the curve has a lower test error than each of the others, at a loss not lower.

    The claim is about equal or higher losses: an other at whose side the curve's loss is lower is not in it, and where
    none is left nothing is decided.
    """

    def judge(answer: Answer[Panel], measure: Measure) -> Judgement:
        mine = at(answer, curve, measure)
        against, reasons = _parted(answer, [at(answer, other, measure) for other in others], at)
        if not against:
            return Judgement("not judged", "; ".join(reasons))
        errors, margins, said = [], [], []
        for theirs in against:
            error, loss = _late(mine, theirs, "test", part), _late(mine, theirs, "train_loss", part)
            if loss.verdict == "holds":
                said.append(f"not compared with {theirs.point.title}, whose training loss is higher: {loss}")
                continue
            errors.append(error)
            margins.append(margin(answer.metric, mean(theirs.results, lambda result: result.late("test", part))))
            said.append(f"against {theirs.point.title}: test {error}, training loss {loss}")
        verdict, seeds = all_of(errors, margins) if errors else ("undecided", None)
        return judged_without(verdict, said, reasons, seeds)

    return judge


def lowest_training_loss(curve: str, others: Sequence[str], at: Chosen = fixed) -> Judge:
    """The curve's training loss at the last epoch is lower than each of the others'."""

    def judge(answer: Answer[Panel], measure: Measure) -> Judgement:
        mine = at(answer, curve, measure)
        against, reasons = _parted(answer, [at(answer, other, measure) for other in others], at)
        if not against:
            return Judgement("not judged", "; ".join(reasons))
        differences, said = [], []
        for theirs in against:
            one = _late(mine, theirs, "train_loss", 0.0)
            differences.append(one)
            said.append(f"− {theirs.point.title} = {one}")
        verdict, seeds = all_of(differences)
        return judged_without(verdict, [f"{mine.point.title} {'; '.join(said)}"], reasons, seeds)

    return judge


def _late(a: Cell, b: Cell, quantity: str, part: float) -> Difference:
    return _by_seed(a, b, lambda result: result.late(quantity, part))
