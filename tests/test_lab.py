"""Runs that cannot be lost: data, training, store and sweep."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from weightdecay.lab import train as training
from weightdecay.lab.data import load
from weightdecay.lab.data.images import wrong_labels
from weightdecay.lab.models import build
from weightdecay.lab.run import Run
from weightdecay.lab.store import Store, StoreError
from weightdecay.lab.sweep import RunError, sweep
from weightdecay.lab.train import lr_at, train

SMALL = Run("adams", lr=1e-3, weight_decay=0.1, seed=0, epochs=4, train_size=128, width=4)


def small(**changes):
    return dataclasses.replace(SMALL, **changes)


def numbers(result):
    return dataclasses.replace(result, seconds=0.0)


# ---------------------------------------------------------------- runs and data


def test_a_runs_address_names_everything_that_decides_it():
    addresses = {SMALL.address}
    for field in dataclasses.fields(Run):
        value = getattr(SMALL, field.name)
        other = value + "x" if isinstance(value, str) else (0.5,) if isinstance(value, tuple) else value + 1
        addresses.add(small(**{field.name: other}).address)
    assert len(addresses) == len(dataclasses.fields(Run)) + 1
    assert small().address == SMALL.address


@pytest.mark.parametrize("fraction", [0.0, 0.2, 0.999])
def test_wrong_labels_are_exactly_the_fraction_and_never_right(fraction):
    labels = torch.arange(1000) % 10
    noisy = wrong_labels(labels, fraction, 10, seed=3)
    assert (noisy != labels).sum() == int(fraction * 1000)
    assert torch.equal(noisy, wrong_labels(labels, fraction, 10, seed=3))
    if fraction:
        assert not torch.equal(noisy, wrong_labels(labels, fraction, 10, seed=4))
        assert noisy.min() >= 0
        assert noisy.max() < 10


def test_digits_are_split_once_standardised_and_clean_for_test():
    a, b = (load("digits", 1000, 0.2, seed) for seed in (0, 1))
    assert (len(a.train_images), len(a.test_images)) == (1000, 797)
    assert torch.equal(a.test_images, b.test_images)
    assert torch.equal(a.train_images, b.train_images)
    assert torch.equal(a.test_labels, load("digits", 1000, 0.0, 0).test_labels)
    assert (a.train_labels != load("digits", 1000, 0.0, 0).train_labels).sum() == 200
    assert abs(a.train_images.mean().item()) < 1e-5
    assert abs(a.train_images.std().item() - 1) < 1e-5


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"no data set is called 'digit'. Did you mean 'digits'"):
        load("digit", 1000, 0.2, 0)
    with pytest.raises(ValueError, match="Did you mean 'resnet8'"):
        build("resnet9", 1, 10, 16, 0)
    with pytest.raises(ValueError, match="some must be left for test"):
        load("digits", 1797, 0.0, 0)


def test_networks_are_functions_of_the_seed_and_leave_the_global_generator_alone():
    before = torch.random.get_rng_state()
    a, b, c = (build("resnet8", 1, 10, 16, seed) for seed in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    assert all(torch.equal(p, q) for p, q in pairs)
    assert not torch.equal(a[0].weight, c[0].weight)
    assert sum(p.numel() for p in a.parameters()) == 77_754
    assert a(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


# ---------------------------------------------------------------- training


def test_the_schedule_drops_at_the_milestones():
    run = small(epochs=25, lr=0.1)
    lrs = [lr_at(run, epoch) for epoch in range(1, 26)]
    assert lrs == pytest.approx([0.1] * 10 + [0.01] * 10 + [0.001] * 5)
    assert run.steps == 50


@pytest.mark.parametrize("optimizer", ["sgds", "adams", "yogi"])
def test_equal_runs_give_equal_results_whatever_the_global_generator(optimizer):
    torch.manual_seed(1)
    first = train(small(optimizer=optimizer))
    torch.manual_seed(2)
    torch.rand(7)
    assert numbers(train(small(optimizer=optimizer))) == numbers(first)
    assert numbers(train(small(optimizer=optimizer, seed=1))).epochs != first.epochs


def test_a_run_learns_and_measures_what_it_says():
    result = train(small(epochs=12, train_size=512, label_noise=0.0, width=8))
    assert result.status == "finished"
    assert [epoch.epoch for epoch in result.epochs] == list(range(1, 13))
    assert result.last_error < 10 < result.epochs[0].test_error  # chance is 90
    assert (result.skipped_steps, result.clamped_steps) == (0, 0)


@pytest.mark.parametrize("stop", [1, 3])
def test_an_interrupted_run_continues_bit_for_bit(tmp_path, monkeypatch, stop):
    """Stopped after an epoch by an exception where SIGKILL could come, resumed by another process's store."""
    whole = train(SMALL)
    store = Store(tmp_path)
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 0.0)
    keep = store.save_checkpoint

    def keep_then_die(run, content):
        keep(run, content)
        if len(content["epochs"]) == stop:
            raise KeyboardInterrupt

    monkeypatch.setattr(store, "save_checkpoint", keep_then_die)
    with pytest.raises(KeyboardInterrupt):
        train(SMALL, store)
    again = Store(tmp_path)
    assert len(again.load_checkpoint(SMALL)["epochs"]) == stop
    assert numbers(train(SMALL, again)) == numbers(whole)
    assert again.load_checkpoint(SMALL) is None


def test_a_diverged_run_is_a_result():
    result = train(small(optimizer="sgd", lr=1e30, epochs=5))
    assert result.status == "diverged"
    assert result.epochs[-1].train_loss is None
    assert result.last_error > 50
    assert len(result.epochs) < 5


# ---------------------------------------------------------------- store


def test_results_come_back_as_they_were(tmp_path):
    store, result = Store(tmp_path / "new" / "folder"), train(small(optimizer="sgd", lr=1e30))
    assert store.result(result.run) is None
    store.save(result)
    assert Store(tmp_path / "new" / "folder").result(result.run) == result
    assert store.results() == [result]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: text.replace('"test_error": ', '"test_error": 1', 1),
        lambda text: "[]",
        lambda text: json.dumps({"sha256": "", "result": {}}),
    ],
    ids=["truncated", "empty", "changed", "a list", "foreign"],
)
def test_a_damaged_result_is_named_and_left_alone(tmp_path, spoil):
    store, result = Store(tmp_path), train(small(epochs=1))
    store.save(result)
    path = store.runs / f"{result.run.address}.json"
    path.write_text(spoil(path.read_text()))
    spoilt = path.read_text()
    with pytest.raises(StoreError, match=rf"{result.run.address}.json is not a whole result .* Move it away"):
        store.result(result.run)
    assert path.read_text() == spoilt


def test_a_result_under_another_name_is_refused(tmp_path):
    store, result = Store(tmp_path), train(small(epochs=1))
    store.save(result)
    (store.runs / f"{result.run.address}.json").rename(store.runs / "0000.json")
    with pytest.raises(StoreError, match=r"0000.json holds the run"):
        store.results()


def test_a_flipped_bit_in_a_checkpoint_is_found(tmp_path):
    store = Store(tmp_path)
    store.save_checkpoint(SMALL, {"weights": torch.ones(100)})
    assert torch.equal(store.load_checkpoint(SMALL)["weights"], torch.ones(100))
    path = store.checkpoints / f"{SMALL.address}.pt"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"is damaged. Move it away"):
        store.load_checkpoint(SMALL)


def test_a_folder_that_is_none_is_refused_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write to the folder .*file \(.*\). Name another one with --out"):
        Store(tmp_path / "file")


def test_a_failed_write_leaves_the_old_result(tmp_path, monkeypatch):
    store, result = Store(tmp_path), train(small(epochs=1))
    store.save(result)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left on device"):
        store.save(dataclasses.replace(result, seconds=99.0))
    monkeypatch.undo()
    assert store.result(result.run) == result
    assert len(list(store.runs.iterdir())) == 1


# ---------------------------------------------------------------- sweep


def test_a_sweep_trains_each_run_once_and_keeps_the_order(tmp_path):
    runs = [small(seed=seed, epochs=1) for seed in (2, 0, 1, 0)]
    seen = []
    results = sweep(runs, Store(tmp_path), jobs=1, on_result=lambda r, reused: seen.append((r.run.seed, reused)))
    assert [result.run for result in results] == runs
    assert seen == [(2, False), (0, False), (1, False)]
    seen.clear()
    more = [*runs, small(seed=3, epochs=1)]
    again = sweep(more, Store(tmp_path), jobs=1, on_result=lambda r, reused: seen.append((r.run.seed, reused)))
    assert again[:4] == results
    assert seen == [(2, True), (0, True), (1, True), (3, False)]


def test_a_run_that_raises_is_named(tmp_path):
    with pytest.raises(RunError, match=r"optimizer='adms'.*Did you mean 'adams'"):
        sweep([small(optimizer="adms")], Store(tmp_path), jobs=1)


def test_workers_give_the_results_of_this_process(tmp_path):
    runs = [small(seed=seed, epochs=2) for seed in range(4)]
    aside = sweep(runs, Store(tmp_path / "a"), jobs=2)
    here = sweep(runs, Store(tmp_path / "b"), jobs=1)
    assert [numbers(r) for r in aside] == [numbers(r) for r in here]


SWEEP = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts tests in the background ignores Ctrl-C
from weightdecay.lab.run import Run
from weightdecay.lab.store import Store
from weightdecay.lab.sweep import sweep
runs = [Run("adams", 1e-3, 0.1, seed, epochs=8, train_size=128, width=4) for seed in range(16)]
if __name__ == "__main__":
    sweep(runs, Store(sys.argv[1]), jobs=2, on_result=lambda result, reused: print(result.run.seed, reused, flush=True))
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_a_sweep_stopped_in_the_middle_continues_and_equals_the_uninterrupted_one(tmp_path, how):
    script = tmp_path / "many.py"
    script.write_text(SWEEP)

    def start(folder):
        command = [sys.executable, str(script), str(tmp_path / folder)]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
        )

    process = start("stopped")
    assert process.stdout.readline().strip().endswith("False")
    if how == signal.SIGKILL:
        os.killpg(process.pid, how)
    else:
        process.send_signal(how)
    process.wait(timeout=60)
    deadline = time.time() + 20
    while _alive_in_session(process.pid) and time.time() < deadline:
        time.sleep(0.1)
    assert not _alive_in_session(process.pid)
    process.stdout.close()
    kept = len(Store(tmp_path / "stopped").results())
    assert 1 <= kept < 16  # most of them wait in the queue when the signal comes
    outputs = []
    for folder in ("stopped", "whole"):
        again = start(folder)
        outputs.append(again.communicate(timeout=120)[0].split())
        assert again.returncode == 0
    assert outputs[0].count("True") == kept
    assert outputs[1].count("False") == 16
    a, b = ([numbers(r) for r in Store(tmp_path / folder).results()] for folder in ("stopped", "whole"))
    assert a == b


def _alive_in_session(session):
    """Whether some process of that session still runs (Linux: the kernel's own table)."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    fields = file.read().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                return True
    return False
