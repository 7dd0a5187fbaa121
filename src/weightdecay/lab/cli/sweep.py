"""``weightdecay sweep FILE``: a grid from a readable file, planned, trained, reported."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

from weightdecay.lab.cli.conducted import conducted, executor_of
from weightdecay.lab.cli.report import answering
from weightdecay.lab.cli.say import modules_from_here
from weightdecay.lab.run.settings import SettingsError, command_line, flag, left_out
from weightdecay.lab.study.asked import questions
from weightdecay.lab.sweeps import plan as plans


@dataclass(frozen=True)
class SweepSettings:
    """Train a grid of runs from a file of settings and ranges; plan and cost first, then table, figures and page.

    What has been trained is kept: the same command continues, wherever it was stopped, also with a larger grid.

    Settings are those of `weightdecay train --help`, with underscores; executors are local, here, gpus, ray and slurm.
    """

    examples: ClassVar[tuple[str, ...]] = (
        'data = "cifar10"',
        'network = "resnet20"',
        "epochs = 100",
        "seeds = 3",
        "[[grid]]",
        'optimizer = ["adamw", "adams"]',
        "weight_decay = { from = 1e-4, to = 1e-1, count = 4 }",
        "[executor]",
        'name = "local"',
        "",
        "weightdecay sweep grid.toml --dry-run",
    )
    file: Path
    """File of the sweep, in TOML."""
    dry_run: Annotated[bool, flag()] = False
    """Print the plan with its estimated cost, and train nothing."""
    estimate: Annotated[bool, flag()] = True
    """Measure a few steps of each kind of run before the plan is printed."""
    out: Annotated[Path | None, left_out("what the file says, else NAME-runs beside NAME.toml")] = None
    """Folder for runs and report."""

    @property
    def command(self) -> str:
        """The command line that asks this again."""
        return command_line(self, ["sweep", str(self.file)], leave=("dry_run", "estimate"))


def run_sweep(settings: SweepSettings) -> int:
    """Plan, train, report."""
    modules_from_here()
    plan = plans.read(settings.file)
    from weightdecay.lab.sweeps.ready import with_content

    out = settings.out or settings.file.parent / plan.out
    try:
        on = executor_of(plan.executor["name"], {k: v for k, v in plan.executor.items() if k != "name"}, out)
        asked = questions(with_content(plan.runs, plan.place).values(), settings.command, plan.title)
        study = answering(asked, out, title=plan.title or settings.file.name, on=on, place=plan.place)
        return conducted(replace(study, estimate=settings.estimate), settings.dry_run)
    except SettingsError as error:
        raise SettingsError(f"{settings.file}: {error}") from None
