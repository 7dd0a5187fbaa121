"""The ``weightdecay`` command. Nothing heavy is imported before the arguments are known to be good."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from weightdecay.checks import unknown
from weightdecay.lab.cli.advise import AdviseSettings, run_advise
from weightdecay.lab.cli.audit import AuditSettings, run_audit
from weightdecay.lab.cli.compare import run_compare
from weightdecay.lab.cli.measure import MeasureSettings, run_measure
from weightdecay.lab.cli.nested import nested
from weightdecay.lab.cli.referee import RefereeSettings, run_referee
from weightdecay.lab.cli.report import ReportSettings, run_report
from weightdecay.lab.cli.reproduce import ReproduceSettings, run_reproduce
from weightdecay.lab.cli.say import DONE, FAILED, MISUSED, STOPPED, UNHEARD, fail, open_missing, say, turn_away
from weightdecay.lab.cli.spectrum import SpectrumSettings, run_spectrum
from weightdecay.lab.cli.sweep import SweepSettings, run_sweep
from weightdecay.lab.cli.theory import run_theory
from weightdecay.lab.cli.train import TrainSettings, run_train
from weightdecay.lab.pages.theory.settings import TheorySettings
from weightdecay.lab.run.settings import SettingsError
from weightdecay.lab.study.compare import Settings

COMMANDS: dict[str, tuple[type, Callable[[Any], int], str]] = {
    "compare": (Settings, run_compare, "Compare optimizers and decays on a small network: which wins?"),
    "train": (TrainSettings, run_train, "Train one network, measured once per epoch; continues if stopped."),
    "sweep": (SweepSettings, run_sweep, "Train a grid of runs from a TOML file: plan, cost, runs, report."),
    "report": (ReportSettings, run_report, "Draw table, figures and page from the finished runs in a folder."),
    "reproduce": (ReproduceSettings, run_reproduce, "Put the paper's claims to the test, with a verdict for each."),
    "referee": (RefereeSettings, run_referee, "Judge decays: each tuned with the same budget, on seeds of its own."),
    "advise": (AdviseSettings, run_advise, "Which λ to try next for another batch, length, optimizer, width."),
    "audit": (AuditSettings, run_audit, "Which tensors an optimizer decays, by how much, and what is odd."),
    "measure": (MeasureSettings, run_measure, "What the weight_decay of any optimizer does, by experiment."),
    "spectrum": (SpectrumSettings, run_spectrum, "Measure the Hessian's eigenvalues of a trained run."),
    "theory": (TheorySettings, run_theory, "Draw what theory predicts beside what the optimizers do."),
}
"""Name, the settings that the command line fills in, what is run with them, and what it does in one line.

Settings and functions import torch only when they are called.
"""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a full disk answers."""

DESCRIPTION = "Weight decay, put to the test."


EXTRAS = {"curvlinops": "spectrum", "ray": "ray", "submitit": "slurm"}
"""Where a module comes from that the extra ``lab`` does not bring."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status; a user's mistake is one line on stderr, never a traceback."""
    open_missing()
    status = DONE
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without λ shall not end the command
    try:
        status = _main(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit) as error:
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):  # as rich takes it
            raise
        turn_away()
        return UNHEARD
    except OSError as error:
        turn_away()
        return status or fail(f"the output cannot be written: {error.strerror or error}.", FAILED)
    return status


def _main(words: list[str]) -> int:
    if words == ["--version"]:
        from importlib.metadata import version

        say(f"weightdecay {version('weightdecay')}")
        return DONE
    if words in ([], ["--help"], ["-h"]):
        say(overview())
        return DONE
    if not words[0].startswith("-") and words[0] not in COMMANDS:
        return fail(f"{unknown('command', words[0], COMMANDS)} See weightdecay --help.", MISUSED)
    try:
        settings = parse(words)
        with warnings.catch_warnings():
            warnings.showwarning = _warn  # type: ignore[assignment]
            return DONE if settings is None else _run(settings)
    except SettingsError as error:
        return fail(str(error), MISUSED)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("weightdecay"):
            raise
        module = error.name.partition(".")[0]
        extra = EXTRAS.get(module, "lab")
        return fail(f"{module} is not installed; the lab needs it. Install weightdecay[{extra}].", FAILED)
    except KeyboardInterrupt:
        return fail("stopped.", STOPPED, label="")


def overview() -> str:
    """Return the commands, one line each: a screen."""
    commands = [f"  {name:<10} {line}" for name, (_, _, line) in COMMANDS.items()]
    ends = [
        "weightdecay COMMAND --help    Show the options of a command, and examples.",
        "weightdecay --version         Print the version.",
        "weightdecay --tyro-print-completion bash    Print a completion (or for zsh).",
    ]
    return "\n".join(["usage: weightdecay COMMAND [OPTIONS]", "", DESCRIPTION, "", *commands, "", *ends])


def _warn(message: Warning | str, *_: object) -> None:
    """Write a warning without the line of our code that it came from."""
    sys.stderr.write(f"warning: {message}\n")


def _run(settings: object) -> int:
    """Run what was asked; what can go wrong outside this program is one line."""
    try:
        return next(run for kind, run, _ in COMMANDS.values() if kind is type(settings))(settings)
    except (SettingsError, BrokenPipeError):
        raise
    except OSError as error:
        if not error.filename and error.errno in FULL:  # files are named: it was the output
            raise
        where = f"{error.filename}: " if error.filename else ""
        way_out = " Name another folder with --out." if error.filename and _is_in(settings, error.filename) else ""
        return fail(f"{where}{error.strerror or error}.{way_out}", FAILED)
    except Exception as error:
        if not _of_a_person(error):
            raise
        return fail(str(error), FAILED)


def _is_in(settings: object, path: str | bytes) -> bool:
    """Whether the path lies in the folder that the command writes to, as far as its options tell."""
    out = getattr(settings, "out", None)
    return hasattr(settings, "out") and (
        out is None or Path(os.fsdecode(path)).absolute().is_relative_to(Path(out).absolute())
    )


def _of_a_person(error: Exception) -> bool:
    """Whether the error is one that a person can mend, and says how."""
    from weightdecay.lab.data import DataError
    from weightdecay.lab.executors import EngineError
    from weightdecay.lab.run.lock import Busy
    from weightdecay.lab.run.store import StoreError
    from weightdecay.lab.sweeps.sweep import RunError

    return isinstance(error, (StoreError, DataError, Busy, RunError, EngineError))


def parse(words: list[str]) -> object | None:
    """Read the command line; None after ``--help``. Raises SettingsError, with one line, after a mistake."""
    import tyro

    box, help_ = io.StringIO(), io.TextIOWrapper(io.BytesIO(), encoding="utf-8")  # which may have frames
    try:
        with contextlib.redirect_stderr(box), contextlib.redirect_stdout(help_), nested():
            settings: object = tyro.extras.subcommand_cli_from_dict(
                {name: kind for name, (kind, _, _) in COMMANDS.items()},
                prog="weightdecay",
                description=DESCRIPTION,
                args=words,
                # The file of a sweep needs no name; what may be absent is left out, not called None.
                config=(tyro.conf.PositionalRequiredArgs, tyro.conf.DisallowNone, tyro.conf.OmitArgPrefixes),
            )
    except SystemExit as exit_:
        if not exit_.code:
            help_.seek(0)
            say(help_.read().rstrip("\n") + _examples(words[0]))
            return None
        command = f" {words[0]}" if words[0] in COMMANDS else ""
        raise SettingsError(_one_line(box.getvalue(), command)) from None
    return settings


def _examples(command: str) -> str:
    """Return the examples of a command, which its help ends with; nothing for a shell's completion."""
    if command not in COMMANDS:
        return ""
    return "\n".join(["\nExamples:", "", *(f"    {line}" for line in COMMANDS[command][0].examples)])  # type: ignore[attr-defined]


def _one_line(box: str, command: str) -> str:
    """Return what the parser's framed, many-lined complaint says, in one line."""
    framed = [line.strip("│ ") for line in box.splitlines() if line.startswith("│")]
    parts = list(_between_rules(framed)) if framed else list(_between_rules(box.splitlines()))[1:]  # 0: the title
    said = parts[0].rstrip(".") if parts else "the command could not be read"
    hint = re.match(r"Perhaps you meant: (--[\w-]+)", parts[1]) if len(parts) > 1 else None
    return f"{said}." + (f" Did you mean {hint[1]}?" if hint else "") + f" See weightdecay{command} --help."


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
