"""The command line that a page prints asks the same again."""

import shlex
from dataclasses import fields, replace
from pathlib import Path

import pytest

from weightdecay.lab.cli.command import COMMANDS, parse
from weightdecay.lab.cli.report import ReportSettings
from weightdecay.lab.cli.reproduce import ReproduceSettings
from weightdecay.lab.cli.spectrum import SpectrumSettings
from weightdecay.lab.cli.sweep import SweepSettings
from weightdecay.lab.cli.train import TrainSettings, run_of
from weightdecay.lab.cli.words import written_options
from weightdecay.lab.pages.theory.settings import TheorySettings
from weightdecay.lab.run import Place, Run
from weightdecay.lab.run.settings import SettingsError, command_line
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
        (ReproduceSettings(("fig1", "fig7"), scale="smoke", data=("a=b", "c=d"),
                           place=Place(device="cpu", data=Path("x"), download=False)),
         ["reproduce", "fig1", "fig7"]),
    ],
)  # fmt: skip
def test_a_command_line_asks_the_same_again(settings, words):
    first, *line = shlex.split(command_line(settings, words))
    assert first == "weightdecay"
    assert parse(line) == settings


SET = {
    "optimizer": "sgd", "lr": 0.5, "weight_decay": 0.25, "seed": 3, "epochs": 7, "batch_size": 9,
    "optimizer_options": (("betas", (0.9, 0.95)), ("nesterov", True)), "max_grad_norm": 2.0, "schedule": "restarts",
    "milestones": (0.5,), "lr_factor": 0.3, "warmup": 1.5, "restart_period": 3.0, "restart_factor": 1.5,
    "weight_decay_schedule": "cosine", "data": "mnist", "train_size": 100, "validation_size": 10, "label_noise": 0.1,
    "test_size": 50, "image_size": 14, "classes": "0-4", "augment": False, "sequence": 5, "network": "smallcnn",
    "network_options": (("width", 4),), "dtype": "bfloat16", "channels_last": False, "compile": True, "frozen": True,
    "strategy": "fsdp", "device": "cpu", "download": False, "workers": 5, "checkpoint_seconds": 1.5,
    "keep_weights": False,
}  # fmt: skip
"""A value other than the default for every field of a run and a place, but for the folder of the data."""


@pytest.mark.parametrize("name", SET)
def test_every_field_of_a_run_and_a_place_is_an_option(name):
    of_place = name != "data" and name in {field.name for field in fields(Place)}
    usual = TrainSettings().place if of_place else TrainSettings().run
    value, option = SET[name], name.replace("_", "-")
    assert value != getattr(usual, name)
    if isinstance(value, bool):
        words = [f"--{option}" if value else f"--no-{option}"]
    elif name.endswith("_options"):
        words = [f"--{option}", *written_options(value)]
    else:
        words = [f"--{option}", *map(str, value if isinstance(value, tuple) else (value,))]
    settings = parse(["train", *words])
    assert (settings.place if of_place else settings.run) == replace(usual, **{name: value})


def test_only_what_follows_from_code_data_and_torchrun_is_none():
    given = {field.name for kind in (Run, Place) for field in fields(kind)}
    assert given - set(SET) == {"optimizer_digest", "data_digest", "processes", "start", "rank", "world"}
    assert parse(["train", "--data-folder", "there"]).place.data == Path("there")


def test_a_run_of_the_command_has_the_defaults_of_a_run():
    run = run_of(parse(["train", "--optimizer", "SGD"]), "", 1)
    assert run == Run("sgd", lr=0.1, weight_decay=5e-4, seed=0)
    decayed = run_of(parse(["train", "--optimizer", "adam", "--decay", "vanilla"]), "", 1)
    assert decayed == Run("adam", 1e-3, 5e-4, 0, optimizer_options=(("decay", "vanilla"),))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--lr", "nan"], "--lr nan: a learning rate is a number"),
        (["--device", "gpu"], "device='gpu' is not a device. Did you mean 'cuda'?"),
        (["--optimizer-options", "momentum"], "--optimizer-options momentum: write NAME=VALUE, as in momentum=0.9."),
        (["--epochs", "many"], "Error parsing --epochs"),
    ],
)
def test_a_value_that_a_field_refuses_is_said_in_its_own_words(words, message):
    with pytest.raises(SettingsError) as caught:
        parse(["train", *words])
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("command", ["train", "sweep", "compare", "reproduce"])
def test_help_is_options_in_sentences_and_then_examples(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert parse([command, "--help"]) is None
    options, examples = capsys.readouterr().out.split("\nExamples:\n")
    assert examples.splitlines()[1:] == [f"    {line}" for line in COMMANDS[command][0].examples]
    assert "(default: None)" not in options
    assert "(default: )" not in options
    assert "default: ''" not in options


def test_it_holds_what_differs_from_the_defaults_and_no_more():
    assert command_line(Settings(), ["compare"]) == "weightdecay compare"
    off = ReproduceSettings(("fig1",), place=Place(device="auto", download=False), dry_run=True, seeds=5)
    assert command_line(off, ["reproduce"]) == "weightdecay reproduce --seeds 5 --no-download --dry-run"


def test_what_decides_nothing_of_the_result_is_left_out():
    settings = ReproduceSettings(("fig1", "fig7"), seeds=5, executor="gpus", dry_run=True, estimate=False)
    assert settings.command() == "weightdecay reproduce fig1 fig7 --seeds 5 --executor gpus"
    assert settings.command(["fig7"]) == "weightdecay reproduce fig7 --seeds 5 --executor gpus"
    assert SweepSettings(Path("a.toml"), dry_run=True).command == "weightdecay sweep a.toml"
