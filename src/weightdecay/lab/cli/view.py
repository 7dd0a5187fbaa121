"""What is known while runs come in: how far they are, and each optimizer's best so far."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from weightdecay.lab.run import Result, Run
from weightdecay.lab.study.answer import Cell, lowest
from weightdecay.lab.study.question import Point, Question

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from weightdecay.lab.run.store import Store

SILENCE_SECONDS = 12.0
"""Seconds without a line after which, where there is no terminal, a line tells how far the runs are."""

LOOK_SECONDS = 2.0
"""Seconds between two looks at the logs of runs that are being trained."""

ROWS = 12
"""Rows of the live table, at most."""


class View:
    """A renderable that follows a question's runs; without a terminal, a line for each result."""

    def __init__(self, question: Question, store: Store, console: Console) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self.console, self.store = console, store
        self.points, self.runs = question.points, question.runs
        self.results: dict[Run, Result] = {}
        self.kept: set[Run] = set()
        self.failed = 0
        self.reused = 0
        self.progress = Progress(
            TextColumn("training"),
            BarColumn(),
            TextColumn("{task.fields[runs]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        # In epochs: the runs of a sweep may take days, and a bar that stands still for hours tells nothing.
        self.task = self.progress.add_task("training", total=sum(run.epochs for run in self.runs), runs=self._count())
        self.looked, self.under_way = 0.0, 0
        self.begun = self.spoke = time.monotonic()

    def _count(self) -> str:
        return f"{len(self.results)}/{len(self.runs)}" + (f", {self.failed} failed" if self.failed else "")

    def add(self, result: Result, reused: bool) -> None:
        """Take in one result; without a terminal, say so in a line."""
        self.results[result.run] = result
        self.reused += reused
        if reused:
            self.kept.add(result.run)
        completed = sum(run.epochs for run in self.results)
        if reused:  # the time left is estimated from what is trained now; kept runs cost nothing
            self.progress.reset(self.task, completed=completed, runs=self._count())
        else:
            self.progress.update(self.task, completed=completed + self.under_way, runs=self._count())
            self._line(
                f"{self._name(result.run)}: {self._metric(result)}, {result.seconds:.1f} s"
                + (" (diverged)" if result.status == "diverged" else "")
            )
        if self.console.is_terminal and self.reused == len(self.runs):
            self.progress.stop_task(self.task)

    def fail(self, run: Run, reason: object) -> None:
        """Take in that a run raised: said at once, for a long sweep need not end to tell."""
        self.failed += 1
        self.progress.update(self.task, runs=self._count())
        self.console.print(f"{self._name(run)} failed: {reason}", markup=False, highlight=False, soft_wrap=True)

    def progress_line(self) -> str:
        """Return how far all of it is, and how long the rest will take at the pace so far, workers' start included."""
        self._look()
        of_them = sum(run.epochs for run in self.runs)
        kept = sum(run.epochs for run in self.kept)
        done = sum(run.epochs for run in list(self.results)) - kept + self.under_way
        passed = time.monotonic() - self.begun
        if not done:
            return f"starting the workers and the first runs, {passed:.0f} s so far"
        return f"{done} of {of_them - kept} epochs, about {passed * (of_them - kept - done) / done:.0f} s to go"

    def say_progress(self) -> None:
        """Say it, in a line."""
        self._line(self.progress_line())

    def silent(self) -> bool:
        """Whether nothing has been said for a while."""
        return time.monotonic() - self.spoke > SILENCE_SECONDS

    def _line(self, text: str) -> None:
        self.spoke = time.monotonic()
        if not self.console.is_terminal:
            self.console.print(
                f"[{len(self.results)}/{len(self.runs)}] {text}", markup=False, highlight=False, soft_wrap=True
            )

    def _name(self, run: Run) -> str:
        variant = next((point.variant for point, runs in self.points.items() if run in runs), "")
        return f"{run.optimizer} λ={run.weight_decay:g} lr={run.lr:g}{variant and ' ' + variant} seed {run.seed}"

    @staticmethod
    def _metric(result: Result) -> str:
        unit = result.metric.unit
        return f"{result.last:.1f} {unit} {result.metric.name}" if unit else f"{result.metric.name} {result.last:.4g}"

    def best(self) -> dict[str, tuple[Point, float, int]]:
        """Return each curve's best point so far, its mean and how many seeds that is the mean of."""
        cells: dict[str, list[Cell]] = {}
        for point, runs in self.points.items():
            if results := tuple(self.results[run] for run in runs if run in self.results):
                cells.setdefault(point.curve, []).append(Cell(point, results))
        best = {curve: lowest(members) for curve, members in cells.items()}
        return {curve: (cell.point, cell.mean, len(cell.results)) for curve, cell in best.items()}

    def _look(self) -> None:
        """Count the epochs of runs that are not finished, from their logs."""
        if time.monotonic() - self.looked < LOOK_SECONDS:
            return
        waiting = (self.store.of(run) for run in self.runs if run not in self.results)
        self.under_way = sum(len(folder.epochs()) for folder in waiting if folder.path.is_dir())
        self.looked = time.monotonic()
        self.progress.update(self.task, completed=sum(run.epochs for run in list(self.results)) + self.under_way)

    def __rich__(self) -> RenderableType:
        from rich.console import Group
        from rich.table import Column, Table
        from rich.text import Text

        if len(self.results) < len(self.runs):
            self._look()
        best = self.best()
        metric = next(iter(self.results.values())).metric if self.results else None
        heading, unit = (metric.name, metric.unit) if metric else ("", "")
        table = Table("so far", "λ", Column(Text(heading)), "seeds", box=None, padding=(0, 2, 0, 0), header_style="dim")
        curves = {point.curve: point.title for point in self.points}
        for curve, title in list(curves.items())[:ROWS]:
            cells = ["", "", ""]
            if curve in best:
                point, mean, seeds = best[curve]
                number = f"{mean:.1f} {unit}" if unit else f"{mean:.4g}"
                cells = [f"{point.weight_decay:.4g}", number, str(seeds)]
            table.add_row(*map(Text, (title, *cells)))
        if len(curves) > ROWS:
            table.add_row(f"and {len(curves) - ROWS} more", "", "", "")
        return Group(self.progress, table)


@contextlib.contextmanager
def _not_silent(view: View) -> Iterator[None]:
    """Where there is no terminal, say how far the runs are whenever nothing has been said for a while."""
    over = threading.Event()

    def speak() -> None:
        while not over.wait(1.0):
            if view.silent():
                view.say_progress()

    thread = threading.Thread(target=speak, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def live(question: Question, store: Store) -> Iterator[View]:
    """Show a view on stderr while runs come in: live on a terminal, plain lines elsewhere."""
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    view = View(question, store, console)
    if console.is_terminal:
        with Live(view, console=console, transient=True, refresh_per_second=4):
            yield view
    else:
        with _not_silent(view):
            yield view
    if view.reused:
        console.print(f"{view.reused} of {len(view.runs)} runs were kept from before.", highlight=False)
