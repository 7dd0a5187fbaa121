"""Claims about where an optimum is and how wide it is: judged by resampling the seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from weightdecay.lab.paper.claims import Judge
from weightdecay.lab.paper.experiment import Answer
from weightdecay.lab.paper.measure import Measure
from weightdecay.lab.paper.ordering import Judgement, bootstrap
from weightdecay.lab.statistics import Cell


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


def wider(curve: str, others: Sequence[str], within: float = 1.1) -> Judge:
    """More cells of the curve's map are within a factor of the lowest of all maps; a bootstrap over seeds."""

    def judge(answer: Answer, measure: Measure) -> Judgement:
        families = [answer.of(name) for name in (curve, *others)]

        def counts(seeds: Sequence[int]) -> list[int]:
            means = [
                [sum(measure.of(cell.results[s]) for s in seeds) / len(seeds) for cell in cells] for cells in families
            ]
            limit = within * min(min(row) for row in means)
            return [sum(value <= limit for value in row) for row in means]

        count = min(len(cells[0].results) for cells in families)
        verdict, share = bootstrap(count, lambda seeds: counts(seeds)[0] > max(counts(seeds)[1:]))
        said = ", ".join(
            f"{cells[0].point.title} {number} of {len(cells)}"
            for cells, number in zip(families, counts(range(count)), strict=True)
        )
        return Judgement(verdict, f"cells within {within:g} × the lowest: {said}; {100 * share:.0f} % of resamples")

    return judge


def _argmin(cells: Sequence[Cell], seeds: Sequence[int], measure: Measure) -> int:
    """Return the cell of the lowest mean over resampled seeds."""
    means = [sum(measure.chosen_by(cell.results[seed]) for seed in seeds) for cell in cells]
    return min(range(len(cells)), key=means.__getitem__)
