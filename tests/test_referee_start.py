"""The referee on tasks that start from trained weights: what is learned, and what is left of the start."""

import dataclasses

import pytest

from weightdecay.lab import data
from weightdecay.lab.executors import executor
from weightdecay.lab.referee import again
from weightdecay.lab.referee.arm import Cell, arms
from weightdecay.lab.referee.hearing import Case, hear
from weightdecay.lab.referee.task import TASKS, Task
from weightdecay.lab.report.referee import notes, said
from weightdecay.lab.report.referee.words import kept_of_start
from weightdecay.lab.run import Place, options
from weightdecay.lab.run.recorded import read_runs, runs_csv
from weightdecay.lab.run.store import Store

KEEP = Place(download=False, keep_weights=True)

SMALL = Task(
    "small", "digits after digits",
    {"data": "digits", "train_size": 32, "validation_size": 32, "test_size": 50, "batch_size": 32, "epochs": 1,
     "classes": "5-9", "network": "smallcnn", "network_options": options(width=4)},
    start={"optimizer": "adam", "lr": 1e-3, "weight_decay": 0.0, "classes": "0-4"},
)  # fmt: skip


def test_the_arms_of_a_task_start_from_the_same_weights_and_every_seed_from_its_own():
    for task in (TASKS["finetune"], SMALL):
        one, other = arms(("adam",), ("decoupled", "toward(start)"))
        starts = {seed: {arm.run(task, Cell(1e-3, 1.0), seed).start for arm in (one, other)} for seed in (0, 1, 100)}
        assert all(len(found) == 1 for found in starts.values())
        assert len(set.union(*starts.values())) == 3
        run = other.run(task, Cell(1e-3, 1.0), 7)
        assert run.start.seed == 7
        assert task.has(run)
        assert not task.has(dataclasses.replace(run, start=None))
        assert not task.has(dataclasses.replace(run, start=dataclasses.replace(run.start, seed=8)))
        learned = [set(data.sizes.classes(one)) for one in run.line()]
        assert not set.intersection(*learned)


def test_the_first_guess_leaves_half_of_the_start():
    """(1 − ηλ)^steps at the peak lr, of decoupled decay."""
    (arm,) = arms(("adam",), ("decoupled",))
    task = TASKS["finetune"]
    guess, usual = arm.guess(task, None), arm.guess(dataclasses.replace(task, start={}), None)
    assert 0.4 < (1 - guess.lr * guess.weight_decay) ** task.steps < 0.6
    assert (1 - usual.lr * usual.weight_decay) ** task.steps < 0.01


def test_a_task_that_starts_from_weights_is_heard_and_heard_again_from_its_table(tmp_path, monkeypatch):
    asked = arms(("adam",), ("none", "decoupled", "toward(start)"))
    case = Case((SMALL,), asked, tmp_path / "out", "", seeds=2, on=executor("here"), place=KEEP)
    (answer,) = hear(case).answers
    assert {one.arm.decay for one in answer.standings} == {"none", "decoupled", "toward(start)"}
    assert {one.run.seed for one in Store(tmp_path / "out" / "starts").results()} == {0, 1, 2, 3, 100, 101}
    rows = Store(tmp_path / "out").results()
    (tmp_path / "runs.csv").write_text(runs_csv(rows))
    monkeypatch.setattr(again, "TASKS", {**TASKS, "small": SMALL})
    heard, _ = again.heard_again(read_runs(tmp_path / "runs.csv"), tmp_path, "")
    (once_more,) = heard.answers
    by_decay = [{one.arm.decay: one for one in found.standings} for found in (once_more, answer)]
    assert by_decay[0] == by_decay[1]
    mine = {
        (one.run.weight_decay, one.run.lr, one.run.seed): one.start_test for one in rows if one.run.weight_decay == 0
    }
    (none,) = (one for one in answer.standings if one.arm.decay == "none")
    expected = [mine[0.0, none.cell.lr, seed] for seed in (100, 101)]
    for told, results in ((answer, rows), (once_more, heard.results)):
        assert kept_of_start(told, results)["Adam, none"] == expected
        assert f"Adam, none {sum(expected) / 2:.2f}" in notes(told, results)[-1]


KEEPS = dataclasses.replace(SMALL, name="both", start={**SMALL.start, "validation_size": 40}, keeps=True)


def test_a_task_that_keeps_its_start_is_tuned_and_judged_by_the_mean_of_both_errors(tmp_path, monkeypatch):
    """What chooses is of the validation sets, and what judges of the test sets; and so it is from a table."""
    asked = arms(("adam",), ("none", "decoupled", "toward(start)"))
    heard = hear(Case((KEEPS,), asked, tmp_path / "out", "", seeds=2, on=executor("here"), place=KEEP))
    rows = {one.run: one for one in Store(tmp_path / "out").results()}
    (answer,) = heard.answers
    for one in answer.standings:
        own = {seed: rows[one.arm.run(KEEPS, one.cell, seed)] for seed in (0, 1, 2, 3, 100, 101)}
        assert one.judged == {seed: (own[seed].last + own[seed].start_test) / 2 for seed in (100, 101)}
        chose = [(own[seed].last_validated + own[seed].start_validated) / 2 for seed in range(4)]
        assert one.tuned == pytest.approx(sum(chose) / 4)
    assert "mean of the old task and the new" in said(answer)
    assert notes(answer, heard.results)[-1].startswith("both: error on the old task, the test set of the start: ")
    (tmp_path / "runs.csv").write_text(runs_csv(rows.values()))
    monkeypatch.setattr(again, "TASKS", {**TASKS, "small": SMALL, "both": KEEPS})
    (once_more,) = again.heard_again(read_runs(tmp_path / "runs.csv"), tmp_path, "")[0].answers
    assert once_more.task.name == "both"
    by_decay = [{one.arm.decay: one for one in found.standings} for found in (once_more, answer)]
    assert by_decay[0] == by_decay[1]


def test_what_a_task_keeps_of_its_start_is_chosen_by_images_that_the_start_held_out():
    for task in TASKS.values():
        assert not task.keeps or task.start["validation_size"] > 0
    assert TASKS["finetune-both"].keeps


def test_a_pull_that_was_clamped_is_said(tmp_path):
    """Below the table, with the number of its steps; of arms with no such step nothing is said."""
    asked = arms(("adam",), ("decoupled", "toward(start)"))
    heard = hear(Case((KEEPS,), asked, tmp_path / "out", "", seeds=2, on=executor("here"), place=KEEP))
    (answer,) = heard.answers
    results = {one.run: one for one in heard.results}
    for one in answer.standings:
        clamped = [results[one.arm.run(KEEPS, one.cell, seed)].clamped_steps for seed in (100, 101)]
        said = [note for note in notes(answer, heard.results) if f"the pull of {one.arm.title} would have been" in note]
        assert len(said) == any(clamped)
        forced = [dataclasses.replace(result, clamped_steps=KEEPS.steps) for result in heard.results]
        assert f"in {KEEPS.steps} of {KEEPS.steps} steps" in " ".join(notes(answer, forced))
