"""A run from the weights of another: the same weights whoever trained them, and an address that names them."""

import dataclasses
import hashlib
import json

import pytest
import torch
from lab import EVERY_STEP, numbers, small
from small_data import photos
from test_train import After

from weightdecay.lab import data
from weightdecay.lab.cli import main
from weightdecay.lab.executors import executor
from weightdecay.lab.run import Place, Run, options
from weightdecay.lab.run.interrupt import Stop, Stopped
from weightdecay.lab.run.recorded import read_runs, runs_csv
from weightdecay.lab.run.run import ADDED_LATER, PROTOCOL
from weightdecay.lab.run.store import Store, StoreError
from weightdecay.lab.sweeps.ready import with_content
from weightdecay.lab.sweeps.sweep import sweep
from weightdecay.lab.training.optimizer import FRESH
from weightdecay.lab.training.task import Named
from weightdecay.lab.training.train import Training, check, train, weights_of

KEEP = Place(download=False, keep_weights=True)
PLAIN = {"network": "smallcnn", "network_options": options(width=4, norm=False), "label_noise": 0.0}
START = small(**PLAIN, epochs=2, classes="0-4", lr=1e-2, weight_decay=0.0)
"""Without batch norm nothing changes but by a step of the optimizer."""


def tuned(start=START, **changes):
    """A run of the other five digits."""
    changes = {"classes": "5-9", "train_size": 64, "batch_size": 16, "start": start, **changes}
    return dataclasses.replace(START, **changes)


def weights(run, store):
    train(run, store, KEEP)
    return store.of(run).weights()


# ---------------------------------------------------------------- what it is


def test_a_run_without_a_start_has_the_address_that_it_had_before_there_were_any():
    values = dataclasses.asdict(small(optimizer_digest="a", test_size=1, image_size=1, weight_decay_schedule="rise"))
    del values["start"], values["classes"], values["frozen"]
    content = json.dumps({"protocol": PROTOCOL, **values}, sort_keys=True, separators=(",", ":"))
    assert Run.from_json(values).address == hashlib.sha256(content.encode()).hexdigest()[:16]


def test_everything_that_decides_the_start_decides_the_run():
    runs = [tuned(), tuned(dataclasses.replace(START, seed=1)), tuned(None), tuned(classes="4-8")]
    runs += [tuned(dataclasses.replace(START, start=START))]
    assert len({run.address for run in runs}) == len(runs)
    for run in runs:
        assert Run.from_json(json.loads(json.dumps(dataclasses.asdict(run)))) == run
    assert [len(run.line()) for run in runs] == [2, 2, 1, 2, 3]


@pytest.mark.parametrize("held_out", [0, 40])
def test_a_table_keeps_the_start_and_what_is_left_of_it(tmp_path, held_out):
    result = train(tuned(dataclasses.replace(START, validation_size=held_out)))
    assert (result.start_validated is None) == (held_out == 0)
    (tmp_path / "runs.csv").write_text(runs_csv([result]))
    (row,) = read_runs(tmp_path / "runs.csv")
    assert row.run == result.run
    assert (row.start_test, row.start_validated) == (result.start_test, result.start_validated)
    assert runs_csv([row]) == runs_csv([result])


def test_the_content_of_the_starts_data_is_named_too(tmp_path):
    """Two folders: the run's, and the start's."""
    first, second = (photos(tmp_path / name, size=(8, 8, 3), classes=classes) for name, classes in (("a", 2), ("b", 3)))
    start = small(data=f"images:{first}", network="smallcnn")
    run = dataclasses.replace(start, data=f"images:{second}", start=start)
    named = with_content([run], KEEP)[run]
    assert named.data_digest == data.digest(run.data, KEEP)
    assert named.start.data_digest == data.digest(start.data, KEEP)
    assert named.data_digest != named.start.data_digest


# ---------------------------------------------------------------- classes


@pytest.mark.parametrize("name", ["digits", "images"])
def test_a_run_of_some_classes_sees_their_images_and_no_others(name, tmp_path):
    run, chosen = small(label_noise=0.0, classes="1,3-4", train_size=0, network_options=options(width=4)), [1, 3, 4]
    if name == "images":
        folder = photos(tmp_path / "photos", size=(8, 8, 3), classes=5)
        run = dataclasses.replace(run, data=f"images:{folder}", augment=False)
    else:
        run = dataclasses.replace(run, train_size=100)
    whole = data.load(dataclasses.replace(run, classes="", train_size=0), KEEP)
    part = data.load(run, KEEP)
    assert part.facts.classes == 3
    seen = {}
    for read in (whole, part):  # an image of the one, standardised, is an image of the other
        batches = [*read.train(1), *read.test()]
        images = torch.cat([batch.inputs for batch in batches]).flatten(1)
        levels = (images - images.min()) / (images.max() - images.min())
        labels = torch.cat([batch.targets for batch in batches]).tolist()
        keys = [tuple(level.mul(255).round().tolist()) for level in levels]
        seen[read] = list(zip(keys, labels, strict=True))
    of = dict(seen[whole])
    assert all(of[image] == chosen[label] for image, label in seen[part])
    assert {label for _, label in seen[part]} == {0, 1, 2}
    if name == "images":
        assert len(seen[part]) == sum(label in chosen for _, label in seen[whole])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": "a"}, "classes='a': write numbers from 0 on, as in 0-4"),
        ({"classes": "4-1"}, "classes='4-1': write numbers"),
        ({"classes": "1-2-3"}, "classes='1-2-3': write numbers"),
        ({"classes": "0-99999999999"}, "write numbers"),
        ({"classes": "3"}, "two classes are the least"),
        ({"classes": "5-10"}, "there is no class 10; these images have 10"),
        ({"classes": "0-1", "train_size": 900}, "digits has 360 scans of these classes"),
        ({"classes": "0-1", "data": "pydoc", "network": "lstm", "network_options": ()}, "'pydoc' is a text"),
    ],
)
def test_classes_that_there_are_not_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        train(small(label_noise=0.0, **changes), place=KEEP)


# ---------------------------------------------------------------- where it starts


def test_without_steps_the_weights_are_the_starts_but_for_the_last_layer(tmp_path):
    store, start = Store(tmp_path), dataclasses.replace(START, validation_size=40)
    kept, result = weights(start, store), train(tuned(start, lr=0.0), store, KEEP)
    after = store.of(result.run).weights()
    assert result.fresh == ("11.weight", "11.bias") == tuple(list(after)[-2:])
    for name, value in kept.items():
        assert torch.equal(after[name], value) == (name not in result.fresh), name
    assert result.start_test == store.result(start).last  # nothing of it is forgotten
    assert result.start_validated == store.result(start).last_validated != result.start_test


def test_the_same_classes_keep_the_last_layer_too(tmp_path):
    store = Store(tmp_path)
    run = dataclasses.replace(START, lr=0.0, seed=5, start=START)
    assert train(run, store, KEEP).fresh == ()
    assert store.of(run).weights().keys() == weights(START, store).keys()
    assert store.result(run).weights == store.result(START).weights


def test_what_has_another_shape_stays_fresh(tmp_path):
    """From images of one channel to images of three."""
    run = tuned(data=f"images:{photos(tmp_path / 'photos', size=(8, 8, 3))}", classes="", train_size=0, lr=0.0)
    assert train(run, place=KEEP).fresh == ("0.weight", "11.weight", "11.bias")


@pytest.mark.parametrize("lr", [1e-4, 1e-3])
def test_a_full_pull_towards_the_start_leaves_the_weights_there(lr, tmp_path):
    """θ = r − ηu after every step, and of Adam |u| is at most (1 − β₁)/√(1 − β₂) = 3.2; towards 0 it is all gone."""
    store, full = Store(tmp_path), 1.0 / lr
    kept = weights(START, store)
    common = {"optimizer": "adam", "lr": lr, "weight_decay": full, "schedule": "constant"}
    near = weights(tuned(**common, optimizer_options=options(decay="toward(start)")), store)
    gone = weights(tuned(**common, optimizer_options=options(decay="decoupled")), store)
    for name in list(kept)[:-2]:
        assert (near[name] - kept[name]).abs().max() <= 3.2 * lr
        assert gone[name].abs().max() <= 3.2 * lr
    assert kept["0.weight"].abs().max() > 10 * 3.2 * lr


def test_a_start_may_have_a_start(tmp_path):
    store, middle = Store(tmp_path), dataclasses.replace(START, lr=1e-3, start=START)
    train(tuned(middle), store, KEEP)
    apart = Store(tmp_path / "starts")
    assert {result.run for result in apart.results()} == {middle}
    assert {result.run for result in Store(tmp_path / "starts" / "starts").results()} == {START}
    assert numbers(train(tuned(middle))) == numbers(store.result(tuned(middle)))


# ---------------------------------------------------------------- however it is trained


def test_a_run_stopped_after_any_step_also_of_its_start_continues_bit_for_bit(tmp_path):
    run = tuned(optimizer="adam", lr=1e-3, optimizer_options=options(decay="toward(start)"))
    whole = train(run, place=KEEP)
    steps = sum(data.load(one, KEEP).steps * one.epochs for one in run.line())
    assert steps == 12
    for looks in range(steps - 2):
        store = Store(tmp_path / f"after {looks}")
        with pytest.raises(Stopped):
            train(run, store, EVERY_STEP, stop=After(looks))
        assert store.result(run) is None
        assert numbers(train(run, store, EVERY_STEP)) == numbers(whole)


def test_a_run_that_has_finished_with_its_weights_is_not_trained_again(tmp_path):
    store = Store(tmp_path)
    train(START, store, KEEP)
    first = train(tuned(), store, KEEP)
    assert not (tmp_path / "starts").exists()
    apart = Store(tmp_path / "other")
    assert numbers(train(tuned(), apart, KEEP)) == numbers(first)
    (start,) = Store(tmp_path / "other" / "starts").results()
    assert start.run == START
    assert [result.run for result in apart.results()] == [tuned()]  # the start is none of those that were asked for


def test_a_run_whose_weights_were_not_kept_is_trained_for_them(tmp_path):
    store = Store(tmp_path)
    before = train(START, store, Place(download=False))
    assert numbers(train(tuned(), store, KEEP)) == numbers(train(tuned(), place=KEEP))
    assert store.result(START) == before


def test_workers_that_want_one_start_train_it_once_and_come_to_the_same(tmp_path):
    runs = [tuned(lr=lr) for lr in (1e-3, 2e-3)]
    results = sweep(runs, Store(tmp_path), executor("local", jobs=2), KEEP)
    assert [numbers(result) for result in results] == [
        numbers(result) for result in sweep(runs, Store(tmp_path / "here"), executor("here"), KEEP)
    ]
    log = (tmp_path / "starts" / "runs" / START.address / "epochs.jsonl").read_text()
    assert log.count("\n") == START.epochs


def test_a_start_that_another_process_trains_is_waited_for_until_somebody_stops(tmp_path):
    store = Store(tmp_path)
    with Store(tmp_path / "starts").open(START), pytest.raises(Stopped):
        train(tuned(), store, KEEP, stop=After(3))
    assert train(tuned(), store, KEEP).status == "finished"


# ---------------------------------------------------------------- what cannot be


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (tuned(network="resnet8"), "start: network of that run is 'smallcnn', and of this one 'resnet8'"),
        (tuned(network_options=options(width=5, norm=False)), "start: network_options of that run is "),
        (tuned(processes=2), "start: processes of that run is 1"),
        (tuned(dataclasses.replace(START, optimizer="adamw", weight_decay=-1.0)), "weight_decay"),
        (tuned(dataclasses.replace(START, optimizer="sgd", lr=1e9), lr=1e-3), "diverged, and nothing can start"),
        (tuned(dataclasses.replace(START, data="digit")), "no data set is called 'digit'. Did you mean 'digits'"),
    ],
)
def test_a_start_that_is_none_is_refused(run, message):
    with pytest.raises(ValueError, match=message):
        train(run, place=KEEP)


def test_another_network_is_refused_before_anything_is_trained():
    check(tuned())
    with pytest.raises(ValueError, match="start: network"):
        check(tuned(network="resnet8"))


def test_weights_that_diverged_are_refused_also_where_they_were_kept(tmp_path):
    diverging = dataclasses.replace(START, optimizer="sgd", lr=1e9)
    assert train(diverging, Store(tmp_path), KEEP).status == "diverged"
    with pytest.raises(ValueError, match="diverged, and nothing can start from it"):
        train(tuned(diverging, lr=1e-3), Store(tmp_path), KEEP)


def test_weights_that_are_gone_are_said(tmp_path):
    store = Store(tmp_path)
    train(tuned(), store, KEEP)
    Store(tmp_path / "starts").of(START).kept.unlink()
    with pytest.raises(StoreError, match=r"weights.pt is gone. Move its folder away"):
        train(tuned(lr=1e-4), store, KEEP)


# ---------------------------------------------------------------- the commands

TRAIN = ("train", "--data", "digits", "--network", "smallcnn", "--network-options", "width=4", "--epochs", "1",
         "--train-size", "64", "--device", "cpu", "--no-download")  # fmt: skip


def test_the_command_starts_from_a_run_of_its_folder(tmp_path, capsys):
    out = ("--out", str(tmp_path))
    assert main([*TRAIN, *out, "--classes", "0-4"]) == 0
    (first,) = Store(tmp_path).results()
    assert main([*TRAIN, *out, "--classes", "5-9", "--start", first.run.address, "--decay", "toward(start)"]) == 0
    assert "of the start" in capsys.readouterr().out
    (second,) = (one for one in Store(tmp_path).results() if one != first)
    assert second.run.start == first.run
    assert not (tmp_path / "starts").exists()
    assert main([*TRAIN, *out, "--classes", "5-9", "--start", first.run.address, "--decay", "toward(start)"]) == 0
    assert "nothing was trained" in capsys.readouterr().out
    wrong = first.run.address[:-1] + "x"
    assert main([*TRAIN, *out, "--start", wrong]) == 2
    assert f"has no such run. Did you mean '{first.run.address}'?" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "muonadamw"])
@pytest.mark.parametrize("decay", ["toward(start)", "cautious(toward(start))", "decoupled"])
def test_a_pull_towards_the_start_leaves_alone_what_the_start_did_not_give(optimizer, decay):
    """Every parameter is in one group; those of the fresh last layer have no λ, whatever its schedule writes."""
    changes = {"optimizer": optimizer, "weight_decay": 0.5, "weight_decay_schedule": "rise(1, 2)"}
    run = tuned(**changes, optimizer_options=options(decay=decay))
    seen = {}
    training = Training(run, KEEP, Named(), None, Stop(), None, weights_of(run.start, None, KEEP, Named(), Stop()))
    training.result()
    for group in training.progress.optimizer.param_groups:
        seen |= {id(p): (group["weight_decay"], group.get("name")) for p in group["params"]}
    named = dict(training.model.named_parameters())
    assert seen.keys() == {id(p) for p in named.values()}
    for name, p in named.items():
        alone = name in training.fresh and decay != "decoupled"
        assert (seen[id(p)][1] == FRESH) == alone, name
        if alone or (optimizer == "muonadamw" and p.ndim < 2):
            assert seen[id(p)][0] == 0.0, name
        else:
            assert seen[id(p)][0] > 0.9, name


def test_a_pull_of_one_holds_what_the_start_gave_while_the_last_layer_learns(tmp_path):
    """Of SGD without momentum: each step undoes the last one's update, so that one update is all that is left."""
    store, rate = Store(tmp_path), 1e-4
    slow = {"optimizer": "sgd", "lr": rate, "weight_decay": 1 / rate, "schedule": "constant", "epochs": 20}
    kept = weights(START, store)
    run = tuned(**slow, optimizer_options=options(decay="toward(start)"))
    free = dataclasses.replace(run, weight_decay=0.0)
    after, drifted, drawn = (weights(one, store) for one in (run, free, dataclasses.replace(free, lr=0.0)))
    fresh = store.result(run).fresh
    for name, value in kept.items():
        if name not in fresh:
            assert (after[name] - value).norm() < 0.2 * (drifted[name] - value).norm(), name
    for name in fresh:
        held, alone = ((found[name] - drawn[name]).norm().item() for found in (after, drifted))
        assert held == pytest.approx(alone, rel=0.02), name


def test_what_was_trained_while_fresh_tensors_were_pulled_has_another_address():
    """Results of that meaning are not taken for those of this one; every other run keeps its address."""
    plain, pulled = (tuned(optimizer_options=options(**kind)) for kind in ({}, {"decay": "toward(start)"}))
    for run, more in ((plain, {}), (pulled, {"fresh": "without decay"})):
        values = {name: value for name, value in dataclasses.asdict(run).items() if value or name not in ADDED_LATER}
        content = {"protocol": PROTOCOL, **values, "start": START.address, **more}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        assert run.address == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_some_digits_are_cut_as_all_of_them_are():
    """The commands of the documentation name classes and no number of scans."""
    whole, half, rest = (
        data.load(small(label_noise=0.0, train_size=0, classes=one), KEEP) for one in ("", "0-4", "5-9")
    )
    counts = [
        [sum(len(batch.targets) for batch in batches) for batches in (each.train(1), each.test())]
        for each in (whole, half, rest)
    ]
    assert counts[0] == [1000, 797]
    assert [sum(pair) for pair in counts[1:]] == [901, 896]
    assert all(abs(pair[0] / sum(pair) - 1000 / 1797) < 1e-3 for pair in counts)


def test_a_sweep_says_what_is_left_of_its_start(tmp_path, capsys, monkeypatch):
    """The table of a file is read, every seed has its start, and the report names both errors."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fine.toml").write_text(
        """
        network = "smallcnn"
        network_options = { width = 4 }
        classes = "5-9"
        train_size = 100
        epochs = 2
        seeds = 2
        optimizer = "adam"
        decay = ["decoupled", "toward(start)"]
        weight_decay = 3

        [start]
        optimizer = "adam"
        weight_decay = 0
        classes = "0-4"
        train_size = 0

        [executor]
        name = "here"
        """
    )
    assert main(["sweep", "fine.toml", "--no-estimate"]) == 0
    store = Store(tmp_path / "fine-runs")
    rows = store.results()
    assert len(rows) == 2 * 2
    assert {one.run.seed for one in Store(store.folder / "starts").results()} == {0, 1}
    said = " ".join(capsys.readouterr().out.split())
    for decay in ("decoupled", "toward(start)"):
        own = [one.start_test for one in rows if dict(one.run.optimizer_options)["decay"] == decay]
        assert f"Adam, decay={decay} {sum(own) / 2:.3g}" in said[said.index("on the test set of the start") :]
