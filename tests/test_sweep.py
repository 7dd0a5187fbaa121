"""Many runs: each once, in order, home as they finish, and nothing lost when the sweep is killed."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest
from lab import numbers, small
from small_data import photos

from weightdecay.lab.executors import executor
from weightdecay.lab.run import Place
from weightdecay.lab.run.store import Store, StoreError
from weightdecay.lab.sweeps.sweep import RunError, sweep
from weightdecay.lab.training.train import train
from weightdecay.optim.alarm import StrongPullWarning

HERE = executor("here")


def test_a_sweep_trains_each_run_once_and_keeps_the_order(tmp_path):
    runs = [small(seed=seed, epochs=1) for seed in (2, 0, 1, 0)]
    seen = []
    results = sweep(runs, Store(tmp_path), HERE, on_result=lambda r, reused: seen.append((r.run.seed, reused)))
    assert [result.run for result in results] == runs
    assert seen == [(2, False), (0, False), (1, False)]
    seen.clear()
    more = [*runs, small(seed=3, epochs=1)]
    again = sweep(more, Store(tmp_path), HERE, on_result=lambda r, reused: seen.append((r.run.seed, reused)))
    assert again[:4] == results
    assert seen == [(2, True), (0, True), (1, True), (3, False)]


def test_a_run_that_raises_is_named_and_the_others_are_kept(tmp_path):
    bad, good = small(network="resnet9", epochs=1), small(epochs=1)
    message = r"adams on digits with resnet9, .* Did you mean 'resnet8'.*The others are kept"
    with pytest.raises(RunError, match=message) as raised:
        sweep([bad, good], Store(tmp_path), HERE)
    assert "\n" not in str(raised.value)
    (note,) = raised.value.__notes__  # which Python prints below the message
    assert ", in check\n" in note
    assert note.rstrip().splitlines()[-1].startswith("ValueError: no network is called 'resnet9'")
    assert Store(tmp_path).result(good)
    failed = {}
    results = sweep([bad, good], Store(tmp_path), HERE, on_failure=failed.__setitem__)
    assert [result.run for result in results] == [good]
    assert {run: reason.type for run, reason in failed.items()} == {bad: "ValueError"}


@pytest.mark.parametrize("on", ["local", "slurm"])
def test_the_name_of_an_executor_is_none(on, tmp_path):
    with pytest.raises(TypeError, match=rf"on='{on}' is a text, not an executor. Use on=executor\('{on}'"):
        sweep([small()], Store(tmp_path), on)
    assert not list(Store(tmp_path).runs.iterdir())


def test_a_run_that_another_process_holds_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("weightdecay.lab.sweeps.sweep.LOOK_SECONDS", 0.05)
    theirs, dropped, own = runs = [small(seed=seed, epochs=1) for seed in range(3)]
    store, elsewhere = Store(tmp_path), train(theirs)
    hold = contextlib.ExitStack()
    hold.enter_context(store.open(dropped))
    finishing = hold.enter_context(store.open(theirs))

    def finish():
        finishing.save(elsewhere)
        hold.close()

    seen = []

    def tell(result, reused):
        seen.append((result.run, reused))
        if result.run == own:
            threading.Timer(0.3, finish).start()

    message = rf"training 2 of the runs: the run {theirs.address} in .* is being trained by process {os.getpid()} on"
    with pytest.warns(UserWarning, match=message) as warned:
        results = sweep(runs, store, HERE, on_result=tell)
    assert len(warned) == 1
    assert seen == [(own, False), (theirs, True), (dropped, False)]
    assert [numbers(result) for result in results] == [numbers(train(run)) for run in runs]


def test_waiting_for_another_process_ends_with_an_interrupt(tmp_path, monkeypatch):
    run, store = small(epochs=1), Store(tmp_path)
    monkeypatch.setattr("weightdecay.lab.sweeps.sweep.time.sleep", lambda _: signal.raise_signal(signal.SIGINT))
    with store.open(run), pytest.warns(UserWarning, match="training 1 of the runs"), pytest.raises(KeyboardInterrupt):
        sweep([run], store, HERE)


def test_a_damaged_result_stops_a_sweep_before_anything_is_trained(tmp_path):
    store, runs = Store(tmp_path), [small(seed=seed, epochs=1) for seed in (0, 1)]
    store.save(train(runs[1]))
    (store.of(runs[1]).path / "result.json").write_text("{")
    with pytest.raises(StoreError, match="is not a whole result"):
        sweep(runs, store, HERE)
    assert store.result(runs[0]) is None


def test_a_result_that_comes_from_elsewhere_is_kept_here(tmp_path):
    """As from a node of a cluster with a disk of its own."""

    class Elsewhere(type(HERE)):
        def map(self, function, items):
            far = type(function)(tmp_path / "far", function.place, function.task)
            yield from super().map(far, items)

    run = small(epochs=2)
    (result,) = sweep([run], Store(tmp_path / "home"), Elsewhere())
    assert Store(tmp_path / "home").result(run) == result
    assert len(Store(tmp_path / "home").of(run).epochs()) == 2


@pytest.mark.slow
def test_workers_give_the_results_of_this_process(tmp_path):
    runs = [small(seed=seed, epochs=2) for seed in range(4)]
    aside = sweep(runs, Store(tmp_path / "a"), executor("local", jobs=2))
    here = sweep(runs, Store(tmp_path / "b"), HERE)
    assert [numbers(result) for result in aside] == [numbers(result) for result in here]


@pytest.mark.slow
def test_workers_of_workers_decode_photos_as_this_process_does(tmp_path):
    folder = photos(tmp_path / "photos")
    run = small(data=f"images:{folder}", network="smallcnn", epochs=1, batch_size=4, train_size=0, label_noise=0.0)
    (aside,) = sweep([run], Store(tmp_path / "a"), executor("local", jobs=1))
    (here,) = sweep([run], Store(tmp_path / "b"), HERE)
    assert numbers(aside) == numbers(here)


MANY = {"epochs": 8, "train_size": 200, "batch_size": 16}
SWEEP = f"""
import signal, sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
from lab import small
from weightdecay.lab.executors import executor
from weightdecay.lab.run import Place
from weightdecay.lab.run.store import Store
from weightdecay.lab.sweeps.sweep import sweep
signal.signal(signal.SIGINT, signal.default_int_handler)
runs = [small(seed=seed, **{MANY!r}) for seed in range(8)]
tell = lambda result, reused: print(result.run.seed, reused, flush=True)
sweep(runs, Store(sys.argv[1]), executor("local", jobs=2), Place(checkpoint_seconds=float(sys.argv[2])), on_result=tell)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("how", "every"), [(signal.SIGKILL, 0)], ids=["kill -9"])  # Ctrl-C: test_cli_train
def test_a_sweep_stopped_in_the_middle_continues_and_equals_the_uninterrupted_one(tmp_path, how, every):
    script = tmp_path / "many.py"
    script.write_text(SWEEP)

    store = Store(tmp_path / "stopped")
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "stopped"), str(every)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline().strip().endswith("False")
    deadline = time.time() + 120
    while not _under_way(store) and time.time() < deadline:
        time.sleep(0.01)
    if how == signal.SIGKILL:
        os.killpg(process.pid, how)
    else:
        process.send_signal(how)
    process.wait(timeout=60)
    deadline = time.time() + 60
    while _alive_in_session(process.pid) and time.time() < deadline:
        time.sleep(0.1)
    assert not _alive_in_session(process.pid)
    process.stdout.close()
    kept = store.results()
    assert 1 <= len(kept) < 8  # most of them wait in the queue when the signal comes
    checkpoints = list(Path(store.runs).glob("*/checkpoint*.pt"))
    assert checkpoints  # after a Ctrl-C, because what was under way was given time to keep one
    said = []  # the same sweep from here: another start of Python with two workers takes a quarter of a minute
    runs = [small(seed=seed, **MANY) for seed in range(8)]
    sweep(runs, store, executor("local", jobs=1), on_result=lambda result, reused: said.append(reused))
    assert said.count(True) == len(kept)
    finished = store.results()
    assert len(finished) == 8
    under_way = {path.parent.name for path in checkpoints}
    for result in finished:
        if result.run.address in under_way or result.run.seed == 0:
            assert numbers(train(result.run, place=Place())) == numbers(result)


def _under_way(store):
    """Whether a run has measured an epoch, and has most of them before it."""
    return any(0 < path.read_bytes().count(b"\n") <= 3 for path in store.runs.glob("*/epochs.jsonl"))


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


def test_a_lambda_that_a_question_asks_for_too_large_is_no_warning(tmp_path):
    """Alone it is one; in a grid it is what the grid is for, and the error says it."""
    run = small(optimizer="adams", weight_decay=100.0, epochs=4, batch_size=32)
    with pytest.warns(StrongPullWarning, match="AdamW's value"):
        alone = train(run)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (result,) = sweep([run], Store(tmp_path), HERE, Place(device="cpu"))
    assert result.weights == alone.weights
