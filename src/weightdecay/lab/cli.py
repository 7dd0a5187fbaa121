"""The ``weightdecay`` command. Nothing heavy is imported before the arguments are known to be good."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from weightdecay.lab.compare import Point, Settings, SettingsError, grid, method, plan
from weightdecay.lab.run import Result, Run

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

    from weightdecay.lab.report import Report
    from weightdecay.lab.statistics import Comparison
    from weightdecay.lab.store import Store

DONE, FAILED, MISUSED, STOPPED = 0, 1, 2, 130
"""Exit statuses: finished; the store, the disk or a missing package; bad arguments; Ctrl-C."""

DESCRIPTION = "Weight decay, put to the test. `weightdecay --version` prints the version."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status; a user's mistake is one line on stderr, never a traceback."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without λ shall not end the command
    if words == ["--version"]:
        from importlib.metadata import version

        _say(f"weightdecay {version('weightdecay')}")
        return DONE
    try:
        settings = _parse(words or ["--help"])
        return DONE if settings is None else _compare(settings)
    except SettingsError as error:
        return _fail(str(error), MISUSED)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("weightdecay"):
            raise
        return _fail(f"{error.name} is not installed; the lab needs it. Install weightdecay[lab].", FAILED)
    except KeyboardInterrupt:
        return _fail("stopped before anything was trained.", STOPPED, label="")


def _parse(words: list[str]) -> Settings | None:
    """Read the command line; None after ``--help``. Raises SettingsError, with one line, after a mistake."""
    import tyro

    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            settings: Settings = tyro.extras.subcommand_cli_from_dict(
                {"compare": Settings}, prog="weightdecay", description=DESCRIPTION, args=words
            )
    except SystemExit as exit_:
        if not exit_.code:
            return None
        raise SettingsError(_one_line(box.getvalue())) from None
    return settings


def _one_line(box: str) -> str:
    """Return what the parser's framed, many-lined complaint says, in one line."""
    framed = [line.strip("│ ") for line in box.splitlines() if line.startswith("│")]
    parts = list(_between_rules(framed)) if framed else list(_between_rules(box.splitlines()))[1:]  # 0: the title
    said = parts[0].rstrip(".") if parts else "the command could not be read"
    hint = re.match(r"Perhaps you meant: (--[\w-]+)", parts[1]) if len(parts) > 1 else None
    return f"{said}." + (f" Did you mean {hint[1]}?" if hint else "") + " See weightdecay compare --help."


def _between_rules(lines: Sequence[str]) -> Iterator[str]:
    """Yield the text between horizontal rules, its lines joined."""
    part: list[str] = []
    for line in [*lines, "─"]:
        if set(line.strip()) <= {"─", "-"}:
            if part:
                yield " ".join(part)
            part = []
        else:
            part.append(" ".join(line.split()))


def _compare(settings: Settings) -> int:
    """Train what is missing, with a live view; then table, figures and page."""
    runs = plan(settings)  # raises before anything starts
    from weightdecay.lab.store import Store, StoreError
    from weightdecay.lab.sweep import RunError, sweep

    try:
        store = Store(settings.out)
        try:
            with _live(settings, runs) as view:
                results = sweep(runs, store, jobs=settings.jobs or None, on_result=view.add)
        except KeyboardInterrupt:
            kept = _kept(store, runs)
            return _fail(
                f"stopped: {kept} of {len(runs)} runs are kept in {settings.out}; the same command continues.",
                STOPPED,
                label="",
            )
        from weightdecay.lab.report import write
        from weightdecay.lab.statistics import compare

        comparison = compare(settings, results)
        _show(comparison, write(comparison, settings.out))
    except (StoreError, RunError) as error:
        return _fail(str(error), FAILED)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}. Name another folder with --out.", FAILED)
    return DONE


def _kept(store: Store, runs: Sequence[Run]) -> int:
    wanted = set(runs)
    return sum(result.run in wanted for result in store.results())


class _View:
    """What is known while runs come in: how many are done, and each optimizer's best mean error so far."""

    def __init__(self, settings: Settings, runs: Sequence[Run], console: Console) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self.console = console
        self.total = len(runs)
        self.points = grid(settings)
        self.results: dict[Run, Result] = {}
        self.progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self.task = self.progress.add_task("training", total=self.total)
        self.reused = 0

    def add(self, result: Result, reused: bool) -> None:
        """Take in one result; without a terminal, say so in a line."""
        self.results[result.run] = result
        self.reused += reused
        if reused:  # the time left is estimated from what is trained now; kept runs cost nothing
            self.progress.reset(self.task, completed=len(self.results))
        else:
            self.progress.update(self.task, advance=1)
        if not self.console.is_terminal:
            if not reused:
                run, done = result.run, len(self.results)
                self.console.print(
                    f"[{done}/{self.total}] {run.optimizer} λ={run.weight_decay:g} lr={run.lr:g} seed {run.seed}: "
                    f"{result.last_error:.1f} % test error, {result.seconds:.1f} s"
                    + (" (diverged)" if result.status == "diverged" else ""),
                    markup=False,
                    highlight=False,
                    soft_wrap=True,
                )
        elif self.reused == self.total:
            self.progress.stop_task(self.task)

    def best(self) -> dict[str, tuple[Point, float, int]]:
        """Return each optimizer's best point so far, its mean error and how many seeds that is the mean of."""
        found: dict[str, tuple[Point, float, int]] = {}
        for point, runs in self.points.items():
            errors = [self.results[run].last_error for run in runs if run in self.results]
            if errors:
                mean = sum(errors) / len(errors)
                if point.optimizer not in found or mean < found[point.optimizer][1]:
                    found[point.optimizer] = (point, mean, len(errors))
        return found

    def __rich__(self) -> RenderableType:
        from rich.console import Group
        from rich.table import Table

        table = Table("so far", "λ", "test error", "seeds", box=None, padding=(0, 2, 0, 0), header_style="dim")
        best = self.best()
        for optimizer in dict.fromkeys(point.optimizer for point in self.points):
            cells = ["", "", ""]
            if optimizer in best:
                point, mean, seeds = best[optimizer]
                cells = [f"{point.weight_decay:.4g}", f"{mean:.1f} %", str(seeds)]
            table.add_row(method(optimizer).title, *cells)
        return Group(self.progress, table)


@contextlib.contextmanager
def _live(settings: Settings, runs: Sequence[Run]) -> Iterator[_View]:
    """Show a view on stderr while runs come in: live on a terminal, plain lines elsewhere."""
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    view = _View(settings, runs, console)
    if console.is_terminal:
        with Live(view, console=console, transient=True, refresh_per_second=4):
            yield view
    else:
        yield view
    if view.reused:
        console.print(f"{view.reused} of {len(runs)} runs were kept from before.", highlight=False)


def _show(comparison: Comparison, report: Report) -> None:
    """Print the table and where the files are."""
    from rich.console import Console

    from weightdecay.lab.report.page import answer, notes

    console = Console()
    console.print(_table(comparison))
    console.print(answer(comparison) + "\n", markup=False, highlight=False)
    for note in notes(comparison):
        console.print(f"note: {note}", markup=False, highlight=False)
    for name, path in (
        ("page", report.page),
        ("results", report.results),
        *(("figure", one) for one in report.figures),
    ):
        console.print(f"{name:<8}{path}", markup=False, highlight=False, soft_wrap=True)


def _table(comparison: Comparison) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from weightdecay.lab.report.page import rows

    seeds = comparison.settings.seeds
    title = f"Test error at the last epoch, % ({seeds} {'seed' if seeds == 1 else 'seeds'})"
    table = Table(
        title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False, padding=(0, 1, 0, 0)
    )
    table.add_column("optimizer", no_wrap=True)
    for heading in ("lr", "best λ", "test error", "at λ = 0", "minus best [95 %]"):
        table.add_column(Text(heading), justify="right", no_wrap=True)
    table.add_column("verdict")
    styles = {"best": "bold green", "beyond seed noise": "yellow"}
    for row in rows(comparison):
        cells = [row[name] for name in ("optimizer", "lr", "λ", "error", "without", "difference", "verdict")]
        table.add_row(*map(Text, cells), style=styles.get(row["verdict"], ""))
    return table


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _fail(text: str, status: int, label: str = "error: ") -> int:
    """Write one line on stderr and return the exit status."""
    sys.stderr.write(label + " ".join(text.split()) + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
