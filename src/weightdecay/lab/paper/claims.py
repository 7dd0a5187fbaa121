"""The kinds of claim that the paper makes, each a predicate over cells with its statistics."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from weightdecay.lab.paper.experiment import Answer, mean
from weightdecay.lab.paper.measure import Measure
from weightdecay.lab.paper.ordering import Difference, Judgement, all_of, bootstrap, difference
from weightdecay.lab.statistics import Cell

Judge = Callable[[Answer, Measure], Judgement]
Chosen = Callable[[Answer, str, Measure], Cell]
"""(answer, curve, measure) → the cell of the curve that is compared."""


def tuned(answer: Answer, curve: str, measure: Measure) -> Cell:
    """Compare each curve at the lr and λ that are best for it."""
    return answer.best(curve, measure)


def fixed(answer: Answer, curve: str, measure: Measure) -> Cell:
    """Compare each curve at the paper's lr and λ."""
    return answer.at_fixed(curve)


def lowest(curve: str, others: Sequence[str], at: Chosen = tuned) -> Judge:
    """The curve is lower than each of the others; paired over seeds, see :func:`ordering.all_of`."""

    def judge(answer: Answer, measure: Measure) -> Judgement:
        mine = at(answer, curve, measure)
        against = [at(answer, other, measure) for other in others]
        differences = [_paired(mine, cell, measure) for cell in against]
        verdict, seeds = all_of(differences)
        said = "; ".join(
            f"− {cell.point.title} {mean(cell.results, measure.of):.4g} = {one}"
            for cell, one in zip(against, differences, strict=True)
        )
        where = f" (λ {mine.point.weight_decay:g})"
        return Judgement(verdict, f"{mine.point.title}{where} {mean(mine.results, measure.of):.4g} {said}", seeds)

    return judge


def lower_everywhere(curve: str, others: Sequence[str]) -> Judge:
    """The curve is lower than each of the others wherever both are drawn: at every λ, at the same lr."""

    def judge(answer: Answer, measure: Measure) -> Judgement:
        drawn = answer.panel.drawn
        pairs: list[tuple[str, float, Difference]] = []
        for other in others:
            theirs = {(cell.point.lr, drawn[cell.point]): cell for cell in answer.of(other)}
            for cell in answer.of(curve):
                place = (cell.point.lr, drawn[cell.point])
                if place in theirs:
                    pairs.append((theirs[place].point.title, place[1], _paired(cell, theirs[place], measure)))
        verdict, seeds = all_of([one for *_, one in pairs])
        below = sum(one.mean < 0 for *_, one in pairs)
        worst = max(pairs, key=lambda pair: pair[2].mean)
        title = answer.of(curve)[0].point.title
        said = f"{title} is lower at {below} of {len(pairs)} places; least so at {worst[1]:g} "
            f"against {worst[0]}: {worst[2]}"
        return Judgement(verdict, said, seeds)

    return judge


def optimum_at(curve: str, place: float, factor: float = 3.5) -> Judge:
    """The best λ of the curve, as drawn, is within a factor of a place; a bootstrap over seeds.

    The default factor lets it be one step of half a decade beside.
    """

    def judge(answer: Answer, measure: Measure) -> Judgement:
        cells = answer.of(curve)
        drawn = [answer.panel.drawn[cell.point] for cell in cells]

        def near(seeds: Sequence[int]) -> bool:
            at = drawn[_argmin(cells, seeds, measure)]
            return at > 0 and abs(math.log(at / place)) <= math.log(factor)

        count = len(cells[0].results)
        verdict, share = bootstrap(count, near)
        at = drawn[_argmin(cells, range(count), measure)]
        return Judgement(
            verdict,
            f"best at {at:g}, {at / place:.2g} times the {place:g} of the claim; within a factor of {factor:g} in "
            f"{100 * share:.0f} % of resamples of the seeds",
        )

    return judge


def same_optimum(curves: Sequence[str], factor: float = 3.5) -> Judge:
    """All curves are best at the same λ, as drawn, up to a factor between the outermost; a bootstrap over seeds."""

    def judge(answer: Answer, measure: Measure) -> Judgement:
        families = [answer.of(curve) for curve in curves]

        def places(seeds: Sequence[int]) -> list[float]:
            return [answer.panel.drawn[cells[_argmin(cells, seeds, measure)].point] for cells in families]

        def near(seeds: Sequence[int]) -> bool:
            found = places(seeds)
            return max(found) <= factor * min(found)

        count = min(len(cells[0].results) for cells in families)
        verdict, share = bootstrap(count, near)
        said = ", ".join(
            f"{cells[0].point.title} {place:g}" for cells, place in zip(families, places(range(count)), strict=True)
        )
        return Judgement(verdict, f"best at: {said}; within a factor of {factor:g} in {100 * share:.0f} % of resamples")

    return judge


def optimum_follows(curves: Sequence[str], factors: Sequence[float], slack: float = 3.5) -> Judge:
    """The best λ of each curve is that of the first times its factor, up to ``slack``; a bootstrap over seeds."""

    def judge(answer: Answer, measure: Measure) -> Judgement:
        families = [answer.of(curve) for curve in curves]

        def places(seeds: Sequence[int]) -> list[float]:
            return [answer.panel.drawn[cells[_argmin(cells, seeds, measure)].point] for cells in families]

        def near(seeds: Sequence[int]) -> bool:
            first, *others = places(seeds)
            return all(
                abs(math.log(place / (first * factor))) <= math.log(slack)
                for place, factor in zip(others, factors, strict=True)
            )

        count = min(len(cells[0].results) for cells in families)
        verdict, share = bootstrap(count, near)
        said = ", ".join(
            f"{cells[0].point.title}: {place:g}" for cells, place in zip(families, places(range(count)), strict=True)
        )
        asked = ", ".join(f"× {factor:g}" for factor in factors)
        return Judgement(
            verdict, f"best λ: {said}; the claim is {asked}, within {slack:g} in {100 * share:.0f} % of resamples"
        )

    return judge


def _argmin(cells: Sequence[Cell], seeds: Sequence[int], measure: Measure) -> int:
    """Return the cell of the lowest mean over resampled seeds."""
    means = [sum(measure.chosen_by(cell.results[seed]) for seed in seeds) for cell in cells]
    return min(range(len(cells)), key=means.__getitem__)


def _paired(a: Cell, b: Cell, measure: Measure) -> Difference:
    return difference([measure.of(r) for r in a.results], [measure.of(r) for r in b.results])
