"""One self-contained page for a comparison: the answer in words, then the table, the figures and every number."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from weightdecay.lab.report import compared, figures
from weightdecay.lab.report.numbers import Numbers, decay, digits
from weightdecay.lab.report.whole import write_whole
from weightdecay.lab.run import ERROR, Result
from weightdecay.lab.run.recorded import results_csv
from weightdecay.lab.study.statistics import Comparison, Standing

PAPER_STEPS = 78_200
PAPER_WEIGHT_DECAY = 5e-4


@dataclass(frozen=True)
class Report:
    """The files of a report."""

    page: Path
    results: Path
    figures: tuple[Path, ...]


def write(comparison: Comparison, folder: Path) -> Report:
    """Write page, figures (PNG and SVG) and results.csv into the folder, which is made if needed.

    Raises: OSError, where the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    curves, decays = compared.learning_curves(comparison), compared.error_against_decay(comparison)
    drawn = figures.save(curves, folder, "learning-curves") + figures.save(decays, folder, "error-against-decay")
    text = results_csv(comparison.results)
    results = write_whole(folder / "results.csv", text)
    page = write_whole(
        folder / f"{comparison.question.name}.html",
        render(
            comparison,
            curves=figures.inline(curves, "curves"),
            decays=figures.inline(decays, "decays"),
            raw=text,
        ),
    )
    return Report(page, results, drawn)


def render(comparison: Comparison, curves: str, decays: str, raw: str) -> str:
    """Return the page. ``curves`` and ``decays`` are SVG of our own making; all else is escaped."""
    environment = Environment(
        loader=PackageLoader("weightdecay.lab", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    say = Numbers.of(comparison)
    environment.filters |= {"spread": say.spread, "difference": say.difference, "decay": decay, "digits": digits}
    environment.filters |= {"exact": say.exact}
    colours = {name: look["color"] for name, look in compared.looks(comparison).items()}
    return environment.get_template("compare.html.j2").render(
        comparison=comparison,
        question=comparison.question,
        seeds=comparison.question.seeds,
        metric=comparison.metric,
        heading=figures.axis_title(comparison.metric.name.capitalize(), comparison.metric),
        standings=comparison.standings,
        lr_was_chosen=any(
            len({cell.point.lr for cell in comparison.cells_of(one.optimizer)}) > 1 for one in comparison.standings
        ),
        colours=colours,
        answer=answer(comparison),
        notes=notes(comparison),
        seconds=sum(result.seconds for result in comparison.results),
        where=", ".join(dict.fromkeys(result.where for result in comparison.results if result.where)),
        versions=versions(comparison.results),
        curves=Markup(curves),
        decays=Markup(decays),
        download="data:text/csv;charset=utf-8;base64," + base64.b64encode(raw.encode()).decode(),
        raw_rows=raw.count("\n") - 1,
    )


def answer(comparison: Comparison) -> str:
    """Return the outcome as one paragraph of plain words, every number computed."""
    question, (winner, *others) = comparison.question, comparison.standings
    say, count = Numbers.of(comparison), len(question.seeds)
    how = f"mean ± standard deviation over {count} seeds" if count > 1 else "one seed"
    sentences = [
        f"On {question.setting}, {winner.title} {'did best:' if others else 'makes'} {say.measured(winner.best)} "
        f"at λ = {decay(winner.best.point.weight_decay)} ({how}, last epoch)."
    ]
    if winner.without is not None and winner.without is not winner.best:
        sentences.append(_what_decay_gains(winner, say))
    for verdict, text in (
        ("within seed noise", "{} {} not distinguishable from it with these seeds."),
        ("beyond seed noise", "{} {} worse beyond seed noise."),
    ):
        names = [f"{one.title} ({say.mean(one.best)})" for one in others if one.verdict == verdict]
        if names:
            sentences.append(text.format(_list(names), "is" if len(names) == 1 else "are"))
    if others and count == 1:
        sentences.append("With one seed nothing can be said about noise: use three or more.")
    if others:
        sentences.append(_decay_or_optimizer(comparison, say))
    sentences.append(_against_the_paper(comparison))
    # A number does not part from its sign at the end of a line.
    return (
        " ".join(filter(None, sentences)).replace(" ± ", "\xa0±\xa0").replace(" %", "\xa0%").replace(" = ", "\xa0=\xa0")
    )


def _what_decay_gains(winner: Standing, say: Numbers) -> str:
    assert winner.without is not None
    gain = winner.without.mean - winner.best.mean
    without = say.spread(winner.without) + say.unit
    text = f"Without weight decay it makes {without}, so the right λ removes {say.exact(gain)}"
    if say.metric != ERROR:
        return f"{text}."
    return f"{text} points" + (
        f", {100 * gain / winner.without.mean:.0f} % of the errors." if winner.without.mean else "."
    )


def notes(comparison: Comparison) -> list[str]:
    """Return the warnings a careful reader needs, in whole sentences."""
    found = []
    for standing in comparison.standings:
        if standing.edges:
            point = standing.best.point
            found.append(
                f"{standing.title}: the best value (λ = {decay(point.weight_decay)}, lr = {point.lr:g}) lies at "
                f"the edge of its grid; a better one may lie beyond. Widen {' and '.join(standing.edges)}."
            )
    diverged = [cell for cell in comparison.cells if cell.diverged]
    if diverged:
        runs = sum(cell.diverged for cell in diverged)
        names = [f"{cell.point.curve} at λ = {decay(cell.point.weight_decay)}" for cell in diverged]
        found.append(
            f"{runs} {'run' if runs == 1 else 'runs'} diverged (the loss stopped being finite) and "
            f"{'counts' if runs == 1 else 'count'} with the error reached: {_list(names)}."
        )
    clamped = sum(result.clamped_steps for result in comparison.results)
    if clamped:
        found.append(f"In {clamped} steps the decay would have taken more than the whole weight and was held at it.")
    skipped = sum(result.skipped_steps for result in comparison.results)
    if skipped:
        found.append(f"{skipped} steps had a gradient that was not finite and were skipped.")
    return found


def versions(results: Iterable[Result]) -> dict[str, str]:
    """Return the versions the runs were made with; several, where kept runs are older than this machine's packages."""
    found: dict[str, dict[str, None]] = {}
    for result in results:
        for name, version in result.versions.items():
            found.setdefault(name, {})[version] = None
    return {name: ", ".join(several) for name, several in sorted(found.items())}


def _decay_or_optimizer(comparison: Comparison, say: Numbers) -> str:
    """Return which choice mattered more: λ, or the optimizer at its best λ."""
    with_zero = [one for one in comparison.standings if one.without is not None and one.without is not one.best]
    if not with_zero:
        return ""
    gains = sorted(one.without.mean - one.best.mean for one in with_zero if one.without is not None)
    bests = [one.best.mean for one in comparison.standings]
    least, most = say.exact(gains[0]), say.exact(gains[-1])
    moved = least if least == most else f"{least} to {most}"
    what, points = ("error", " points") if say.metric == ERROR else (say.metric.name, "")
    return (
        f"Choosing λ well moves the {what} by {moved}{points}; choosing the optimizer, each at its best λ, by up to "
        f"{say.exact(max(bests) - min(bests))}."
    )


def _against_the_paper(comparison: Comparison) -> str:
    """Return how the best λ compares with the paper's 5e-4 once both are multiplied by the number of steps."""
    candidates = [one for one in comparison.standings if _means_what_l2_means(one)]
    steps = comparison.question.steps
    if not candidates or not steps or comparison.metric != ERROR:
        return ""
    one = candidates[0]
    best = one.best.point.weight_decay
    here, there = best * steps, PAPER_WEIGHT_DECAY * PAPER_STEPS
    if steps < PAPER_STEPS and 1 / 4 < here / there < 4:
        return (
            f"The best λ of {one.method.title} here is {digits(best / PAPER_WEIGHT_DECAY)} times the paper’s "
            f"{PAPER_WEIGHT_DECAY}, and this training is {digits(PAPER_STEPS / steps)} times shorter: λ × steps is "
            f"{digits(here)} here and {digits(there)} there, as the rule λ ∝ 1/steps has it."
        )
    return (
        f"λ × steps of {one.method.title} is {digits(here)} at its best here; the paper’s {PAPER_WEIGHT_DECAY} × "
        f"{PAPER_STEPS:,} steps is {digits(there)}."
    )


def _means_what_l2_means(standing: Standing) -> bool:
    """Whether the λ is comparable with the paper's 5e-4: SGD's, and every stable one above 0."""
    comparable = standing.method.decay == "stable" or standing.method.base == "sgd"
    return comparable and standing.method.decay != "decoupled" and standing.best.point.weight_decay > 0


def _list(names: Iterable[str]) -> str:
    *head, last = names
    return f"{', '.join(head)} and {last}" if head else last


def rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the final table as plain values: one row an optimizer, best first; for terminals and tests."""
    say = Numbers.of(comparison)
    return [
        {
            "optimizer": one.title,
            "decay": one.method.decay_in_words,
            "lr": f"{one.best.point.lr:g}",
            "λ": decay(one.best.point.weight_decay) + (" (edge)" if one.edges else ""),
            "error": say.spread(one.best),
            "without": say.spread(one.without) if one.without is not None else "not run",
            "difference": say.difference(one.difference),
            "verdict": one.verdict,
        }
        for one in comparison.standings
    ]
