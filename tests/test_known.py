"""``weightdecay reproduce --from runs.csv``: what is known is not trained again, and nothing else is believed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from weightdecay.lab import paper
from weightdecay.lab.cli import main
from weightdecay.lab.run import Run
from weightdecay.lab.run.recorded import Recorded, read_runs, runs_csv
from weightdecay.lab.run.store import Store

SMOKE = ("--scale", "smoke", "--executor", "here", "--device", "cpu")
ASKED = ("fig1", "norms", "fig5")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Three experiments, every run trained; claims about single epochs and about v̄ are among them."""
    folder = tmp_path_factory.mktemp("whole")
    assert main(["reproduce", *ASKED, *SMOKE, "--out", str(folder)]) == 0
    return folder


def table(path, results):
    path.write_text(runs_csv(results), encoding="utf-8")
    return path


def judged(folder):
    """All that a verdict says: the numbers too, for at scale smoke every verdict is "not judged"."""
    rows = json.loads((folder / "scorecard.json").read_text())
    return [(row["experiment"], row["panel"], row["claim"], row["by_measure"]) for row in rows]


def test_half_from_a_table_and_half_trained_are_judged_as_the_whole(whole, tmp_path, capsys):
    results = Store(whole).results()
    half = table(tmp_path / "half.csv", results[::2])
    out = tmp_path / "out"
    assert main(["reproduce", *ASKED, *SMOKE, "--from", str(half), "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert f"{len(results[::2])} runs known from before are not trained again." in said.err + said.out
    trained = Store(out).results()
    assert {one.run for one in trained} == {one.run for one in results[1::2]}
    assert judged(out) == judged(whole)
    # What is written holds all of it, so that it grows from one occasion to the next.
    assert {one.run for one in read_runs(out / "runs.csv")} == {one.run for one in results}


def test_all_from_a_table_trains_nothing(whole, tmp_path, capsys):
    results = Store(whole).results()
    parts = [str(table(tmp_path / f"{i}.csv", results[i::2])) for i in (0, 1)]
    out = tmp_path / "out"
    assert main(["reproduce", *ASKED, *SMOKE, "--from", *parts, "--out", str(out)]) == 0
    assert Store(out).results() == []
    assert judged(out) == judged(whole)


def test_evidence_grows_with_what_has_finished(whole, tmp_path):
    """A table, and a folder with one run of an experiment that is not complete: both are in the new table, once."""
    results = Store(whole).results()
    out, file = tmp_path / "out", tmp_path / "evidence.csv"
    Store(out).save(results[0])
    Store(out).save(results[1])
    table(file, results[1:4])
    asked = ["reproduce", *ASKED, *SMOKE, "--from", str(file), "--evidence", str(file), "--out", str(out)]
    assert main([*asked, "--dry-run"]) == 0
    rows = read_runs(file)
    assert [row.run.address for row in rows] == sorted(one.run.address for one in results[:4])
    assert {row.run: row.best for row in rows} == {one.run: one.best for one in results[:4]}


def test_rows_that_do_not_belong_are_said_and_not_taken(whole, tmp_path, capsys):
    results = Store(whole).results()
    elsewhere = [replace(one, run=replace(one.run, data_digest="f" * 64)) for one in results[:2]]
    stranger = replace(results[2], run=replace(results[2].run, lr=0.123))
    path = table(tmp_path / "others.csv", [*elsewhere, stranger])
    asked = ["reproduce", *ASKED, *SMOKE, "--dry-run", "--from", str(path), "--out", str(tmp_path / "out")]
    assert main(asked) == 0
    said = capsys.readouterr()
    text = " ".join((said.err + said.out).split())
    assert f"{len(results)} runs, 0 of them kept from before" in text
    assert "2 runs are of data that differ from those here, and not taken" in text
    assert "1 run is not asked for here, and not taken: the first is" in text
    assert "lr 0.123" in text


def test_an_edited_row_ends_the_command_before_anything_is_trained(whole, tmp_path, capsys):
    path = table(tmp_path / "runs.csv", Store(whole).results()[:1])
    path.write_text(path.read_text().replace(",0.1,", ",0.2,", 1))
    assert main(["reproduce", "fig1", *SMOKE, "--from", str(path), "--out", str(tmp_path / "out")]) == 2
    assert "The row was edited" in capsys.readouterr().err


def test_of_two_rows_of_one_run_the_first_counts():
    run = Run("adams", 1e-3, 0.1, 0)
    first, second = (Recorded(run, "finished", (), 1.0, numbers={"best": best}) for best in (4.0, 5.0))
    assert paper.known([first, second], [run]).results[run].best == 4.0


def test_the_committed_evidence_of_medium_answers_what_medium_asks():
    """A change of the scale's definition that would make the published runs worthless fails here."""
    scale = paper.scale("medium")
    asked = {
        run
        for experiment in paper.EXPERIMENTS.values()
        for panel in experiment.panels(scale)
        for runs in panel.points.values()
        for run in runs
    }
    rows = read_runs(Path(__file__).parents[1] / "docs" / "scorecard" / "medium" / "runs.csv")
    assert rows
    assert len({row.run for row in rows}) == len(rows)
    assert all(replace(row.run, data_digest="") in asked for row in rows)
    assert len({row.run.data_digest for row in rows if row.run.data == "images:cifar10-jpeg"}) == 1
