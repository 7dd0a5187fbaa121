"""weightdecay referee: it goes on where it was, takes up evidence, and makes its rulings again from a table."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from browser import browsing
from legible import assert_legible, needs_chromium

from weightdecay.lab.cli import main
from weightdecay.lab.referee.again import heard_again
from weightdecay.lab.referee.carried import changes
from weightdecay.lab.referee.task import TASKS
from weightdecay.lab.report.drawn import forest
from weightdecay.lab.report.referee.files import slug
from weightdecay.lab.run.recorded import read_runs
from weightdecay.lab.run.store import Store

SMOKE = ("referee", "smoke", "--seeds", "3", "--executor", "here", "--device", "cpu")
FEW = ("--decays", "none", "decoupled", "stable", "decoupled@cosine")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A hearing, every run trained."""
    folder = tmp_path_factory.mktemp("referee")
    assert main([*SMOKE, *FEW, "--out", str(folder), "--evidence", str(folder / "all.csv")]) == 0
    return folder


def rows(folder):
    (answer,) = json.loads((folder / "referee.json").read_text())
    return answer | {"hours": 0}


def test_the_same_command_trains_nothing_and_says_the_same(whole, capsys):
    before, kept = rows(whole), len(Store(whole).results())
    assert main([*SMOKE, *FEW, "--out", str(whole)]) == 0
    assert rows(whole) == before
    assert len(Store(whole).results()) == kept
    said = capsys.readouterr().out
    assert "Adam, stable" in said
    assert "Against decoupled decay of Adam" in said


def test_from_a_table_nothing_is_trained_and_the_answer_is_the_same(whole, tmp_path):
    table = str(whole / "all.csv")
    assert main([*SMOKE, *FEW, "--out", str(tmp_path), "--from", table]) == 0
    assert Store(tmp_path).results() == []
    assert rows(tmp_path) == rows(whole)


def test_from_half_a_table_the_other_half_is_trained(whole, tmp_path):
    lines = (whole / "all.csv").read_text().splitlines(keepends=True)
    half = tmp_path / "half.csv"
    half.write_text("".join([lines[0], *lines[1::2]]))
    out = tmp_path / "out"
    assert main([*SMOKE, *FEW, "--out", str(out), "--from", str(half), "--evidence", str(tmp_path / "new.csv")]) == 0
    assert rows(out) == rows(whole)
    assert len(Store(out).results()) == len(lines[2::2])
    assert {one.run for one in read_runs(tmp_path / "new.csv")} == {one.run for one in read_runs(whole / "all.csv")}


def test_when_the_hours_are_over_it_says_what_waits_and_goes_on_later(whole, tmp_path, capsys):
    assert main([*SMOKE, *FEW, "--out", str(tmp_path), "--hours", "1e-5"]) == 0
    said = capsys.readouterr().out
    assert "the hours are over" in said
    assert "Waiting: Adam, none (" in said
    assert rows(tmp_path)["waiting"]
    assert main([*SMOKE, *FEW, "--out", str(tmp_path)]) == 0
    assert rows(tmp_path) == rows(whole)


def test_the_rulings_are_made_again_from_the_table_without_the_data(whole, tmp_path, capsys):
    table = tmp_path / "runs.csv"
    table.write_text((whole / "all.csv").read_text())
    assert main(["report", str(table)]) == 0
    assert rows(tmp_path) == rows(whole)
    said = (tmp_path / "rulings.md").read_text()
    assert "## smoke" in said
    assert "| Adam, stable |" in said
    assert "Adam, stable" in capsys.readouterr().out


def test_how_the_weight_decay_carries_over_is_added_to_what_was_judged(whole, tmp_path, capsys):
    few = ("--decays", "decoupled", "stable")
    table = str(whole / "all.csv")
    assert main([*SMOKE, *few, "--out", str(tmp_path), "--from", table, "--carry-over"]) == 0
    (before,), (after,) = (json.loads((folder / "referee.json").read_text()) for folder in (whole, tmp_path))
    judged = {one["decay"]: one["judged"] for one in before["arms"]}
    for one in after["arms"]:
        assert one["judged"] == judged[one["decay"]]
        assert list(one["carried"]) == [change.title for change in changes(TASKS["smoke"])]
    assert "How λ carries over" in (tmp_path / "referee.html").read_text()
    assert "batch × 4" in capsys.readouterr().out
    assert main(["report", str(tmp_path / "runs.csv")]) == 0
    (again,) = json.loads((tmp_path / "referee.json").read_text())
    carried_by = [{one["decay"]: one["carried"] for one in each["arms"] if one["carried"]} for each in (again, after)]
    assert carried_by[0] == carried_by[1]
    assert set(carried_by[0]) == {"decoupled", "stable"}
    assert "| batch / 4 | batch × 4 |" in (tmp_path / "rulings.md").read_text()


def test_an_arm_of_which_the_table_has_half_waits(whole, tmp_path):
    lines = (whole / "all.csv").read_text().splitlines(keepends=True)
    table = tmp_path / "runs.csv"
    table.write_text("".join(line for line in lines if line.split(",")[1] != "adams" or ",100," not in line))
    assert main(["report", str(table)]) == 0
    (answer,) = json.loads((tmp_path / "referee.json").read_text())
    assert answer["waiting"] == {"Adam, stable": "judging"}
    assert [one["decay"] for one in answer["arms"]] != []


PUBLISHED = Path(__file__).parents[1] / "docs" / "referee"


def test_the_published_rulings_follow_from_the_published_runs(tmp_path):
    """No data and no training: the numbers, the page of text and the verdicts."""
    table = tmp_path / "runs.csv"
    lines = (PUBLISHED / "runs.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    table.write_text("".join([*lines[:1], *reversed(lines[1:])]), encoding="utf-8")  # in whatever order
    before = table.read_bytes()
    assert main(["report", str(table)]) == 0
    assert table.read_bytes() == before
    made = json.loads((tmp_path / "referee.json").read_text(encoding="utf-8"))
    assert made == json.loads((PUBLISHED / "referee.json").read_text(encoding="utf-8"))
    text = (tmp_path / "rulings.md").read_text(encoding="utf-8").replace(str(table), "docs/referee/runs.csv")
    assert text == (PUBLISHED / "rulings.md").read_text(encoding="utf-8")
    verdicts = Counter(arm["verdict"] for one in made for arm in one["arms"] if arm["verdict"])
    page = (tmp_path / "referee.html").read_text(encoding="utf-8")
    assert f"{verdicts.total()} rulings on {len(made)} tasks" in page
    assert f"{verdicts['undecided']} undecided" in page
    names = {path.name for path in (tmp_path / "figures").glob("*.png")}
    assert {path.name for path in (PUBLISHED / "figures").glob("*.png")} == names
    assert {f"{one['task']}-basins.png" for one in made} < names
    tasks = defaultdict(set)
    for one in made:
        for arm in one["arms"]:
            if arm["verdict"]:
                tasks[arm["decay"]].add(one["task"])
    several = {f"decay-{slug(decay)}.png" for decay, found in tasks.items() if len(found) > 1}
    assert several == {name for name in names if name.startswith("decay-")}
    assert "decay-decoupled-cosine.png" in several


def test_the_figure_of_a_decay_has_its_ruling_on_every_task(tmp_path):
    answers = heard_again(read_runs(PUBLISHED / "runs.csv"), tmp_path, "report")[0].answers
    arms = {
        (answer.task.name, one.arm.optimizer): one.ruling
        for answer in answers
        for one in answer.standings
        if one.arm.decay == "hyperball" and one.ruling
    }
    picture = forest.of_decay("hyperball", answers)
    (axes,) = picture.figure.axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert len(labels) == len(arms) == len(picture.spots)
    drawn = dict(zip(labels, picture.spots, strict=True))
    for (task, optimizer), ruling in arms.items():
        (spot,) = [spot for label, spot in drawn.items() if label.lower() == f"{task}, {optimizer}"]
        assert spot.x == ruling.mean
        assert spot.text.endswith(ruling.verdict)
    low, high = axes.get_xlim()
    assert all(low < end < high for ruling in arms.values() for end in ruling.interval)


@needs_chromium
def test_in_a_browser_the_page_is_legible(whole):
    with browsing() as tab:
        assert_legible(tab, whole / "referee.html")


def test_the_tasks_are_listed(capsys):
    assert main(["referee", "list"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in TASKS)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "name at least one task"),
        (("noisy-digit",), "'noisy-digits'"),
        (("smoke", "--decays", "none", "l2"), "'decoupled' is what the others are judged against"),
        (("smoke", "--decays", "decoupled", "stabel"), "'stable'"),
        (("smoke", "--optimizers", "admw"), "'adamw'"),
        (("smoke", "--seeds", "1"), "--seeds 1: 2 or more"),
        (("smoke", "--margin", "0"), "--margin 0: write the largest difference that does not matter"),
        (("smoke", "--hours", "-1"), "--hours -1: 0 or more"),
        (("smoke", "--data", "cifar10=images:x"), "no task reads 'cifar10'. Read: digits"),
        (("photos", "--data", "cifar10"), "write NAME=OTHER"),
    ],
)
def test_what_cannot_be_judged_is_refused(words, said, capsys, tmp_path):
    assert main(["referee", *words, "--out", str(tmp_path / "new")]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "new").exists()
