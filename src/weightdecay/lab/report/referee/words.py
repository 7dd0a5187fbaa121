"""What the runs of a task say, in sentences; every number in them is computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean, stdev

from weightdecay.lab.referee.answer import Answer, Standing
from weightdecay.lab.referee.carried import TIMES
from weightdecay.lab.report.referee.tables import LOOKS, difference, over_seeds
from weightdecay.lab.run import Result, Run
from weightdecay.lab.study.difference import CONFIDENCE


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
                f"{answer.task.name}: the pull of {one.arm.title} would have been above 1 in {fmean(clamped):.0f} of "
                f"{answer.task.steps} steps. It was limited to 1, which puts weights where they are pulled to."
            )
    if kept := kept_of_start(answer, results):
        listed = ", ".join(f"{title} {fmean(values):.2f} ± {stdev(values):.2f}" for title, values in kept.items())
        alone = "" if answer.task.keeps else ", by which no arm was tuned or ruled"
        found.append(f"{answer.task.name}: error on the old task, the test set of the start{alone}: {listed}.")
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
