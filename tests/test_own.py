"""A network and data of one's own: equal to a loop of one's own, resumed, compared, and told what is wrong."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from forked import SCRIPT, finished
from lab import numbers
from torch.nn.functional import cross_entropy, mse_loss
from torch.utils.data import DataLoader, TensorDataset

import weightdecay
from weightdecay.lab.data import DataError
from weightdecay.lab.executors import executor
from weightdecay.lab.own import Own
from weightdecay.lab.run import Metric, Place, options
from weightdecay.lab.run.interrupt import Stopped
from weightdecay.lab.run.settings import SettingsError
from weightdecay.lab.run.store import Store
from weightdecay.lab.training.train import train


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


class Endless(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(points())


class Long(list):
    """Says more than it gives."""

    def __init__(self):
        super().__init__([points()[:5]])

    def __len__(self):
        return 9


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (lambda size: DataLoader(points(), size), "must return the loaders of training and test data"),
        (lambda size: (DataLoader(points(), size), iter([])), "has no length, and an epoch must have one"),
        (lambda size: ([points()[:5]], [points()[0][0]]), "a batch must be a pair of tensors"),
        (lambda size: ([points()[:5]], []), r"a list of data\(16\) has no batches"),
        (lambda size: (points(), points()), r"a TensorDataset, whose items are single examples. Return DataLoader"),
        (lambda size: (DataLoader(Endless(), 4), DataLoader(points(), 4)), "DataLoader has no length, and an epoch"),
        (lambda size: ([(x.numpy(), y.numpy()) for x, y in [points()[:5]]],) * 2, "got tuple of ndarray, ndarray"),
        (
            lambda size: (Long(), DataLoader(points(), 4)),
            "an epoch has 9 steps, and ended after 1: its length is wrong",
        ),
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
        ({"loss": lambda o, t: None}, "loss.. must return the mean over a batch, .* it returned NoneType"),
        ({"loss": lambda o, t: cross_entropy(o, t).item()}, "it returned float"),
        ({"loss": lambda o, t: cross_entropy(o, t, reduction="none")}, r"it returned a tensor of shape \(16,\)"),
        ({"loss": lambda o, t: cross_entropy(o, t).detach()}, r"a tensor of shape \(\), which depends on nothing"),
        (
            {"judge": lambda o, t: o},
            r"judge.. must return a number for a batch; it returned a tensor of shape \(16, 2\)",
        ),
    ],
)
def test_a_loss_or_a_judge_that_gives_no_number_is_named_before_it_trains(change, message):
    task = dataclasses.replace(TASK, **change)
    with pytest.raises(DataError, match=message):
        train(run(task), task=task)


@pytest.mark.parametrize(
    "judge", [lambda o, t: 2.5, lambda o, t: (o.mean() * 0 + 2.5).numpy(), lambda o, t: torch.tensor(2.5)]
)
def test_a_judge_may_return_any_number(judge):
    task = dataclasses.replace(TASK, judge=judge, metric=Metric("two and a half", ""))
    assert train(run(task), task=task).last == 2.5


@pytest.mark.parametrize(
    ("outputs", "targets", "metric"),
    [
        (2, lambda y: y, "test error"),
        (2, lambda y: y.to(torch.int8), "test error"),
        (2, lambda y: y + 7, "test loss"),  # of no class that there is
        (1, lambda y: y, "test loss"),  # one logit an example
        (2, lambda y: y.double(), "test loss"),
    ],
)
def test_errors_are_counted_where_outputs_are_scores_of_the_targets_classes(outputs, targets, metric):
    x, y = points()[:]
    data = [(x, targets(y))]
    task = Own(lambda: torch.nn.Linear(3, outputs), lambda size: (data, data), lambda o, t: o.square().mean())
    assert train(run(task), task=task).metric.name == metric


def test_a_loader_with_a_generator_of_its_own_is_drawn_again_from_the_seed(tmp_path):
    def shuffled(batch_size):
        own = torch.Generator().manual_seed(3)
        return DataLoader(points(), batch_size, shuffle=True, generator=own), DataLoader(points(40), 16)

    from test_train import After

    task = dataclasses.replace(TASK, data=shuffled)
    whole = train(run(task), task=task)
    assert train(run(task, seed=1), task=task).weights != whole.weights
    for looks in (2, 5, 9):
        store = Store(tmp_path / str(looks))
        with pytest.raises(Stopped, match=r"what was trained is kept, and the same call continues"):
            train(run(task), store, task=task, stop=After(looks))
        assert numbers(train(run(task), store, task=task)) == numbers(whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": model()}, r"model is Sequential: give a function that returns a new network.*lambda: Net\(\)"),
        ({"data": [1]}, "data is list: give a function of the batch size"),
        (
            {"model": torch.nn.Linear},
            r"model cannot be called \(missing a required argument: 'in_features'\): give a func",
        ),
        (
            {"data": lambda: loaders(8)},
            r"data cannot be called \(too many positional arguments\): give a function of the",
        ),
        ({"loss": torch.nn.CrossEntropyLoss}, r"loss is the class CrossEntropyLoss. Call it: CrossEntropyLoss\(\)"),
        (
            {"loss": lambda outputs: outputs},
            r"loss cannot be called \(too many .*\): give a function of outputs and targets",
        ),
        ({"judge": torch.nn.MSELoss}, r"judge is the class MSELoss. Call it: MSELoss\(\)"),
        ({"loss": "cross_entropy"}, "loss is str: give a function of outputs and targets"),
        ({"judge": 3.0}, "judge is float: give a function of outputs and targets"),
        ({"metric": "MAE"}, r'metric=\'MAE\': give Metric\(name, unit\), as Metric\("MAE", "mm"\)'),
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
        (["adamw"], [0], {"seeds": 0}, "seeds=0: must be an integer of at least 1. It is the number of seeds"),
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


def test_an_optimizer_may_be_a_class_and_a_decay_an_object_a_name_or_a_path():
    by_name = TASK.runs(["adam", "adams"], [0.1], decay=["stable", "cautious(stable)"], seeds=1)
    by_class = TASK.runs(
        [weightdecay.Adam, "weightdecay:AdamS"], [0.1], decay=["stable", "cautious(stable)"], seeds=1, lr=1e-3
    )
    assert by_class == by_name
    assert {dict(run.optimizer_options)["decay"] for run in by_name} == {"stable", "cautious(stable)"}
    (one,) = TASK.runs(["adam"], [0.1], decay=Halved(), seeds=1)
    (other,) = TASK.runs(["adam"], [0.1], decay=f"{__name__}:Halved", seeds=1)
    assert one == other
    assert one.optimizer_digest
    with pytest.raises(SettingsError, match="optimizer_options has a decay too"):
        TASK.run("adam", weight_decay=0.1, decay="stable", optimizer_options={"decay": "l2"})


@dataclasses.dataclass(frozen=True)
class Halved(weightdecay.Decay):
    def pull(self, step):
        return step.lr * step.strength / 2


def test_judge_and_metric_are_part_of_the_run_where_they_are_heeded():
    judged = dataclasses.replace(TASK, judge=mse_loss, metric=Metric("MAE", "mm"))
    others = [
        dataclasses.replace(TASK, loss=mse_loss),
        judged,
        dataclasses.replace(judged, judge=max),
        dataclasses.replace(judged, metric=Metric("MAE", "cm")),
    ]
    assert len({TASK.digest, *(task.digest for task in others)}) == 5
    assert dataclasses.replace(TASK, metric=Metric("MAE", "mm")).digest == TASK.digest


@pytest.mark.parametrize("name", ["label_noise", "train_size", "data", "network", "image_size"])
def test_a_setting_that_nothing_heeds_is_refused(name):
    with pytest.raises(SettingsError, match=rf"{name}=.*your data\(\) and model\(\) decide it"):
        TASK.run("sgds", weight_decay=0, **{name: 1})


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
    assert "On points, " in page
    assert "label_noise" not in page
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
    how = {"cwd": tmp_path, "capture_output": True, "text": True, "timeout": 300, "check": True}
    first = subprocess.run([sys.executable, script.name], **how)
    again = finished(SCRIPT, script.name, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    said = [first.stderr, again.stderr]
    assert [one.count("test loss") for one in said] == [12, 12]
    assert [one.count("(kept)") for one in said] == [0, 12]
    assert (tmp_path / "weightdecay-own" / "sweep.html").exists()


@pytest.mark.slow
def test_it_travels_to_workers(tmp_path):
    here, aside = (
        TASK.compare(["sgds"], [1e-3], seeds=2, out=tmp_path / name, on=executor(name, **more), lr=0.05, **SETTINGS)
        for name, more in (("here", {}), ("local", {"jobs": 1}))
    )
    assert [numbers(r) for r in here.results] == [numbers(r) for r in aside.results]
