"""``weightdecay referee``: which decay, on what evidence?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from weightdecay.lab.cli.conducted import Terminal, executor_of
from weightdecay.lab.cli.evidence import keep, other_data
from weightdecay.lab.cli.outcome import wide_enough
from weightdecay.lab.cli.say import DONE, fail, modules_from_here, say, status_of
from weightdecay.lab.cli.words import read_options
from weightdecay.lab.run import Place
from weightdecay.lab.run.settings import SettingsError, command_line, flag, left_out

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table as Drawn

    from weightdecay.document import Table
    from weightdecay.lab.referee.hearing import Case, Heard
    from weightdecay.lab.report.referee import Written


@dataclass(frozen=True)
class RefereeSettings:
    """Judge decays: each tuned in lr and λ with the same budget, then judged on seeds that chose nothing.

    Every decay is ruled better, worse, practically equal or undecided against decoupled decay of the same optimizer.
    What has been trained is kept; the same command continues.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "weightdecay referee list",
        "weightdecay referee noisy-digits",
        "weightdecay referee noisy-digits --optimizers sgd --decays none l2 decoupled stable my_rules:Mine",
        "weightdecay referee noisy-digits --decays decoupled independent stable corrected --carry-over",
        "weightdecay referee photos --data cifar10=images:photos/cifar --hours 2",
        "weightdecay referee noisy-digits --from runs.csv --evidence runs.csv",
    )
    what: Annotated[tuple[str, ...], left_out()]
    """Tasks: list, photos, noisy-digits, lstm, transformer, finetune, finetune-both."""
    optimizers: tuple[str, ...] = ("adam",)
    """Optimizers: names, as weightdecay.available() lists them, or paths of your own, package.module:Class."""
    decays: tuple[str, ...] = ("none", "l2", "decoupled", "stable", "cautious(decoupled)", "corrected")
    """Decays, decoupled among them: none, names, "toward(0.0)", package.module:Class; decoupled@cosine changes λ; of a
    task with a start also frozen, which trains the last layer alone."""
    seeds: int = 8
    """Number of seeds that judge, beside those that tune."""
    margin: float = 1.0
    """The difference that does not matter: points of error, or percent of the perplexity."""
    carry_over: Annotated[bool, flag()] = False
    """Also train each judged arm with another lr, batch and width, to see whether λ stays the best there."""
    hours: float = 0.0
    """Hours of computing, over all cores, after which no run is begun; 0 has no end."""
    data: Annotated[tuple[str, ...], left_out("those of the task")] = ()
    """Other data in place of those of the tasks, written NAME=OTHER, as in cifar10=images:FOLDER."""
    known: Annotated[tuple[Path, ...], left_out(name="from")] = ()
    """Tables of runs that were trained before, as runs.csv; what they answer is not trained again."""
    evidence: Annotated[Path | None, left_out()] = None
    """File for all runs that are known, those of --out and of --from, as one table for a later --from."""
    executor: str = "local"
    """Where runs are computed: local (the cores), here (this process), gpus, ray or slurm."""
    executor_options: Annotated[tuple[str, ...], left_out()] = ()
    """Settings of the executor, written NAME=VALUE, as in jobs=2."""
    place: Place = Place(device="auto")
    """Device, data and checkpoints of every run."""
    dry_run: Annotated[bool, flag()] = False
    """Print the first round with its cost, and train nothing."""
    out: Path = Path("weightdecay-referee")
    """Folder for runs and report."""


NOT_AGAIN = ("known", "evidence", "dry_run", "data_folder", "download", "hours")
"""Options that decide nothing of the answer."""


def run_referee(settings: RefereeSettings) -> int:
    """Tune, judge, report."""
    from weightdecay.lab.referee.task import TASKS

    if "list" in settings.what:
        for task in TASKS.values():
            say(f"{task.name:<{max(map(len, TASKS))}}  {task.words}")
        return DONE
    case = _case(settings)
    from weightdecay.lab.referee.hearing import hear
    from weightdecay.lab.report.referee import write
    from weightdecay.lab.run.store import Store

    for line in of_other_data(case):
        say(line)
    say(f"{len(case.arms)} arms on {len(case.tasks)} tasks, at most {case.most:,} runs in rounds")
    try:
        heard = hear(case, Terminal(settings.dry_run))
    except KeyboardInterrupt as stopped:
        kept = len(Store(case.out).results())
        return fail(f"stopped: {kept} runs are finished in {case.out}; the same command continues.",
                    status_of(stopped), label="")  # fmt: skip
    finally:
        if settings.evidence:
            keep(settings.known, settings.out, settings.evidence)
    if heard is None:
        return DONE
    show(heard, write(heard, case))
    if heard.left_out:
        say(f"the hours are over, {heard.left_out} runs of this round are left; the same command goes on.")
    return DONE


def of_other_data(case: Case) -> list[str]:
    """Return a line for each task that the tables know with another content of its data, whose runs do not count."""
    found = []
    for task in case.tasks:
        others = [row for row in case.known if replace(task, digest=row.run.data_digest).has(row.run)]
        count = sum(row.run.data_digest != task.digest for row in others)
        if count:
            data = task.run["data"]
            found.append(
                f"{task.name}: {count} runs of the tables are of {data!r} with another content, and not taken."
            )
    return found


STYLES = {"better": "green", "worse": "red", "undecided": "yellow"}


def show(heard: Heard, written: Written) -> None:
    """Print the tables and the answer of each task, and where the files are."""
    from weightdecay.lab.report.referee import carried_table, notes, said, table

    for answer in heard.answers:
        verdicts = [one.ruling.verdict if one.ruling else "" for one in answer.standings]
        drawn = _drawn(table(answer), answer.task.name, [STYLES.get(word, "") for word in verdicts])
        console = wide_enough(drawn)
        if answer.standings:
            console.print(drawn)
        if kept := carried_table(answer):
            below = _drawn(kept, "How λ carries over: its best multiple there, and what it costs to keep it")
            wide_enough(below).print(below)
        for line in (said(answer), *(f"note: {note}" for note in notes(answer, heard.results))):
            console.print(line, markup=False, highlight=False)
    for name, path in (("page", written.page), ("rows", written.rows), ("runs", written.runs)):
        console.print(f"{name:<8}{path}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"figures {written.page.parent / 'figures'}, {len(written.figures)} files", markup=False,
                  highlight=False, soft_wrap=True)  # fmt: skip


def _drawn(shown: Table, title: str, styles: Iterable[str] = ()) -> Drawn:
    """Return a table for the terminal; ``styles`` are of its rows."""
    from rich import box
    from rich.table import Table as Drawn
    from rich.text import Text

    drawn = Drawn(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title=Text(title),
                  title_justify="left", title_style="bold")  # fmt: skip
    for head, number in zip(shown.head, shown.numeric, strict=True):
        drawn.add_column(Text(head), justify="right" if number else "left", no_wrap=number)
    for row, style in zip_longest(shown.rows, styles, fillvalue=""):
        drawn.add_row(*(Text(str(cell)) for cell in row), style=str(style))
    return drawn


def _case(settings: RefereeSettings) -> Case:
    from weightdecay.lab.referee.answer import REFERENCE
    from weightdecay.lab.referee.arm import FROZEN, arms
    from weightdecay.lab.referee.hearing import Case, named
    from weightdecay.lab.referee.task import TASKS, tasks
    from weightdecay.lab.run.recorded import read_runs

    if not settings.what:
        raise SettingsError(
            "name at least one task, as in weightdecay referee noisy-digits. See weightdecay referee list."
        )
    if REFERENCE not in settings.decays:
        raise SettingsError(
            f"--decays {' '.join(settings.decays)}: {REFERENCE!r} is what the others are judged against. Add it."
        )
    for name, value, least in (("seeds", settings.seeds, 2), ("hours", settings.hours, 0)):
        if value < least:
            raise SettingsError(f"--{name} {value:g}: {least} or more.")
    if not settings.margin > 0:
        raise SettingsError(
            f"--margin {settings.margin:g}: write the largest difference that does not matter, above 0."
        )
    asked = tasks(settings.what, other_data(settings.data))
    if FROZEN in settings.decays and (whole := [task.name for task in asked if not task.start]):
        raise SettingsError(
            f"--decays {FROZEN}: {', '.join(whole)} starts from fresh weights, of which none is to be kept. "
            f"Use {' or '.join(task.name for task in TASKS.values() if task.start)}."
        )
    modules_from_here()
    compared = arms(settings.optimizers, settings.decays)
    options = dict(read_options("--executor-options", settings.executor_options))
    on = executor_of(settings.executor, options, settings.out)
    return Case(
        tasks=named(asked, settings.place), arms=compared, out=settings.out,
        seeds=settings.seeds, margin=settings.margin, carry=settings.carry_over,
        command=command_line(settings, ["referee", *settings.what], NOT_AGAIN),
        hours=settings.hours or float("inf"), on=on, place=settings.place,
        known=[row for path in settings.known for row in read_runs(path)],
    )  # fmt: skip
