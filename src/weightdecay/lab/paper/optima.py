"""Claims about where an optimum is and how wide it is: judged by resampling the seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from weightdecay.lab.paper.experiment import Judge, Panel
from weightdecay.lab.paper.measure import Measure
from weightdecay.lab.paper.ordering import Judgement, bootstrap
from weightdecay.lab.study.answer import Answer, Cell, in_the_race

Places = Sequence[float]
"""Where each curve is best, as drawn, in the order of the curves."""


def optimum_at(curve: str, place: float, factor: float = 3.5) -> Judge:
    """The best λ of the curve, as drawn, is within a factor of a place.

    The default factor lets it be one step of half a decade beside.
    """

    def say(titles: Sequence[str], found: Places, share: str) -> str:
        return (
            f"best at {found[0]:g}, {found[0] / place:.2g} times the {place:g} of the claim; within a factor of "
            f"{factor:g} in {share} of the seeds"
        )

    return _about_places((curve,), lambda found: _near(found[0], place, factor), say)


def same_optimum(curves: Sequence[str], factor: float = 3.5) -> Judge:
    """All curves are best at the same λ, as drawn, up to a factor between the outermost."""

    def say(titles: Sequence[str], found: Places, share: str) -> str:
        where = ", ".join(f"{title} {place:g}" for title, place in zip(titles, found, strict=True))
        return f"best at: {where}; within a factor of {factor:g} in {share}"

    return _about_places(curves, lambda found: max(found) <= factor * min(found), say)


def optimum_follows(curves: Sequence[str], factors: Sequence[float], slack: float = 3.5) -> Judge:
    """The best λ of each curve is that of the first times its factor, up to ``slack``."""

    def holds(found: Places) -> bool:
        first, *others = found
        return all(_near(place, first * factor, slack) for place, factor in zip(others, factors, strict=True))

    def say(titles: Sequence[str], found: Places, share: str) -> str:
        where = ", ".join(f"{title}: {place:g}" for title, place in zip(titles, found, strict=True))
        asked = ", ".join(f"× {factor:g}" for factor in factors)
        return f"best λ: {where}; the claim is {asked}, within {slack:g} in {share}"

    return _about_places(curves, holds, say)


def _about_places(
    curves: Sequence[str], holds: Callable[[Places], bool], say: Callable[[Sequence[str], Places, str], str]
) -> Judge:
    """Judge a claim about where curves are best: a bootstrap over seeds. ``say`` puts what was found into words."""

    def judge(answer: Answer[Panel], measure: Measure) -> Judgement:
        families = [in_the_race(answer.of(curve)) for curve in curves]

        def places(seeds: Sequence[int]) -> Places:
            return [answer.question.drawn[cells[_argmin(cells, seeds, measure)].point] for cells in families]

        count = _seeds(families)
        verdict, share = bootstrap(count, lambda seeds: holds(places(seeds)))
        titles = [cells[0].point.title for cells in families]
        return Judgement(verdict, say(titles, places(range(count)), f"{100 * share:.0f} % of resamples"))

    return judge


def _near(place: float, other: float, factor: float) -> bool:
    return place > 0 and abs(math.log(place / other)) <= math.log(factor)


def _seeds(families: Sequence[Sequence[Cell]]) -> int:
    return min(len(cells[0].results) for cells in families)


def wider(curve: str, others: Sequence[str], within: float = 1.1) -> Judge:
    """More cells of the curve's map are within a factor of the lowest of all maps; a bootstrap over seeds."""

    def judge(answer: Answer[Panel], measure: Measure) -> Judgement:
        maps = [answer.of(name) for name in (curve, *others)]
        families = [in_the_race(cells) for cells in maps]

        def counts(seeds: Sequence[int]) -> list[int]:
            means = [
                [sum(measure.of(cell.results[s]) for s in seeds) / len(seeds) for cell in cells] for cells in families
            ]
            limit = within * min(min(row) for row in means)
            return [sum(value <= limit for value in row) for row in means]

        count = _seeds(families)
        verdict, share = bootstrap(count, lambda seeds: counts(seeds)[0] > max(counts(seeds)[1:]))
        said = ", ".join(
            f"{cells[0].point.title} {number} of {len(cells)}"
            for cells, number in zip(maps, counts(range(count)), strict=True)
        )
        return Judgement(verdict, f"cells within {within:g} × the lowest: {said}; {100 * share:.0f} % of resamples")

    return judge


def _argmin(cells: Sequence[Cell], seeds: Sequence[int], measure: Measure) -> int:
    """Return the cell of the lowest mean over resampled seeds."""
    means = [sum(measure.chosen_by(cell.results[seed]) for seed in seeds) for cell in cells]
    return min(range(len(cells)), key=means.__getitem__)
