"""A network and data of one's own: equal to a loop of one's own, resumed, compared, and told what is wrong."""

import dataclasses
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from lab import numbers
from torch.nn import CrossEntropyLoss
from torch.nn.functional import cross_entropy, mse_loss
from torch.utils.data import DataLoader, TensorDataset

from weightdecay.lab.data import DataError
from weightdecay.lab.executors import executor
from weightdecay.lab.interrupt import Stopped
from weightdecay.lab.own import Own
from weightdecay.lab.place import Place
from weightdecay.lab.run import Metric, options
from weightdecay.lab.settings import SettingsError
from weightdecay.lab.source import text
from weightdecay.lab.store import Store
from weightdecay.lab.train import train


def points(n=60, classes=True):
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(0))
    return TensorDataset(x, (x.sum(1) > 0).long() if classes else x.sum(1, keepdim=True))


def model():
    return torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Dropout(0.2), torch.nn.ReLU(), torch.nn.Linear(8, 2))


def loaders(batch_size):
    return DataLoader(points(), batch_size, shuffle=True), DataLoader(points(40), 16), DataLoader(points(20), 20)


TASK = Own(model, loaders, cross_entropy, name="points")
SETTINGS = {"epochs": 3, "batch_size": 16}


def run(task=TASK, **changes):
    return task.run("sgds", **{"lr": 0.05, "weight_decay": 1e-3, "seed": 0, **SETTINGS, **changes})


def test_it_learns_is_judged_by_errors_and_has_a_validation_part():
    result = train(run(epochs=30, lr=0.5), task=TASK)
    assert result.metric == Metric("test error", "%")
    assert result.last < 15 < result.epochs[0].test
    assert result.selected is not None


def test_the_order_and_the_weights_are_functions_of_the_seed():
    torch.manual_seed(1)
    first = train(run(), task=TASK)
    torch.manual_seed(2)
    assert numbers(train(run(), task=TASK)) == numbers(first)
    assert train(run(seed=1), task=TASK).weights != first.weights
    built = [TASK.build(run(seed=seed), None).state_dict() for seed in (0, 0, 1)]
    assert all(torch.equal(a, b) for a, b in zip(built[0].values(), built[1].values(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(built[0].values(), built[2].values(), strict=True))


def test_a_run_stopped_after_any_step_continues_bit_for_bit(tmp_path):
    from test_train import After

    whole = train(run(), task=TASK)
    for looks in range(3 * 4 - 1):
        store = Store(tmp_path / str(looks))
        with pytest.raises(Stopped):
            train(run(), store, task=TASK, stop=After(looks))
        assert numbers(train(run(), store, task=TASK)) == numbers(whole)


def test_a_loss_of_ones_own_is_the_metric_where_targets_are_no_classes():
    task = Own(
        lambda: torch.nn.Linear(3, 1),
        lambda size: (DataLoader(points(classes=False), size), DataLoader(points(40, classes=False), 16)),
        mse_loss,
    )
    result = train(run(task), task=task)
    assert result.metric == Metric("test loss", "")
    last = result.epochs[-1]
    assert last.test == last.test_loss
    judged = dataclasses.replace(task, judge=lambda y, t: (y - t).abs().mean(), metric=Metric("mean error", "mm"))
    assert train(run(judged), task=judged).metric.unit == "mm"


def test_the_code_and_its_version_are_part_of_the_run():
    other = Own(lambda: model(), loaders, cross_entropy, name="points")
    addresses = {run().address, run(other).address, run(dataclasses.replace(TASK, version=2)).address}
    assert len(addresses) == 3
    assert run().address == run().address
    with pytest.raises(DataError, match="the code has changed since the run"):
        train(run(), task=other)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (lambda size: DataLoader(points(), size), "must return the loaders of training and test data"),
        (lambda size: (DataLoader(points(), size), iter([])), "has no length, and an epoch must have one"),
        (lambda size: ([points()[:5]], [points()[0][0]]), "a batch must be a pair of tensors"),
        (lambda size: ([points()[:5]], []), r"a list of data\(16\) has no batches"),
    ],
)
def test_loaders_of_another_form_are_named(data, message):
    task = Own(model, data, cross_entropy)
    with pytest.raises(DataError, match=message):
        train(run(task), task=task)


def test_a_model_of_another_form_is_named():
    task = Own(lambda: 3, loaders, cross_entropy)
    with pytest.raises(DataError, match=r"must return a torch\.nn\.Module; it returned int"):
        train(run(task), task=task)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": model()}, r"model is Sequential: give a function that returns a new network.*lambda: Net\(\)"),
        ({"data": [1]}, "data is list: give a function of the batch size"),
        ({"loss": "cross_entropy"}, "loss is str: give a function of outputs and targets"),
    ],
)
def test_what_is_no_function_is_refused_at_once(change, message):
    with pytest.raises(SettingsError, match=message):
        dataclasses.replace(TASK, **change)


@pytest.mark.parametrize(
    ("optimizers", "weight_decays", "settings", "message"),
    [
        ("adamw", [0], {}, "optimizers='adamw': give a list of names"),
        ([], [0], {}, r"optimizers=\[\]: give a list of names"),
        (["adamw"], [], {}, r"weight_decay = \[\]: an empty list makes no run"),
        (["adamw"], [0], {"seeds": 0}, "seeds = 0: it is a number of seeds, 1 or more"),
        (["adamw", "adams"], {"adamw": [0], "adam": [0]}, {}, "weight_decays are of adamw, adam, and the optimizers"),
        (["adamw"], [0], {"ephocs": 3}, "no setting is called 'ephocs'. Did you mean 'epochs'"),
        (["adamw"], [0], {"epochs": "3"}, "epochs = '3' must be a whole number"),
        (["adamw"], [0], {"weight_decay": 1}, "weight_decay=1 belongs into weight_decays"),
    ],
)
def test_a_grid_that_cannot_be_made_is_refused(optimizers, weight_decays, settings, message, tmp_path):
    with pytest.raises(SettingsError, match=message):
        TASK.compare(optimizers, weight_decays, out=tmp_path, **settings)
    assert not any(tmp_path.iterdir())


def test_a_grid_takes_what_python_has_for_lists():
    chosen = torch.logspace(-3, -1, 3, dtype=torch.float64)
    runs = TASK.runs(["sgds", "sgds"], chosen, seeds=2, lr=(0.1, 0.2), optimizer_options=options(momentum=0.5))
    assert len(runs) == 3 * 2 * 2
    assert {(one.weight_decay, one.lr, one.seed) for one in runs} == {
        (decay, lr, seed) for decay in chosen.tolist() for lr in (0.1, 0.2) for seed in (0, 1)
    }
    assert {one.optimizer_options for one in runs} == {options(momentum=0.5)}
    with pytest.raises(SettingsError, match="these lists make 2"):
        TASK.run("sgds", weight_decay=[0, 1])


def test_what_the_code_is_made_of():
    same, other, typed = {}, {}, {}
    exec("f = lambda x: (lambda y: y + 1)(x)", same)
    exec("f = lambda x: (lambda y: y + 2)(x)", other)
    exec("f = lambda x: (lambda y: y + 1)(x)", typed)
    assert text(same["f"]) == text(typed["f"]) != text(other["f"])
    assert text(partial(max, 1)) == text(partial(max, 1)) != text(partial(max, 2))
    assert text(CrossEntropyLoss()) == text(CrossEntropyLoss()) != text(CrossEntropyLoss(label_smoothing=0.1))
    weighted = [text(CrossEntropyLoss(torch.tensor(each))) for each in ([1.0, 2.0], [1.0, 2.0], [1.0, 3.0])]
    assert weighted[0] == weighted[1] != weighted[2]
    assert text(max) == "builtins.max" != text(min)
    changed = {name: dataclasses.replace(TASK, **{name: each}) for name, each in (("judge", max), ("loss", mse_loss))}
    assert len({TASK.digest, *(task.digest for task in changed.values())}) == 3


def test_one_process_only():
    with pytest.raises(DataError, match="runs in one process, and 2 came"):
        TASK.load(run(), Place(world=2))


def test_a_comparison_is_trained_kept_and_reported(tmp_path, capsys):
    asked = {"seeds": 2, "out": tmp_path, "on": executor("here"), **SETTINGS}
    found = TASK.compare(["adamw", "adams"], {"adamw": [0, 1.0], "adams": [1e-3]}, **asked)
    assert {cell.point.curve for cell in found.cells} == {"adamw", "adams"}
    assert [len(cell.results) for cell in found.cells] == [2, 2, 2]
    assert {result.run.lr for result in found.results} == {1e-3}
    page = (tmp_path / "sweep.html").read_text()
    assert "On points with points" in page
    assert (tmp_path / "results.csv").exists()
    capsys.readouterr()
    again = TASK.compare(["adamw", "adams"], {"adamw": [0, 1.0], "adams": [1e-3]}, **asked)
    assert again.standings == found.standings
    assert capsys.readouterr().err.count("(kept)") == 6


@pytest.mark.slow
def test_the_program_of_the_docs_runs_as_a_script_and_continues(tmp_path):
    """Its functions are in __main__: a worker has them without their source."""
    page = Path(__file__).parents[1] / "docs" / "lab" / "own.md"
    script = tmp_path / "script.py"
    script.write_text(page.read_text().split("```python\n")[1].split("```")[0])
    said = [
        subprocess.run(
            [sys.executable, script.name], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=True
        ).stderr
        for _ in range(2)
    ]
    assert [one.count("test loss") for one in said] == [12, 12]
    assert [one.count("(kept)") for one in said] == [0, 12]
    assert (tmp_path / "weightdecay-own" / "sweep.html").exists()


@pytest.mark.slow
def test_it_travels_to_workers(tmp_path):
    here, aside = (
        TASK.compare(["sgds"], [1e-3], seeds=2, out=tmp_path / name, on=executor(name, **more), lr=0.05, **SETTINGS)
        for name, more in (("here", {}), ("local", {"jobs": 2}))
    )
    assert [numbers(r) for r in here.results] == [numbers(r) for r in aside.results]
