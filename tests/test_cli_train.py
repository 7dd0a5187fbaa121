"""``weightdecay train`` and ``weightdecay sweep``: what they print, keep, continue and refuse."""

import signal
import subprocess
import sys

import pytest
from fakes import fake_result
from lab import COMMAND, small, started

from weightdecay.lab.cli import main
from weightdecay.lab.run import Run, options
from weightdecay.lab.run.store import Store

TRAIN = ["train", "--device", "cpu", "--epochs", "2", "--train-size", "128", "--network-options", "width=4"]


def test_a_run_prints_a_line_an_epoch_and_is_kept(tmp_path, capsys):
    words = [*TRAIN, "--optimizer", "SGDS", "--optimizer-options", "momentum=0.9", "nesterov=true"]
    assert main([*words, "--validation-size", "50", "--out", str(tmp_path)]) == 0
    first, second, summary, weights, kept = capsys.readouterr().out.splitlines()
    assert first.startswith("epoch 1/2  lr 0.1  training loss ")
    assert "validation" in second
    assert summary.startswith("finished: test error ")
    assert "at the epoch that validation selects" in summary
    (result,) = Store(tmp_path).results()
    assert result.run == Run(
        "sgds",
        0.1,
        5e-4,
        seed=0,
        epochs=2,
        train_size=128,
        validation_size=50,
        optimizer_options=options(momentum=0.9, nesterov=True),
        network_options=options(width=4),
    )
    assert weights == f"weights {result.weights}"
    assert kept == f"kept in {tmp_path / 'runs' / result.run.address}"
    assert main([*words, "--validation-size", "50", "--out", str(tmp_path)]) == 0
    again = capsys.readouterr().out.splitlines()
    assert again == ["this run has finished before; nothing was trained.", summary, weights, kept]


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--optimizer", "adms"], 2, "no optimizer is called 'adms'. Did you mean 'adams'?"),
        (["--network", "resnet19"], 2, "no network is called 'resnet19'. Did you mean 'resnet18'?"),
        (["--data", "cifar"], 2, "no data set is called 'cifar'. Did you mean 'cifar10'?"),
        (["--schedule", "cosinus"], 2, "cosinus"),
        (["--optimizer-options", "momentum"], 2, "--optimizer-options momentum: write NAME=VALUE, as in momentum=0.9."),
        (["--network-options", "widht=4"], 2, "Did you mean 'width'?"),
        (["--optimizer-options", "momentun=0.9"], 2, "AdamS: no option is called 'momentun'. Did you mean"),
        (["--decay", "cautious(stabel)"], 2, "no decay is called 'stabel'. Did you mean 'stable'?"),
        (["--lr", "-1"], 2, "lr=-1"),
        (["--epochs", "0"], 2, "epochs=0: a run has at least one."),
        (["--data", "images:nowhere"], 1, "nowhere is not a folder."),
        (["--data", "cifar10", "--no-download", "--data-folder", "nowhere"], 1, "cifar10 is not there"),
        (["--weight-decai", "1"], 2, "Did you mean --weight-decay?"),
    ],
)
def test_a_mistake_is_one_line_and_a_status(words, status, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*TRAIN, *words, "--out", str(tmp_path / "out")]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert status == 1 or not (tmp_path / "out").exists()


SWEEP = """
title = "Two of a kind"
epochs = 2
train_size = 128
seeds = 2
network_options = { width = 4 }
optimizer = ["adamw", "adams"]
weight_decay = [1e-3, 1e-1]
executor = { name = "here" }
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text(SWEEP)
    return path


def test_a_sweep_says_what_it_will_cost_and_can_stop_there(file, tmp_path, capsys):
    assert main(["sweep", str(file), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "Two of a kind" in out
    assert "resnet8" in out
    assert f"8 runs, 0 of them kept from before, in {tmp_path / 'grid-runs'}" in " ".join(out.split())
    assert "estimated: " in out
    assert Store(tmp_path / "grid-runs").results() == []


def test_a_sweep_is_trained_reported_and_continued(file, tmp_path, capsys):
    assert main(["sweep", str(file), "--no-estimate"]) == 0
    out, err = capsys.readouterr()
    assert "[8/8]" in err
    for name in ("sweep.html", "results.csv", "learning-curves.png", "error-against-decay.svg"):
        assert str(tmp_path / "grid-runs" / name) in out
        assert (tmp_path / "grid-runs" / name).is_file()
    page = (tmp_path / "grid-runs" / "sweep.html").read_text(encoding="utf-8")
    assert "On digits with resnet8" in page
    assert "Two of a kind" in page
    file.write_text(SWEEP.replace("seeds = 2", "seeds = 3"))
    assert main(["sweep", str(file), "--no-estimate"]) == 0
    out, err = capsys.readouterr()
    assert "12 runs, 8 of them kept from before" in " ".join(out.split())
    assert "8 of 12 runs were kept from before." in err
    assert len(Store(tmp_path / "grid-runs").results()) == 12


def test_a_report_is_of_what_has_finished(file, tmp_path, capsys):
    folder = tmp_path / "runs of mine"
    for words in (["--seed", "0"], ["--seed", "1"], ["--network", "smallcnn", "--network-options", "width=8"]):
        assert main([*TRAIN, *words, "--out", str(folder)]) == 0
    assert main(["report", str(folder), "--out", str(tmp_path / "page")]) == 0
    assert "(2 seeds)" in capsys.readouterr().out
    for network in ("resnet8", "smallcnn"):
        page = (tmp_path / "page" / f"digits-{network}" / "sweep.html").read_text(encoding="utf-8")
        assert f"On digits with {network}" in page
    (tmp_path / "empty" / "runs").mkdir(parents=True)
    for name, message in (("nothing", "contains no runs"), ("empty", "no run has finished yet")):
        assert main(["report", str(tmp_path / name)]) == 2
        assert message in capsys.readouterr().err


def test_a_report_does_not_average_over_data_that_have_changed(tmp_path, capsys):
    for digest in ("a" * 64, "b" * 64):
        Store(tmp_path).save(fake_result(small(data="text:x", data_digest=digest)))
    assert main(["report", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.count("(1 seed)") == 2
    for version in ("aaaaaaaa", "bbbbbbbb"):
        page = (tmp_path / f"text-x-resnet8-{version}" / "sweep.html").read_text(encoding="utf-8")
        assert f"On text-x (version {version}) with resnet8" in page


def test_runs_that_fail_are_said_and_the_others_reported(file, tmp_path, capsys, monkeypatch):
    from weightdecay.lab import models

    build = models.build

    def fragile(name, facts, seed, options=()):
        if seed == 1:
            raise RuntimeError("out of memory, say")
        return build(name, facts, seed, options)

    monkeypatch.setattr(models, "build", fragile)
    assert main(["sweep", str(file), "--no-estimate"]) == 1
    out, err = capsys.readouterr()
    assert err.count("failed: RuntimeError: out of memory, say") == 4
    assert err.splitlines()[-1] == "error: 4 of 8 runs failed, as said above; the others are kept."
    assert "(1 seed)" in out


def test_different_data_and_networks_have_a_report_each(file, tmp_path, capsys):
    text = SWEEP.replace("network_options = { width = 4 }", 'network = ["resnet8", "smallcnn"]').replace(
        "seeds = 2", ""
    )
    file.write_text(text.replace("[1e-3, 1e-1]", "1e-3"))
    assert main(["sweep", str(file), "--no-estimate"]) == 0
    for network in ("resnet8", "smallcnn"):
        assert (tmp_path / "grid-runs" / f"digits-{network}" / "sweep.html").is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("seeds = 2", "sedes = 2"), "no setting is called 'sedes'. Did you mean 'seeds'?"),
        (('"adams"', '"adms"'), "no optimizer is called 'adms'"),
        (('"here"', '"her"'), "no executor is called 'her'. Did you mean 'here'?"),
        (('"here"', '"here", jobs = 2'), "no setting of the executor 'here' is called 'jobs'"),
        (("epochs = 2", 'network = "resnet19"'), "no network is called 'resnet19'. Did you mean 'resnet18'?"),
        (("epochs = 2", 'schedule = "stepp"'), "no schedule is called 'stepp'"),
        (("width = 4", "width = 0"), "grid.toml: width=0 of the network 'resnet8' must be"),
        (("train_size = 128", "train_size = 1797"), "resnet8 on digits cannot be trained: train_size=1797"),
    ],
)
def test_what_is_wrong_with_a_sweep_is_one_line_before_anything_is_trained(change, message, file, tmp_path, capsys):
    file.write_text(SWEEP.replace(*change))
    assert main(["sweep", str(file)]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert Store(tmp_path / "grid-runs").results() == []


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130)])  # SIGTERM: test_train
def test_a_sweep_that_is_told_to_stop_says_what_is_kept(number, status, file, tmp_path):
    many = SWEEP.replace("epochs = 2", "epochs = 30").replace("seeds = 2", "seeds = 20")
    file.write_text(many.replace('"here"', '"local", jobs = 2'))
    command = [sys.executable, "-c", COMMAND, "sweep", str(file), "--no-estimate"]
    with started(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        said = process.stderr.readline()
        while said.startswith("[0/80]"):  # of a machine that is slow to start, or slow
            said = process.stderr.readline()
        assert said.startswith("[1/80]")
        process.send_signal(number)
        err = process.communicate(timeout=120)[1]
    assert process.returncode == status
    kept = len(Store(tmp_path / "grid-runs").results())
    assert err.splitlines()[-1] == (
        f"stopped: {kept} of 80 runs are finished in {tmp_path / 'grid-runs'}, others keep their checkpoints; "
        "the same command continues."
    )
