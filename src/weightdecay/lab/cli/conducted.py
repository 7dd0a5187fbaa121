"""A study from the command line: the plan, a live view, the exit status, and one line where it stops."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightdecay.lab.cli.planned import print_plan
from weightdecay.lab.cli.say import DONE, FAILED, fail, say, status_of
from weightdecay.lab.run.interrupt import sigterm_raises
from weightdecay.lab.run.settings import SettingsError
from weightdecay.lab.run.store import Store
from weightdecay.lab.study.conduct import Audience, Planned, Study, conduct

if TYPE_CHECKING:
    from weightdecay.lab.cli.view import View
    from weightdecay.lab.executors import Executor
    from weightdecay.lab.run import Run
    from weightdecay.lab.study.question import Question


@dataclass
class Terminal(Audience):
    """A person at a terminal: sees the plan, and the runs as they come. ``runs`` are those planned so far."""

    dry_run: bool = False
    runs: set[Run] = field(default_factory=set)

    def plan(self, planned: Planned) -> bool:
        """Print the plan; a dry run ends there."""
        self.runs |= set(planned.runs)
        print_plan(planned)
        return not self.dry_run

    def more(self, planned: Planned) -> None:
        """Say how many runs follow."""
        self.runs |= set(planned.runs)
        count = len(planned.missing)
        say(f"the results ask for {count} more run{'s' if count > 1 else ''}")

    @contextmanager
    def watch(self, everything: Question, store: Store) -> Iterator[View]:
        """Show the runs live; SIGTERM is heard as Ctrl-C."""
        from weightdecay.lab.cli.view import live

        with sigterm_raises(), live(everything, store) as view:
            yield view


def conducted(study: Study[Any], dry_run: bool = False) -> int:
    """Conduct a study and return the exit status."""
    terminal = Terminal(dry_run)
    try:
        answered = conduct(study, terminal)
    except KeyboardInterrupt as stopped:
        store, runs = Store(study.out), terminal.runs or set(study.runs)
        kept = sum(store.result(run) is not None for run in runs)
        text = f"stopped: {kept} of {len(runs)} runs are finished in {store.folder}, others keep their checkpoints"
        return fail(f"{text}; the same command continues.", status_of(stopped), label="")
    if answered and answered.failures:
        count = f"{len(answered.failures)} of {answered.asked} runs failed"
        return fail(f"{count}, as said above; the others are kept.", FAILED)
    return DONE


def executor_of(name: str, settings: Mapping[str, Any], out: Path) -> Executor:
    """Return the executor of a file or a command line; Slurm's files go beside the runs. Raises: SettingsError."""
    from weightdecay.lab.executors import executor

    beside = {"folder": str(out / "slurm")} if name == "slurm" else {}
    try:
        return executor(name, **{**beside, **settings})
    except (ValueError, ImportError, TypeError) as error:
        raise SettingsError(str(error)) from None
