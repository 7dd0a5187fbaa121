"""Files of runs: whole or what they were before, whatever happens to the process, the disk or a bit."""

import dataclasses
import json
import os
import pickle
import signal
import socket
import subprocess
import threading

import pytest
import torch
from forked import Forked
from lab import SMALL, numbers, small

from weightdecay.lab.run import Epoch, Place
from weightdecay.lab.run.lock import Busy, awaited, locked
from weightdecay.lab.run.store import DamagedCheckpointWarning, Store, StoreError
from weightdecay.lab.run.weights import digest
from weightdecay.lab.training.train import train


@pytest.fixture(scope="module")
def result():
    return train(small(epochs=1))


def epoch(number, **values):
    return Epoch(number, 0.1, 1.0, 1.0, 50.0, **values)


def weights(value):
    return {"weights": torch.full((100,), float(value))}


def test_results_come_back_as_they_were(tmp_path):
    store, diverged = Store(tmp_path / "new" / "folder"), train(small(optimizer="sgd", lr=1e30))
    assert store.result(diverged.run) is None
    store.save(diverged)
    again = Store(tmp_path / "new" / "folder")
    assert again.result(diverged.run) == diverged
    assert again.results() == [diverged]
    assert again.of(diverged.run).epochs() == list(diverged.epochs)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: text.replace('"test": ', '"test": 1', 1),
        lambda text: "[]",
        lambda text: json.dumps({"sha256": "", "result": {}}),
    ],
    ids=["truncated", "empty", "changed", "a list", "foreign"],
)
def test_a_damaged_result_is_named_and_left_alone(tmp_path, result, spoil):
    store = Store(tmp_path)
    store.save(result)
    path = store.of(result.run).path / "result.json"
    spoilt = spoil(path.read_text())
    path.write_text(spoilt)
    with pytest.raises(StoreError, match=r"result.json is not a whole result .* Move it away"):
        store.result(result.run)
    assert path.read_text() == spoilt


def test_a_result_in_another_folder_is_refused(tmp_path, result):
    store = Store(tmp_path)
    store.save(result)
    store.of(result.run).path.rename(store.runs / "0000")
    with pytest.raises(StoreError, match=r"holds the run .* was renamed"):
        store.results()


# ---------------------------------------------------------------- weights


def test_weights_are_kept_where_that_is_asked_for_and_are_those_of_the_result(tmp_path):
    run, asked, not_asked = small(epochs=1), Store(tmp_path / "asked"), Store(tmp_path / "not")
    result = train(run, asked, Place(keep_weights=True))
    assert digest(asked.of(run).weights()) == result.weights == train(run, not_asked).weights
    assert not_asked.of(run).weights() is None
    assert not_asked.of(small(epochs=2)).weights() is None


@pytest.mark.parametrize(
    "spoil",
    [lambda data: data[:99], lambda data: b"", lambda data: data[: len(data) // 2] + b"!" + data[len(data) // 2 + 1 :]],
    ids=["truncated", "empty", "a byte"],
)
def test_damaged_weights_are_named_and_left_alone(tmp_path, result, spoil):
    store = Store(tmp_path)
    train(result.run, store, Place(keep_weights=True))
    path = store.of(result.run).kept
    spoilt = spoil(path.read_bytes())
    path.write_bytes(spoilt)
    with pytest.raises(StoreError, match=r"weights.pt does not hold the weights of the run.* Move it away"):
        store.of(result.run).weights()
    assert path.read_bytes() == spoilt


# ---------------------------------------------------------------- the log


def test_a_line_that_was_cut_off_is_not_read_and_not_built_upon(tmp_path):
    with Store(tmp_path).open(SMALL) as folder:
        for number in (1, 2):
            folder.log(epoch(number))
        path = folder.path / "epochs.jsonl"
        whole = path.read_bytes()
        for end in range(len(whole) // 2 + 1, len(whole)):  # at every place in the second line
            path.write_bytes(whole[:end])
            assert folder.epochs() == [epoch(1)]
            folder.log(epoch(2))
            assert path.read_bytes() == whole


def test_an_epoch_taken_twice_counts_once(tmp_path):
    with Store(tmp_path).open(SMALL) as folder:
        for number in (1, 2, 3, 2, 3, 4):
            folder.log(epoch(number))
        assert [one.epoch for one in folder.epochs()] == [1, 2, 3, 4]


# ---------------------------------------------------------------- checkpoints


def test_the_checkpoint_before_is_kept(tmp_path):
    with Store(tmp_path).open(SMALL) as folder:
        assert folder.load_checkpoint() is None
        for value in (1, 2, 3):
            folder.save_checkpoint(weights(value))
        assert folder.load_checkpoint()["weights"][0] == 3
        folder.newest.unlink()  # as between the two renames
        assert folder.load_checkpoint()["weights"][0] == 2
        folder.save_checkpoint(weights(4))
        assert folder.load_checkpoint()["weights"][0] == 4
        assert folder.before.exists()


@pytest.mark.parametrize("where", [0.0, 0.02, 0.5, 0.999])
def test_a_flipped_bit_is_found_said_and_survived(tmp_path, where):
    with Store(tmp_path).open(SMALL) as folder:
        folder.save_checkpoint(weights(1))
        folder.save_checkpoint(weights(2))

        def flip(path):
            data = bytearray(path.read_bytes())
            data[int(where * len(data))] ^= 1
            path.write_bytes(data)

        flip(folder.newest)
        with pytest.warns(
            DamagedCheckpointWarning, match=r"checkpoint.pt is damaged.*goes on from the checkpoint before"
        ):
            assert folder.load_checkpoint()["weights"][0] == 1
        assert (folder.path / "checkpoint.damaged").exists()  # nothing is thrown away
        assert folder.load_checkpoint()["weights"][0] == 1
        folder.save_checkpoint(weights(3))
        for path in (folder.newest, folder.before):
            flip(path)
        with pytest.raises(StoreError, match=r"is damaged, and there is no whole one before it. Move both away"):
            folder.load_checkpoint()


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    store = Store(tmp_path)
    with store.open(SMALL) as folder:
        (folder.path / "checkpoint.ptx7.part").write_bytes(b"half")
    with store.open(SMALL) as folder:
        assert not list(folder.path.glob("*.part"))
        assert json.loads((folder.path / "run.json").read_text())["optimizer"] == "adams"


def test_a_finished_run_has_no_checkpoint(tmp_path, result):
    with Store(tmp_path).open(result.run) as folder:
        folder.save_checkpoint(weights(1))
        folder.save_checkpoint(weights(2))
        folder.save(result)
        assert not list(folder.path.glob("checkpoint*"))


# ---------------------------------------------------------------- disks

FULL = """
import resource, signal, sys
from pathlib import Path
import torch
sys.path.insert(0, {tests!r})
from forked import Forked
from lab import SMALL, small
from weightdecay.lab.run import Epoch
from weightdecay.lab.run.store import Store, StoreError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with Store({folder!r}).open(SMALL) as folder:
    folder.save_checkpoint({{"weights": torch.ones(100)}})
    folder.log(Epoch(1, 0.1, 1.0, 1.0, 50.0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))  # no file may grow beyond this: as when a disk is full
    for write in (
        lambda: folder.save_checkpoint({{"weights": torch.ones(10_000)}}),
        lambda: [folder.log(Epoch(2, 0.1, 1.0, 1.0, 50.0)) for _ in range(100)],
    ):
        try:
            write()
        except StoreError as error:
            print(error)
    assert folder.load_checkpoint()["weights"].numel() == 100
    assert [epoch.epoch for epoch in folder.epochs()] == [1, 2]
    assert not list(folder.path.glob("*.part"))
"""


def ended(code):
    """Return the status of a program, and what it said."""
    with Forked(code, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        out, err = process.communicate(timeout=120)
    return process.returncode, out, err


@pytest.mark.slow
def test_a_full_disk_is_said_and_what_was_there_survives(tmp_path):
    code = FULL.format(tests=os.path.dirname(__file__), folder=str(tmp_path))
    status, out, err = ended(code)
    assert status == 0, err
    checkpoint, log = out.splitlines()
    assert "checkpoint.pt (File too large). What was there before is whole; make room" in checkpoint
    assert "epochs.jsonl (File too large)" in log


READ_ONLY = """
import os, sys
from weightdecay.lab.run import Run
from weightdecay.lab.run.store import Store, StoreError
if os.getuid() == 0:
    os.setuid(65534)  # permissions do not hold root back
try:
    Store({folder!r})
except StoreError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_refused_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write to the folder .*file \(.*\). Name another one"):
        Store(tmp_path / "file")
    (tmp_path / "link").symlink_to("gone")
    with pytest.raises(StoreError, match=r"link is a link to gone, which does not exist. Mend the link"):
        Store(tmp_path / "link")
    folder = tmp_path / "read-only"
    folder.mkdir(mode=0o555)
    _, out, err = ended(READ_ONLY.format(folder=str(folder)))
    assert "cannot write to the folder" in out, err
    assert "Permission denied" in out


def test_a_failed_write_leaves_the_old_result(tmp_path, result, monkeypatch):
    store = Store(tmp_path)
    store.save(result)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left on device"):
        store.of(result.run).save(dataclasses.replace(result, seconds=99.0))
    monkeypatch.undo()
    assert store.result(result.run) == result
    assert not list(store.of(result.run).path.glob("*.part"))


# ---------------------------------------------------------------- the lock

HOLDER = """
import os, sys, time
from pathlib import Path
from weightdecay.lab.run.lock import locked
with locked(Path(sys.argv[1]), "it"):
    if os.fork() == 0:  # a worker that outlives its parent, as a loader's does for a while
        print(os.getpid(), flush=True)
        time.sleep(600)
    time.sleep(600)
"""


@pytest.mark.slow
def test_a_second_process_is_refused_or_waits_and_a_lock_dies_with_its_holder_though_its_children_live(tmp_path):
    path = tmp_path / "lock"
    holder = Forked(HOLDER, path, stdout=subprocess.PIPE, text=True)
    child = int(holder.stdout.readline())
    try:
        with pytest.raises(Busy, match=rf"it is being trained by process {holder.pid} on .*. Wait for it"):  # noqa: SIM117
            with locked(path, "it"):
                pass
        held = []

        def wait():
            with awaited(path):
                held.append(path.read_text())

        waiting = threading.Thread(target=wait, daemon=True)
        waiting.start()
        waiting.join(1)
        assert held == []
        holder.kill()
        holder.wait(60)
        waiting.join(60)
        os.kill(child, 0)  # it is alive
        assert held == [f"process {os.getpid()} on {socket.gethostname()}\n"]
        with locked(path, "it"):
            pass
    finally:
        holder.kill()
        holder.wait(60)
        holder.stdout.close()
        os.kill(child, signal.SIGKILL)


def test_a_run_that_is_being_trained_is_refused(tmp_path):
    store = Store(tmp_path)
    with store.open(SMALL), pytest.raises(Busy, match=f"the run {SMALL.address} in .* Wait for it, or stop it first"):
        train(SMALL, store)
    assert numbers(train(small(epochs=1), store)).status == "finished"


def test_an_address_that_was_read_is_nobody_elses():
    """It is worked out once for each run: a copy with another field works out its own."""
    run = dataclasses.replace(SMALL)
    address = run.address
    assert run.address is address
    assert dataclasses.replace(run, seed=run.seed + 1).address != address
    assert dataclasses.replace(run).address == pickle.loads(pickle.dumps(run)).address == address
    assert run == SMALL
    assert hash(run) == hash(SMALL)
