"""The referee's answers: one page with a table and a figure for each task, the numbers as JSON and the runs as CSV."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from weightdecay import document
from weightdecay.document import Column, Document, Mark, Section, Table
from weightdecay.document.parts import Look, Part
from weightdecay.lab.referee.answer import REFERENCE, Answer, Standing
from weightdecay.lab.referee.carried import TIMES, Carried
from weightdecay.lab.referee.ladder import AT_MOST, TUNING
from weightdecay.lab.referee.rulings import Ruled
from weightdecay.lab.report.numbers import decay
from weightdecay.lab.run import Result, Run
from weightdecay.lab.run.recorded import runs_csv
from weightdecay.lab.study.difference import CONFIDENCE
from weightdecay.whole import write_whole

if TYPE_CHECKING:
    from weightdecay.lab.referee.hearing import Case, Heard
    from weightdecay.lab.report.drawn.canvas import Picture

PAGE, ROWS, RUNS, SUMMARY = "referee", "referee.json", "runs.csv", "summary"

LOOKS: Mapping[Ruled, Look] = {"better": "good", "worse": "bad", "undecided": "open", "practically equal": ""}


@dataclass(frozen=True)
class Written:
    """The files of a report."""

    page: Path
    rows: Path
    runs: Path
    figures: tuple[Path, ...]
    titles: Mapping[str, Mapping[str, str]]  # of the figures of each task, by name


def write(heard: Heard, case: Case) -> Written:
    """Write page, figures (PNG and SVG), referee.json and runs.csv into the folder of the case.

    Raises: OSError, where the folder cannot be written.
    """
    from weightdecay.lab.report.drawn import forest

    pictures = {answer.task.name: _pictures(answer) for answer in heard.answers}
    folder = case.out / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {name: picture for own in pictures.values() for name, picture in own.items()}
    ready = [answer for answer in heard.answers if ruled(answer)]
    summary = forest.together(ready) if len(ready) > 1 else None
    if summary:
        drawn[SUMMARY] = summary
    files = [path for name, picture in drawn.items() for path in picture.save(folder, name)]
    titles = {task: {name: each.title for name, each in own.items()} for task, own in pictures.items()}
    page = document.write(document_of(heard, case, pictures, summary), case.out, PAGE)
    rows = write_whole(case.out / ROWS, json.dumps(numbers(heard.answers), indent=1, ensure_ascii=False) + "\n")
    return Written(page, rows, case.out / RUNS, tuple(files), titles)


def _pictures(answer: Answer) -> dict[str, Picture]:
    """Return the figures of a task: differences, basins and what it costs to keep λ, where there is any."""
    from weightdecay.lab.report.drawn import basins, forest, kept

    name, found = answer.task.name, {}
    if ruled(answer):
        found[name] = forest.draw(answer)
    if basins.has_any(answer):
        found[f"{name}-basins"] = basins.draw(answer)
    if any(one.carried for one in answer.standings):
        found[f"{name}-kept"] = kept.draw(answer)
    return found


def ruled(answer: Answer) -> bool:
    """Whether any arm of a task has a ruling."""
    return any(one.ruling for one in answer.standings)


def document_of(
    heard: Heard, case: Case, pictures: Mapping[str, Mapping[str, Picture]], summary: Picture | None = None
) -> Document:
    """Return the page; ``pictures`` are by their task, and then by their file, ``summary`` is of all tasks."""
    sections = [Section("All tasks", (), (summary.drawing(f"of-{SUMMARY}"),))] if summary else []
    for answer in heard.answers:
        parts: list[Part] = [table(answer)] if answer.standings else []
        parts += [kept] if (kept := carried_table(answer)) else []
        parts += [picture.drawing(f"of-{name}") for name, picture in pictures[answer.task.name].items()]
        sections.append(
            Section(f"{answer.task.name}: {answer.task.words}", (said(answer),), (*parts, *reading(answer)))
        )
    return Document(
        title="weightdecay referee",
        answer=counted(heard.answers) if summary else " ".join(said(answer) for answer in heard.answers),
        notes=[note for answer in heard.answers for note in notes(answer, heard.results)],
        sections=sections,
        facts=facts(heard, case),
        command=case.command,
        downloads={ROWS: json.dumps(numbers(heard.answers), indent=1, ensure_ascii=False) + "\n",
                   RUNS: runs_csv(sorted(heard.results, key=lambda one: one.run.address))},
    )  # fmt: skip


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
        Column(f"kept λ costs, {unit}", lambda one: "" if one.carry is None else plain(one.carry), number=True),
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
    costs = (Column(change.title, partial(_cost_at, place), number=True) for place, change in enumerate(changed))
    return Table.of(rows, (arm, *costs))


def _cost_at(place: int, one: Standing) -> str:
    return kept_cost(one.carried[place])


def kept_cost(one: Carried) -> str:
    """Return ``× 3: +0.42 ± 0.1``: the multiple of λ that is best there, and what it costs to keep λ."""
    spread = f" ± {plain(stdev(one.costs))}" if all(map(math.isfinite, one.costs)) else ""
    return f"× {one.best:g}: {plain(one.mean, sign=True)}{spread}"


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


def said(answer: Answer) -> str:
    """Return what a task's runs say, in words; every number is computed."""
    if not answer.standings:
        return f"{answer.task.name}: no arm is judged yet."
    best = answer.standings[0]
    number = over_seeds(best, answer.task.of_text)
    text = f"{answer.task.name}: {best.arm.title} has the lowest mean, {number}"
    text += f" ({'' if answer.task.of_text else '% '}{answer.task.judged_by})."
    for optimizer in dict.fromkeys(one.arm.optimizer for one in answer.standings):
        own = [one for one in answer.standings if one.arm.optimizer == optimizer and one.ruling is not None]
        found = [
            f"{_listed(names)} {'is' if len(names) == 1 else 'are'} {word}"
            for word in ("better", "practically equal", "worse", "undecided")
            if (names := [one.arm.decay for one in own if one.ruling is not None and one.ruling.verdict == word])
        ]
        if found:
            title = own[0].arm.title.partition(",")[0]
            text += f" Against decoupled decay of {title}: {'; '.join(found)}."
    return text


def counted(answers: Sequence[Answer]) -> str:
    """Return how many rulings there are of each kind over all tasks, and which decays are better."""
    found = [(answer.task.name, one, one.ruling) for answer in answers for one in answer.standings if one.ruling]
    counts = Counter(ruling.verdict for *_, ruling in found)
    kinds = ", ".join(f"{counts[word]} {word}" for word in LOOKS if counts[word])
    text = f"{len(found)} rulings on {len(answers)} tasks, each against decoupled decay of the same optimizer: {kinds}."
    better = [
        f"{one.arm.title} on {task} ({difference(one)})" for task, one, ruling in found if ruling.verdict == "better"
    ]
    return f"{text} Better: {'; '.join(better)}." if better else text


def _listed(names: Sequence[str]) -> str:
    *head, last = names
    return f"{', '.join(head)} and {last}" if head else last


def reading(answer: Answer) -> tuple[str, ...]:
    """Return what the numbers of the table are."""
    if not answer.standings:
        return ()
    seeds = len(answer.standings[0].judged)
    what = "100 times the logarithm of the perplexity, so that 1 is one percent" if answer.task.of_text else "points"
    return (
        f"Differences are paired over {seeds} seeds that chose nothing, in {what}. The intervals are wide enough that "
        f"all rulings on the decays of one optimizer are right together with probability {100 * CONFIDENCE:g} %; "
        f"“practically equal” means that the difference lies within ±{answer.margin:g}.",
        "The basin is the share of the 15 cells of the grid (lr by 3, λ by half decades) whose validation error is "
        f"within {2 * answer.margin:g} of the best of them. The last column is what it costs on average to keep the λ "
        "that is best at the middle lr when the lr is a third or three times that. Both are of one seed.",
        *_of_carried(answer),
    )


def _of_carried(answer: Answer) -> tuple[str, ...]:
    rows = [one for one in answer.standings if one.carried]
    if not rows:
        return ()
    counts = sorted({len(one.carried[0].costs) for one in rows})
    seeds = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
    return (
        f"How λ carries over: where lr, batch or width is so many times what it was, the multiple of λ "
        f"({', '.join(f'{times:g}' for times in TIMES)}) with the lowest validation error, and what it costs to keep λ "
        f"instead, mean ± standard deviation over {seeds} seeds, where the other seeds choose the multiple. The number "
        "of epochs stays; with the batch, the lr goes in proportion for SGD and by the square root for the others.",
    )


def notes(answer: Answer, results: Iterable[Result] = ()) -> list[str]:
    """Return what a careful reader must know, in whole sentences; of runs with a start, from their results."""
    found = [
        f"{answer.task.name}: {one.arm.title} is best at the edge of what was tried ({' and '.join(one.edge)}); a "
        "better value may lie beyond."
        for one in answer.standings
        if one.edge
    ]
    if answer.waiting:
        arms = ", ".join(f"{title} ({stage})" for title, stage in answer.waiting.items())
        found.append(f"{answer.task.name}: not all runs are there. Waiting: {arms}.")
    results = list(results)
    by_run = {result.run.address: result for result in results}
    for one in answer.standings:
        clamped = [by_run[run.address].clamped_steps for run in runs_of(one, answer) if run.address in by_run]
        if any(clamped):
            found.append(
                f"{answer.task.name}: the pull of {one.arm.title} was above 1 in {fmean(clamped):.0f} of "
                f"{answer.task.steps} steps, and 1 instead: what it acts on was put where it pulls to."
            )
    if kept := kept_of_start(answer, results):
        listed = ", ".join(f"{title} {fmean(values):.2f} ± {stdev(values):.2f}" for title, values in kept.items())
        of = "of which on the test set of the start" if answer.task.keeps else (
            "on the test set of the start, which no arm was tuned or ruled by"
        )  # fmt: skip
        found.append(f"{answer.task.name}: {of}: {listed}.")
    return found


def kept_of_start(answer: Answer, results: Iterable[Result]) -> dict[str, list[float]]:
    """Return, for each arm, what the runs that judged it are worth on the test set of their start; the best first."""
    by_run = {result.run.address: result.start_test for result in results}
    found = {}
    for one in answer.standings:
        runs = runs_of(one, answer)
        values = [value for run in runs if (value := by_run.get(run.address)) is not None]
        if len(values) == len(runs):
            found[one.arm.title] = values
    return dict(sorted(found.items(), key=lambda pair: fmean(pair[1])))


def runs_of(one: Standing, answer: Answer) -> list[Run]:
    """Return the runs that judged an arm."""
    return [one.arm.run(answer.task, one.cell, seed) for seed in one.judged]


def markdown(heard: Heard, command: str, written: Written) -> str:
    """Return the answers as a page of the documentation, for a folder that holds the figures."""
    lines = [
        "# The referee's rulings",
        "",
        "Made by",
        "",
        f"    {command}",
        "",
        "from the committed runs, without training.",
    ]
    lines += ["How an arm is tuned and judged: [the referee](../referee.md).", ""]
    for answer in heard.answers:
        shown = table(answer)
        lines += [f"## {answer.task.name}", "", f"{answer.task.words[:1].upper()}{answer.task.words[1:]}.", ""]
        lines += [said(answer), ""]
        lines += _rows(shown)
        if kept := carried_table(answer):
            lines += ["", *_rows(kept)]
        for name, title in written.titles[answer.task.name].items():
            lines += ["", f"![{title}](figures/{name}.png)"]
        told = notes(answer, heard.results)
        lines += ["", *(f"{text}\n" for text in reading(answer)), *(f"- {note}" for note in told)]
        lines += [""] * bool(told)
        lines += [f"{answer.seconds / 3600:.2f} hours of one CPU core.", ""]
    return "\n".join(lines)


def _rows(table: Table) -> list[str]:
    head = ["| " + " | ".join(table.head) + " |", "|" + "---|" * len(table.head)]
    return head + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in table.rows]


def facts(heard: Heard, case: Case) -> list[tuple[str, str]]:
    """Return how the arms were tuned and judged, and what it took."""
    seconds = math.fsum(answer.seconds for answer in heard.answers)
    versions = dict.fromkeys(
        f"{name} {version}" for result in heard.results for name, version in result.versions.items()
    )
    where = dict.fromkeys(result.where for result in heard.results if result.where)
    return [
        ("Tuning", f"each arm {AT_MOST} runs at most on the seeds {', '.join(map(str, TUNING))}: 5 cells around a "
                   "guess, 15 around the best of them, at most 15 beyond the edges at which the best 5 lie, these 5 "
                   "with a second seed, the best 2 with two more; chosen by the validation error of the last epoch"),
        ("Judging", f"the best cell of each arm with {case.seeds} other seeds, by the test error of the last epoch"),
        ("Margin", f"{case.margin:g}"),
        ("Computing", f"{seconds / 3600:.2f} hours on {', '.join(where) or 'nothing yet'}"),
        ("Versions", ", ".join(versions)),
    ]  # fmt: skip


def numbers(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """Return every number as plain values, for JSON; None stands for what is not finite."""
    return [
        {
            "task": answer.task.name, "words": answer.task.words, "margin": answer.margin,
            "hours": round(answer.seconds / 3600, 3), "waiting": dict(answer.waiting),
            "arms": [
                {
                    "optimizer": one.arm.optimizer, "decay": one.arm.decay, "lr": one.cell.lr,
                    "weight_decay": one.cell.weight_decay, "tuned": finite(one.tuned), "mean": finite(one.mean),
                    "judged": {str(seed): finite(value) for seed, value in one.judged.items()},
                    "difference": finite(one.ruling.mean) if one.ruling else None,
                    "interval": [finite(end) for end in one.ruling.interval]
                    if one.ruling and one.ruling.interval else None,
                    "verdict": one.ruling.verdict if one.ruling else None,
                    "carried": {
                        each.change.title: {"best": each.best, "costs": [finite(cost) for cost in each.costs]}
                        for each in one.carried
                    },
                    "basin": one.basin, "carry": finite(one.carry), "edge": list(one.edge), "tries": len(one.tried),
                }
                for one in answer.standings
            ],
        }
        for answer in answers
    ]  # fmt: skip


def finite(value: float | None) -> float | None:
    """Return the number rounded for a file, or None for what JSON cannot hold."""
    return round(value, 6) if value is not None and math.isfinite(value) else None
