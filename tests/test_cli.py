"""The command: its help, its exit statuses, its one-line errors, and that nothing is lost when it stops."""

from __future__ import annotations

import errno
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from fakes import fake_result

from weightdecay.lab.cli import conducted as conducted_module
from weightdecay.lab.cli import main
from weightdecay.lab.cli.command import COMMANDS, parse
from weightdecay.lab.run import store as store_module
from weightdecay.lab.run.store import Store
from weightdecay.lab.study import conduct as conduct_module
from weightdecay.lab.study.compare import Settings, question
from weightdecay.lab.sweeps import sweep as sweep_module


class FakeStore:
    """Keeps results in memory, one memory a folder."""

    folders: dict[Path, dict] = {}  # noqa: RUF012

    def __init__(self, folder):
        self.folder = Path(folder)
        self.kept = self.folders.setdefault(Path(folder), {})

    def result(self, run):
        return self.kept.get(run)


class FakeSweep:
    """Trains by formula; counts; can be stopped after some runs."""

    def __init__(self):
        self.trained, self.stop_after = 0, None

    def __call__(self, runs, store, on, place, task, on_result, on_failure):
        for run in runs:
            reused = run in store.kept
            if not reused:
                if self.trained == self.stop_after:
                    raise KeyboardInterrupt
                store.kept[run] = fake_result(run)
                self.trained += 1
            on_result(store.kept[run], reused)
        return [store.kept[run] for run in runs]


@pytest.fixture
def sweep(monkeypatch):
    fake = FakeSweep()
    monkeypatch.setattr(FakeStore, "folders", {})
    monkeypatch.setattr(conduct_module, "Store", FakeStore)
    monkeypatch.setattr(conducted_module, "Store", FakeStore)
    monkeypatch.setattr(sweep_module, "sweep", fake)
    return fake


def test_a_comparison_ends_with_a_table_and_its_files(sweep, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["compare", "--out", str(tmp_path / "made")]) == 0
    out, err = capsys.readouterr()
    assert sweep.trained == 51
    for name in ("AdamS", "AdamW", "SGD", "SGDS", "Adam", "best", "beyond seed noise"):
        assert name in out
    for name in ("compare.html", "results.csv", "learning-curves.png", "error-against-decay.svg"):
        assert str(tmp_path / "made" / name) in out
        assert (tmp_path / "made" / name).is_file()
    # Without a terminal progress is one line per run.
    assert "[51/51]" in err
    assert len(err.splitlines()) == 51


def test_a_finished_comparison_is_drawn_again_without_training(sweep, tmp_path, capsys):
    arguments = ["compare", "--optimizers", "adams", "sgd", "--out", str(tmp_path)]
    assert main(arguments) == 0
    first, page = sweep.trained, (tmp_path / "compare.html").read_bytes()
    (tmp_path / "compare.html").unlink()
    capsys.readouterr()
    assert main(arguments) == 0
    assert sweep.trained == first
    assert (tmp_path / "compare.html").read_bytes() == page
    assert f"{first} of {first} runs were kept from before." in capsys.readouterr().err


def test_a_stopped_comparison_says_what_is_kept_and_continues(sweep, tmp_path, capsys):
    sweep.stop_after = 31
    assert main(["compare", "--out", str(tmp_path)]) == 130
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == (
        f"stopped: 31 of 51 runs are finished in {tmp_path}, others keep their checkpoints; the same command continues."
    )
    sweep.stop_after = None
    assert main(["compare", "--out", str(tmp_path)]) == 0
    assert sweep.trained == 51


def test_more_seeds_train_only_the_new_ones(sweep, tmp_path):
    assert main(["compare", "--seeds", "2", "--out", str(tmp_path)]) == 0
    assert main(["compare", "--seeds", "3", "--out", str(tmp_path)]) == 0
    assert sweep.trained == 51


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--optimizers", "adms"], "error: no optimizer is called 'adms'. Did you mean 'adams'?"),
        (["--weight-decays", "-0.1"], "error: --weight-decays -0.1: a weight decay is a finite number, 0 or above"),
        (["--weight-decays", "adams=nan"], "error: --weight-decays adams=nan: a weight decay is a finite number"),
        (["--lrs", "0"], "error: --lrs 0: a learning rate is a finite number above 0"),
        (["--seeds", "0"], "error: --seeds 0: must be an integer of at least 1. The default is 3."),
        (["--epochs", "many"], "error: Error parsing --epochs"),
        (["--epoch", "3"], "error: Unrecognized options: --epoch, 3. Did you mean --epochs?"),
        (["--label-noise", "1"], "error: --label-noise 1: it is a fraction"),
    ],
)
def test_a_bad_argument_is_one_line_and_status_2(sweep, arguments, words, tmp_path, capsys):
    folder = tmp_path / "not made"
    assert main(["compare", "--out", str(folder), *arguments]) == 2
    out, err = capsys.readouterr()
    assert err.startswith(words)
    assert err.count("\n") == 1
    assert out == ""
    assert sweep.trained == 0
    assert not folder.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compar"], "no command is called 'compar'. Did you mean 'compare'? Known: advise, audit,"),
        (["comparee", "--seeds", "2"], "no command is called 'comparee'. Did you mean 'compare'?"),
        (["--frobnicate"], "Unrecognized options: --frobnicate"),
    ],
)
def test_an_unknown_command_is_one_line_and_status_2(arguments, words, capsys):
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: " + words)
    assert err.count("\n") == 1


def test_a_folder_that_cannot_be_made_is_one_line_and_status_1(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert main(["compare", "--out", str(tmp_path / "file" / "below")]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert str(tmp_path / "file") in err
    assert err.count("\n") == 1
    assert (tmp_path / "file").read_text() == "mine"


def test_a_store_problem_is_one_line_and_status_1(sweep, tmp_path, capsys, monkeypatch):
    def broken(self):
        raise store_module.StoreError("run 0123456789abcdef:\nresult.json is corrupt")

    def refuse(*arguments, **options):
        broken(None)

    monkeypatch.setattr(sweep_module, "sweep", refuse)
    assert main(["compare", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "error: run 0123456789abcdef: result.json is corrupt\n"


def test_a_full_disk_is_one_line_and_status_1(sweep, tmp_path, capsys, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device", str(tmp_path / "compare.html"))

    monkeypatch.setattr("weightdecay.lab.report.write", full)
    assert main(["compare", "--optimizers", "adams", "--seeds", "1", "--out", str(tmp_path)]) == 1
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .startswith(f"error: {tmp_path / 'compare.html'}: No space left on device.")
    )


def test_a_disk_that_is_full_at_the_page_is_said_with_the_file(sweep, tmp_path, capsys, monkeypatch):
    replace = os.replace

    def full(aside, path):
        if path.suffix == ".html":
            raise OSError(errno.ENOSPC, "No space left on device")  # as the system has it: without a name
        replace(aside, path)

    monkeypatch.setattr(os, "replace", full)
    assert main(["compare", "--optimizers", "adams", "--seeds", "1", "--out", str(tmp_path)]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"error: {tmp_path / 'compare.html'}: No space left on device. Name another folder with --out."


def test_a_module_of_another_extra_names_that(tmp_path, capsys, monkeypatch):
    def missing(_):
        raise ModuleNotFoundError("No module named 'curvlinops'", name="curvlinops.computations")

    monkeypatch.setattr("weightdecay.lab.cli.command._run", missing)
    assert main(["spectrum", "abc"]) == 1
    assert capsys.readouterr().err == (
        "error: curvlinops is not installed; the lab needs it. Install weightdecay[spectrum].\n"
    )


def test_a_missing_package_is_named(sweep, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tyro", None)
    assert main(["compare", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "error: tyro is not installed; the lab needs it. Install weightdecay[lab].\n"


def test_help_is_given_and_shows_examples(capsys):
    assert main(["compare", "--help"]) == 0
    assert "weightdecay compare --optimizers adamw adams --seeds 5" in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_in_plain_text_and_ends_with_the_examples(command, capsys):
    assert main([command, "--help"]) == 0
    lines = capsys.readouterr().out.rstrip().splitlines()
    assert "Examples:" in lines
    *above, heading = lines[: lines.index("Examples:") + 1]
    assert heading == "Examples:"
    assert not any(line.lstrip().startswith("weightdecay ") for line in above)
    assert any(line.lstrip().startswith("weightdecay ") for line in lines[len(above) + 1 :])
    assert any("--help" in line for line in above)
    assert not re.search(r"\(default: (None|True|False)\)", unframed(above))


def unframed(lines):
    """The words of a framed text in one line."""
    return " ".join(word for line in lines for word in line.strip("│ ").split())


def test_help_says_of_a_flag_that_it_is_on_and_nothing_of_one_that_is_off(capsys):
    assert main(["sweep", "--help"]) == 0
    said = unframed(capsys.readouterr().out.splitlines())
    assert "and train nothing. --estimate, --no-estimate" in said
    assert "before the plan is printed. (default: on) --out PATH" in said


@pytest.mark.parametrize("command", COMMANDS)
def test_the_examples_can_be_read(command):
    """Each is a command line that the parser takes; a sweep's are lines of a file too."""
    kind = COMMANDS[command][0]
    for example in kind.examples:
        if "weightdecay " in example:
            *_, words = example.partition("weightdecay ")
            assert isinstance(parse(shlex.split(words)), kind)


def test_a_shell_completion_is_printed(capsys):
    assert main(["--tyro-print-completion", "bash"]) == 0
    assert "weightdecay" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], []])
def test_the_overview_is_one_screen_with_a_line_for_each_command(arguments, capsys):
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines if line.startswith("  ")] == list(COMMANDS)


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("weightdecay 0.")


@pytest.mark.parametrize("arguments", [["--help"], ["compare", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(arguments):
    code = (
        "import sys; from weightdecay.lab.cli import main; main(sys.argv[1:]);"
        "print(sorted({'torch', 'sklearn', 'scipy', 'matplotlib', 'joblib', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_live_view_knows_the_best_so_far(sweep, tmp_path):
    from rich.console import Console

    from weightdecay.lab.cli.view import View

    settings = Settings(optimizers=("adams", "sgd"), seeds=2)
    runs = question(settings).runs
    console = Console(force_terminal=True, width=80, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    view = View(question(settings), Store(tmp_path), console)
    assert view.best() == {}
    for run in runs[: len(runs) // 2]:  # the first seed
        view.add(fake_result(run), reused=False)
    best = view.best()
    assert best["adams"][0].weight_decay == 0.12
    assert best["adams"][2] == 1
    console.print(view)
    shown = console.export_text()
    assert "AdamS" in shown
    assert f"{best['sgd'][1]:.1f} %" in shown
    assert f"{len(runs) // 2}/{len(runs)}" in shown
    console.file.close()


@pytest.mark.slow
def test_the_real_thing_trains_once_and_then_draws_the_same_page(tmp_path, capsys):
    arguments = ["compare", "--optimizers", "sgd", "adams", "--weight-decays", "0", "0.1", "--seeds", "2"]
    arguments += ["--epochs", "1", "--train-size", "1600", "--batch-size", "400", "--jobs", "1", "--out", str(tmp_path)]
    assert main(arguments) == 0
    page = (tmp_path / "compare.html").read_bytes()
    assert len(list((tmp_path / "runs").glob("*/result.json"))) == 8
    assert main(arguments) == 0
    assert "8 of 8 runs were kept from before." in capsys.readouterr().err
    assert (tmp_path / "compare.html").read_bytes() == page
    next((tmp_path / "runs").glob("*/result.json")).write_text("{")
    assert main(arguments) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "is not a whole result" in err
