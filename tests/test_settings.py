"""The command line that a page prints asks the same again."""

import shlex
from pathlib import Path

import pytest

from weightdecay.lab.cli.command import parse
from weightdecay.lab.cli.report import ReportSettings
from weightdecay.lab.cli.reproduce import ReproduceSettings
from weightdecay.lab.cli.spectrum import SpectrumSettings
from weightdecay.lab.cli.sweep import SweepSettings
from weightdecay.lab.pages.theory.settings import TheorySettings
from weightdecay.lab.run.settings import command_line
from weightdecay.lab.study.compare import Settings

DECAYS = ("adams=0.1,0.2", "0")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Settings(), ["compare"]),
        (Settings(optimizers=("adams", "sgd"), weight_decays=DECAYS, seeds=5, label_noise=0.0), ["compare"]),
        (SpectrumSettings("a0", train_again=True, kind="ggn", out=Path("two words")), ["spectrum", "a0"]),
        (TheorySettings(seed=3, lr=0.05), ["theory"]),
        (ReportSettings(Path("runs"), out=Path("there")), ["report", "runs"]),
        (SweepSettings(Path("a.toml"), dry_run=True, estimate=False), ["sweep", "a.toml"]),
        (ReproduceSettings(("fig1", "fig7"), scale="smoke", data=("a=b", "c=d"), download=False),
         ["reproduce", "fig1", "fig7"]),
    ],
)  # fmt: skip
def test_a_command_line_asks_the_same_again(settings, words):
    first, *line = shlex.split(command_line(settings, words))
    assert first == "weightdecay"
    assert parse(line) == settings


def test_it_holds_what_differs_from_the_defaults_and_no_more():
    assert command_line(Settings(), ["compare"]) == "weightdecay compare"
    off = ReproduceSettings(("fig1",), download=False, dry_run=True, seeds=5)
    assert command_line(off, ["reproduce"]) == "weightdecay reproduce --seeds 5 --no-download --dry-run"


def test_what_decides_nothing_of_the_result_is_left_out():
    settings = ReproduceSettings(("fig1", "fig7"), seeds=5, executor="gpus", dry_run=True, estimate=False)
    assert settings.command() == "weightdecay reproduce fig1 fig7 --seeds 5 --executor gpus"
    assert settings.command(["fig7"]) == "weightdecay reproduce fig7 --seeds 5 --executor gpus"
    assert SweepSettings(Path("a.toml"), dry_run=True).command == "weightdecay sweep a.toml"
