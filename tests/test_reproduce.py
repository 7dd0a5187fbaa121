"""``weightdecay reproduce``: every figure and table at scale smoke, from the command line, twice."""

import json
import re

import pytest
from fakes import fake_result

from weightdecay.lab import paper
from weightdecay.lab.cli import main, reproduce

SMOKE = ("reproduce", "--scale", "smoke", "--executor", "here", "--device", "cpu")


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """Every experiment, trained in this process."""
    folder = tmp_path_factory.mktemp("reproduce") / "paper"
    assert main([SMOKE[0], "all", *SMOKE[1:], "--out", str(folder)]) == 0
    return folder


@pytest.mark.slow
def test_all_of_the_paper_runs_and_nothing_is_judged_by_a_smoke(everything):
    rows = json.loads((everything / "scorecard.json").read_text())
    assert {row["experiment"] for row in rows} == set(paper.EXPERIMENTS)
    claims = sum(
        len(experiment.claims(scale)) * len(experiment.panels(scale))
        for experiment in paper.EXPERIMENTS.values()
        for scale in [paper.scale("smoke")]
    )
    assert len(rows) == claims
    assert {judged["verdict"] for row in rows for judged in row["by_measure"].values()} == {"not judged"}
    page = (everything / "scorecard.html").read_text()
    assert all(f'id="{name}"' in page for name in paper.EXPERIMENTS)


@pytest.mark.slow
def test_a_run_that_two_figures_share_trains_once_and_a_second_call_trains_nothing(everything, tmp_path, capsys):
    scale = paper.scale("smoke")
    asked = [
        run
        for experiment in paper.EXPERIMENTS.values()
        for run in {r for panel in experiment.panels(scale) for runs in panel.points.values() for r in runs}
    ]
    folders = list((everything / "runs").iterdir())
    assert len(folders) == len(set(asked)) < len(asked)
    before = {folder.name: (folder / "result.json").stat().st_mtime_ns for folder in folders}
    # A page of one experiment, to which a later call adds one: that of all of them takes half a minute to draw.
    (tmp_path / "runs").mkdir()
    told = []
    for name in ("fig6", "table1"):
        told.append(name)
        for run in {r for panel in paper.EXPERIMENTS[name].panels(scale) for rs in panel.points.values() for r in rs}:
            link = tmp_path / "runs" / run.address
            if not link.exists():
                link.symlink_to(everything / "runs" / run.address)
        assert main([SMOKE[0], name, *SMOKE[1:], "--out", str(tmp_path)]) == 0
        said = capsys.readouterr()
        assert re.search(r"(\d+) of \1 runs were kept from before", said.err)
        assert "not judged" in said.out
        rows = json.loads((tmp_path / "scorecard.json").read_text())
        assert set(told) == {row["experiment"] for row in rows}  # what was answered before stays on the page
    assert before == {folder.name: (folder / "result.json").stat().st_mtime_ns for folder in folders}


def test_an_experiment_that_nobody_asked_for_is_not_told(tmp_path):
    """Experiments share runs: all of another one's may be there. What an earlier command has told stays."""
    scale = paper.scale("smoke")
    runs = {run for name in ("fig6", "fig7") for run in reproduce._runs(paper.EXPERIMENTS[name], scale)}
    kept, chosen = [fake_result(run) for run in runs], [paper.EXPERIMENTS["fig7"]]
    assert reproduce._answered_before(tmp_path, scale, chosen, kept) == {}
    for text, told in (('[{"experiment": "fig6"}, {"experiment": "fig1"}]', ["fig6"]), ("damaged", [])):
        (tmp_path / "scorecard.json").write_text(text)
        assert [one.name for one in reproduce._answered_before(tmp_path, scale, chosen, kept)] == told


def test_a_dry_run_plans_and_trains_nothing(tmp_path, capsys):
    arguments = ["fig1", *SMOKE[1:], "--dry-run", "--out", str(tmp_path)]
    assert main(["reproduce", *arguments]) == 0
    assert "12 runs, 0 of them kept from before" in capsys.readouterr().out
    assert not list((tmp_path / "runs").glob("*"))


def test_the_list_names_every_experiment(capsys):
    assert main(["reproduce", "list"]) == 0
    said = capsys.readouterr().out
    assert all(re.search(rf"^ *{name} ", said, re.MULTILINE) for name in paper.EXPERIMENTS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fig77"], "no experiment is called 'fig77'. Did you mean 'fig7'?"),
        ([], "name at least one experiment: fig7, table1, all …"),
        (["fig1", "--scale", "smal"], "See weightdecay reproduce --help"),
        (["fig1", "--data", "cifar10"], "--data cifar10: write NAME=OTHER, as in cifar10=images:FOLDER."),
        (["fig1", "--data", "cifar10=digits"], "'cifar10' is not used at scale small. Used: digits, mnist, ptb."),
        (
            ["fig1", "--seeds", "-1"],
            "error: --seeds -1: must be an integer of at least 0. 0 takes the number",
        ),
        (["fig1", "--validation-size", "-1"], "error: --validation-size -1: must be an integer of at least 0. 0 holds"),
        (["fig1", "--executor", "slrm"], "no executor is called 'slrm'. Did you mean 'slurm'?"),
        (["fig1", "--executor", "here", "--executor-options", "jobs=x"], "jobs"),
    ],
)
def test_a_mistake_is_one_line_that_says_the_way_out(arguments, words, tmp_path, capsys):
    assert main(["reproduce", *arguments, "--no-download", "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_data_that_are_not_there_are_named_before_anything_is_trained(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WEIGHTDECAY_DATA", str(tmp_path / "data"))
    assert main(["reproduce", "fig1", "--no-download", "--no-estimate", "--out", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "mnist is not there" in said
    assert said.count("\n") == 1
