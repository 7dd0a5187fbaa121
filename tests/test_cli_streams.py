"""The command where nobody listens: a closed stderr, a pipe whose reader has left."""

import contextlib
import os
import subprocess
import sys

import pytest

from weightdecay.lab.cli import main
from weightdecay.lab.run.store import Store

TRAIN = ["train", "--device", "cpu", "--epochs", "2", "--train-size", "128", "--network-options", "width=4"]
SWEEP = """
epochs = 1
train_size = 128
network_options = { width = 4 }
optimizer = "adams"
weight_decay = 1e-3
executor = { name = "EXECUTOR" }
"""


def command(words, streams="", **how):
    """The command, begun by a shell that closes streams: ``2>&-``."""
    shell = ["sh", "-c", f'exec "$@" {streams}', "sh", sys.executable, "-m", "weightdecay", *words]
    return subprocess.run(shell, check=False, timeout=120, **how)


def unheard(words, both=False):
    """The command, whose reader has left; what it says on stderr where that is not the same pipe."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return command(words, stdout=writer, stderr=writer if both else subprocess.PIPE)
    finally:
        os.close(writer)


@pytest.mark.parametrize("streams", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("words", "status"), [(["--version"], 0), (["advise", "--lr", "0"], 2), (["report", "x"], 2)])
def test_without_streams_the_status_is_what_it_is_with_them(words, status, streams):
    assert command(words, streams).returncode == status


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["here", "local"])
def test_without_stderr_a_sweep_is_trained_and_nothing_else_becomes_its_stderr(executor, tmp_path):
    (tmp_path / "grid.toml").write_text(SWEEP.replace("EXECUTOR", executor))
    done = command(["sweep", str(tmp_path / "grid.toml")], "2>&-", stdout=subprocess.PIPE)
    assert done.returncode == 0
    assert b"sweep.html" in done.stdout
    assert len(Store(tmp_path / "grid-runs").results()) == 1


@pytest.mark.parametrize("both", [False, True], ids=["stdout", "both"])
@pytest.mark.parametrize("words", [["--version"], ["--help"], ["advise", "--help"], ["report", "x"]])
def test_a_reader_that_has_left_ends_the_command_quietly(words, both):
    done = unheard(words, both)
    assert done.returncode == (2 if words[0] == "report" and not both else 141)
    if words[0] != "report":
        assert not done.stderr


ADVICE = ["advise", "--optimizer", "adamw", "--lr", "1", "--weight-decay", "1", "--width-factor", "4"]


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["train", "--help"], ADVICE])
def test_an_output_on_a_full_disk_is_one_line_and_status_1(words, capsys, monkeypatch):
    full = open("/dev/full", "w")  # noqa: SIM115 - its end has nowhere to write either
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", full)
        status = main(words)
    with contextlib.suppress(OSError):
        full.close()
    assert status == 1
    assert capsys.readouterr().err == "error: the output cannot be written: No space left on device.\n"


@pytest.mark.slow
def test_a_reader_who_leaves_ends_training_quietly_and_the_same_command_continues(tmp_path):
    words = [*TRAIN, "--out", str(tmp_path)]
    done = unheard(words)
    assert (done.returncode, done.stderr) == (141, b"")
    assert main(words) == 0
    assert unheard(["report", str(tmp_path)]).returncode == 141


@pytest.mark.parametrize(
    ("file", "advice"),
    [
        ("{out}/page.html", "{out}/page.html: N. Name another folder with --out."),
        ("/data/photo.png", "/data/photo.png: N."),
        (None, "N."),
    ],
)
def test_another_folder_is_advised_only_where_a_file_was_the_matter(file, advice, tmp_path, capsys, monkeypatch):
    def refuse(*_):
        raise OSError(5, "N", *([file.format(out=tmp_path)] if file else []))

    monkeypatch.setattr("weightdecay.lab.run.store.Store", refuse)
    assert main([*TRAIN, "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"error: {advice.format(out=tmp_path)}\n"
