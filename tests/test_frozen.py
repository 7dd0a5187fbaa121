"""A run that freezes what came from its start, to the last bit, running statistics too; and as an arm of a referee."""

import dataclasses
import itertools

import pytest
import torch
from lab import EVERY_STEP, numbers
from test_finetune import KEEP, START, tuned, weights
from test_plan import STARTED
from test_referee_start import KEEPS
from test_train import After

from weightdecay.lab.cli import main
from weightdecay.lab.executors import executor
from weightdecay.lab.referee import again
from weightdecay.lab.referee.arm import FROZEN, Cell, arms
from weightdecay.lab.referee.hearing import Case, hear
from weightdecay.lab.referee.task import TASKS
from weightdecay.lab.report.referee.words import kept_of_start
from weightdecay.lab.run import options
from weightdecay.lab.run.interrupt import Stopped
from weightdecay.lab.run.recorded import read_runs, runs_csv
from weightdecay.lab.run.store import Store
from weightdecay.lab.sweeps.plan import plan
from weightdecay.lab.training.train import train

NORMED = dataclasses.replace(START, network_options=options(width=4), validation_size=40)
"""With batch norm, whose running statistics a module in training changes without any step."""


def frozen(start=NORMED, **changes):
    """A run of the other five digits, of which the last layer alone learns."""
    return dataclasses.replace(tuned(start, **changes), network_options=start.network_options, frozen=True)


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "muonadamw"])
@pytest.mark.parametrize("decay", ["decoupled", "toward(start)"])
@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
def test_all_but_the_last_layer_stays_to_the_last_bit_whatever_the_optimizer_and_the_decay(
    optimizer, decay, weight_decay, tmp_path
):
    store = Store(tmp_path)
    kept = weights(NORMED, store)
    run = frozen(optimizer=optimizer, weight_decay=weight_decay, optimizer_options=options(decay=decay))
    after, result = weights(run, store), store.result(run)
    untrained = weights(dataclasses.replace(run, lr=0.0, weight_decay=0.0), store)
    assert any("running_mean" in name for name in kept)
    for name, value in kept.items():
        if name in result.fresh:
            assert not torch.equal(after[name], untrained[name]), name
        else:
            assert torch.equal(after[name], value), name
    start = store.result(NORMED)
    assert (result.start_test, result.start_validated) == (start.last, start.last_validated)


def test_the_last_layer_learns_by_features_that_stay():
    """The law of a linear probe: it is convex, so that its loss falls with every step of gradient descent."""
    run = frozen(optimizer="sgd", lr=0.2, weight_decay=0.0, epochs=20, batch_size=64, schedule="constant")
    losses = [epoch.train_loss for epoch in train(run).epochs]
    assert all(after < before for before, after in itertools.pairwise(losses))


def test_a_frozen_run_that_was_stopped_continues_bit_for_bit(tmp_path):
    run = frozen(optimizer="adam", lr=1e-3, epochs=2)
    whole = train(run, place=KEEP)
    store = Store(tmp_path)
    train(NORMED, store, KEEP)  # so that the looks are those of the run itself
    for looks in (1, 3, 5):
        other = dataclasses.replace(run, seed=run.seed)
        apart = Store(tmp_path / f"after {looks}")
        with pytest.raises(Stopped):
            train(other, apart, EVERY_STEP, stop=After(looks))
        assert numbers(train(other, apart, EVERY_STEP)) == numbers(whole)


def test_a_frozen_run_is_another_run_and_its_table_says_so(tmp_path):
    run, free = frozen(), dataclasses.replace(frozen(), frozen=False)
    assert run.address != free.address
    assert free.address == dataclasses.replace(tuned(NORMED), network_options=NORMED.network_options).address
    rows = [train(run), train(free)]
    (tmp_path / "runs.csv").write_text(runs_csv(rows))
    assert [row.run for row in read_runs(tmp_path / "runs.csv")] == [run, free]


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (dataclasses.replace(START, frozen=True), "the run has no start, and nothing to freeze"),
        (dataclasses.replace(START, seed=5, start=START, frozen=True), "the start gave every weight, and none is"),
        (frozen(dataclasses.replace(NORMED, frozen=True)), "the run has no start"),
    ],
)
def test_what_cannot_be_frozen_is_refused(run, message):
    with pytest.raises(ValueError, match=message):
        train(run, place=KEEP)


def test_a_sweep_compares_with_and_without_and_its_starts_are_the_same():
    runs = plan({**STARTED, "frozen": [False, True]}).runs
    assert {run.frozen for run in runs} == {False, True}
    assert {run.start.frozen for run in runs} == {False}
    assert len({run.start for run in runs}) == 2  # of each seed one


# ---------------------------------------------------------------- as an arm of the referee


def test_the_arm_that_freezes_is_the_optimizer_without_decay_but_for_what_it_trains():
    none, one = arms(("adam",), ("none", FROZEN))
    assert (one.title, one.has_weight_decay) == ("Adam, frozen", False)
    task, cell = TASKS["finetune"], Cell(1e-3, 0.0)
    assert one.guess(task, None) == none.guess(task, None)
    run = one.run(task, cell, 3)
    assert run.frozen
    assert dataclasses.replace(run, frozen=False) == none.run(task, cell, 3)
    assert task.has(run)


def test_the_arm_that_freezes_keeps_the_old_task_and_is_heard_again_from_its_table(tmp_path, monkeypatch):
    asked = arms(("adam",), ("none", "decoupled", FROZEN))
    (answer,) = hear(Case((KEEPS,), asked, tmp_path / "out", "", seeds=2, on=executor("here"), place=KEEP)).answers
    results = Store(tmp_path / "out").results()
    starts = {one.run.seed: one.last for one in Store(tmp_path / "out" / "starts").results()}
    assert kept_of_start(answer, results)["Adam, frozen"] == [starts[100], starts[101]]
    (tmp_path / "runs.csv").write_text(runs_csv(results))
    monkeypatch.setattr(again, "TASKS", {"both": KEEPS})
    (once_more,) = again.heard_again(read_runs(tmp_path / "runs.csv"), tmp_path, "")[0].answers
    by_decay = [{one.arm.decay: one for one in found.standings} for found in (once_more, answer)]
    assert by_decay[0] == by_decay[1]
    assert by_decay[0].keys() == {"none", "decoupled", "frozen"}


def test_where_nothing_is_to_be_kept_the_arm_is_refused(capsys):
    assert main(["referee", "smoke", "finetune", "--decays", "decoupled", "frozen"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "--decays frozen: smoke starts from fresh weights" in said
    assert "finetune or finetune-both" in said
    assert main(["referee", "finetune", "--decays", "decoupled", "frozen@cosine"]) == 2
    assert "frozen has no λ to change over time" in capsys.readouterr().err
