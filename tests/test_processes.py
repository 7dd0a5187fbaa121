"""Several processes train what one would, agree on when to leave and on what went wrong, and come back as if nothing.

``processes_worker.py`` is what ``torchrun`` starts: once for all that is only measured and for a command that is
killed, and again for the same command; the laws are here. The networks have no batch norm: under DDP and FSDP each
process normalises by the statistics of its own part of a batch, so that several train another function than one.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path

import processes_worker as worker
import pytest
import torch
from forked import MODULE, Forked

from weightdecay.lab.run import Place, Result
from weightdecay.lab.run.store import Store
from weightdecay.lab.training import processes
from weightdecay.lab.training.train import train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the processes meet through the loopback of Linux"),
]

PROGRAM = Path(worker.__file__)
TIMEOUT = 300  # seconds until a start that hangs is given up
EXACT = 1e-11  # of float64 runs whose sums go over processes in another order, after some twenty steps
EPOCH = 6  # steps of the command's run


def runs(pid):
    """Whether the process runs; a zombie, which nobody may ever reap, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid):
    """Return the processes that a process started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


class Job:
    """``torchrun`` and its two processes, of which none outlives the block."""

    def __init__(self, folder, *words):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
        command = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        self.paths = folder / "out.txt", folder / "err.txt"
        with self.paths[0].open("w") as out, self.paths[1].open("w") as err:
            self.process = Forked(
                MODULE, *command, *words, stdout=out, stderr=err, env=environment, start_new_session=True
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    @property
    def out(self):
        return self.paths[0].read_text()

    @property
    def err(self):
        return self.paths[1].read_text()

    def kill(self):
        """SIGKILL to all of them: torchrun first, which would otherwise end its processes in good order."""
        if self.process.poll() is None:
            ranks = children(self.process.pid)
            self.process.kill()
            for rank in ranks:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(rank, signal.SIGKILL)
            while any(map(runs, ranks)):
                time.sleep(0.01)
        return self.process.wait(TIMEOUT)

    def wait_for(self, *files):
        deadline = time.monotonic() + TIMEOUT
        while not all(file.exists() for file in files):
            assert self.process.poll() is None, self.err
            assert time.monotonic() < deadline, self.err
            time.sleep(0.02)

    def wait(self):
        return self.process.wait(TIMEOUT)


# ---------------------------------------------------------------- what is only measured


@pytest.fixture(scope="session")
def measured(tmp_path_factory):
    """measured[scenario]: what each process wrote. Measured once, whatever the number of pytest's processes."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    folder = shared / "processes"
    with (shared / "processes.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "measured").exists():
            folder.mkdir(exist_ok=True)
            measure(folder)
            (folder / "measured").touch()
    found = {}
    for file in sorted(folder.glob("*-[01].json")):
        found.setdefault(file.stem[:-2], []).append(json.loads(file.read_text()))
    return {"folder": folder, **found}


def measure(folder):
    worker.write_text(folder)
    run = dataclasses.replace(worker.IMAGES, processes=2)
    Store(folder / "damaged").of(run).path.mkdir()
    (Store(folder / "damaged").of(run).path / "result.json").write_text("{")
    busy, command = Store(folder / "busy"), worker.commanded(folder)
    last = (EPOCH + 3, *worker.command(folder), "--checkpoint-seconds", "0")
    with busy.open(run), busy.open(command), Job(folder, PROGRAM, "measured", folder, *last) as job:
        job.wait_for(*held(folder))
        assert job.kill() == -signal.SIGKILL
    for mark in held(folder):
        mark.unlink()


def held(folder):
    """Return the files that say that the processes of a command wait in their step."""
    return [folder / f"held-{rank}" for rank in range(2)]


def distance(ours, theirs):
    """Return the largest difference of any weight, relative to the tensor's largest."""
    assert ours.keys() == theirs.keys()
    pairs = [(torch.tensor(ours[name], dtype=torch.float64), theirs[name].double()) for name in theirs]
    return max(((a - b).abs().max() / b.abs().max()).item() for a, b in pairs)


OF_SETS = ("train_loss", "test_loss", "test", "validation_loss", "validation")
OF_STEPS = ("effective_lr", "grad_norm", "weight_norm")


@pytest.mark.parametrize(
    "name",
    [
        *("images/ddp", "images/fsdp", "images/fsdp in units", "start/ddp", "start/fsdp"),
        *("text/ddp", "text/fsdp", "text/fsdp in units"),
    ],
)
def test_two_processes_train_what_one_does(measured, name):
    """Weights and every number of every epoch, in float64.

    With augmentation, uneven parts of every batch and a smaller last one, carried state, clipping, a validation set,
    and a v̄ over the whole model, of which each process holds a part: the effective learning rate is made of it.
    """
    task = worker.Tested()
    expected = train(worker.runs(measured["folder"])[name], place=worker.PLACE, task=task)
    weights = task.model.state_dict()
    for process in measured["equal_to_one_process"]:
        ours = Result.from_json(process[name]["result"])
        assert distance(process[name]["weights"], weights) < EXACT
        for a, b in zip(ours.epochs, expected.epochs, strict=True):
            assert (a.epoch, a.lr) == (b.epoch, b.lr)
            for number in OF_SETS + OF_STEPS:
                assert getattr(a, number) == pytest.approx(getattr(b, number), rel=EXACT, abs=0), number
        assert (ours.start_test is not None) == ("start" in name)
        assert ours.start_test is None or ours.start_test == pytest.approx(expected.start_test, rel=EXACT, abs=0)
        assert ours.weights != expected.weights  # their sums were not the same: there really were two
        assert ours.where.startswith("2 × CPU")


@pytest.mark.parametrize("name", ["images/ddp", "text/fsdp"])
def test_the_parts_of_the_processes_make_up_every_step(measured, name):
    """Each example once per epoch, cropped and flipped as in one process."""
    task = worker.Tested()
    train(worker.runs(measured["folder"])[name], place=worker.PLACE, task=task)
    parts = [process[name]["seen"] for process in measured["equal_to_one_process"]]
    for whole, first, second in zip(task.seen, *parts, strict=True):
        assert sorted(first + second) == whole
        assert len(first) - len(second) in (0, 1)


def test_every_process_draws_dropout_of_its_own(measured):
    first, second = (process["dropout/ddp"]["drawn"] for process in measured["equal_to_one_process"])
    assert len({*first, *second}) == len(first) + len(second) == 2 * 2 * EPOCH


@pytest.mark.parametrize("name", ["dropout/ddp", "dropout/fsdp"])
def test_one_process_that_wishes_to_stop_stops_all_and_they_come_back_bit_for_bit(measured, name):
    """In the middle of an epoch, with carried state and dropout; one process, three times."""
    for stopped, whole in zip(measured["stopped_by_one"], measured["equal_to_one_process"], strict=True):
        assert stopped[name]["times"] == 3
        assert stopped[name]["weights"] == whole[name]["result"]["weights"]


def test_a_diverging_run_ends_as_such_in_every_process(measured):
    for process in measured["diverging"]:
        for result in process:
            assert result["status"] == "diverged"
            assert result["epochs"][-1]["train_loss"] is None


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("one too few", "ValueError: the run is one of 1 processes, and 2 came. Start it with torchrun"),
        ("unknown network", "ValueError: no network is called 'resnet9'. Did you mean 'resnet8'?"),
        ("no data in one", "DataError: the disk of this process is empty"),
        ("busy", "Busy: the run"),
        ("damaged", "StoreError: "),
        ("full disk", "StoreError: the disk is full"),
        ("small last batch", "ValueError: batch_size=64: the last batch of the epoch has fewer examples"),
        ("alone", ("RuntimeError: ", "RuntimeError: one of the processes fell over")),  # the first: whose peer has gone
        ("on_epoch", ("OddError: one and other", "RuntimeError: OddError: one and other")),
    ],
)
def test_what_one_process_fails_at_is_raised_by_all(measured, case, message):
    """None is left waiting; and the same program can go on to its next run in all of them."""
    messages = (message, message) if isinstance(message, str) else message
    for process, said in zip(measured["failing"], messages, strict=True):
        assert process[case].startswith(said)


@pytest.mark.parametrize(
    ("case", "status", "message"),
    [
        ("network", 2, "error: no network is called 'resnet9'. Did"),
        ("option", 2, "error: Unrecognized options: --epochz"),
        ("busy", 1, "error: the run "),
    ],
)
def test_what_ends_the_command_is_one_line(measured, case, status, message):
    for process in measured["commands"]:
        assert process[case]["status"] == status
        assert process[case]["out"] == ""
        assert process[case]["err"].count("\n") <= 1
    assert measured["commands"][0][case]["err"].startswith(message)


# ---------------------------------------------------------------- killed


def test_the_command_is_killed_and_stopped_and_ends_with_the_weights_of_an_uninterrupted_run(measured):
    """SIGKILL to all of the job, then SIGTERM to torchrun, then to the end; of a text, with carried state and dropout.

    The wish to stop is known to all one step later: whatever the moment, they leave after the same step.
    """
    folder = measured["folder"]
    run, words, store = worker.commanded(folder), worker.command(folder), Store(folder / "command")
    assert store.of(run).newest.exists()
    assert [epoch.epoch for epoch in store.of(run).epochs()] == [1]
    # No checkpoint of its own accord.
    with Job(folder, PROGRAM, "held", folder, 2 * EPOCH + 2, *words, "--checkpoint-seconds", "1e9") as job:
        job.wait_for(*held(folder))
        job.process.send_signal(signal.SIGTERM)
        assert job.wait() == 1  # of torchrun, which raises SignalException
        assert beginnings(job.out) == ["continued in epoch 2", "epoch 2/4"]
        assert job.err.count("stopped by SIGTERM: the trained part is kept in ") == 1
        assert "[rank" not in job.err  # a traceback of a process of ours; torchrun has one of its own
    left = store.of(run).load_checkpoint()
    assert (left["epoch"], left["step"]) == (3, 4)  # held in the third step, which they finished, and one more
    with Job(folder, "-m", "weightdecay", *words) as job:
        assert job.wait() == 0, job.err
        said = beginnings(job.out)
    assert said[:3] == ["continued in epoch 3", "epoch 3/4", "epoch 4/4"]
    assert said[3].startswith("finished: test perplexity")
    assert said[4:] == [f"weights {measured['commands'][0]['reference']}", f"kept in {store.of(run).path}"]
    assert [path.name for path in store.runs.iterdir()] == [run.address]
    assert [epoch.epoch for epoch in store.of(run).epochs()] == [1, 2, 3, 4]
    assert not list(store.of(run).path.glob("checkpoint*"))


def beginnings(out):
    return [line.split("  ")[0] for line in out.splitlines()]


def test_a_run_of_two_processes_is_not_for_one(measured):
    with pytest.raises(ValueError, match=r"one of 2 processes, and 1 came. Start it with torchrun --nproc-per-node 2"):
        train(worker.commanded(measured["folder"]), place=worker.PLACE)


# ---------------------------------------------------------------- the environment


def test_an_environment_of_half_a_job_is_refused(monkeypatch):
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with (
        pytest.raises(ValueError, match="WORLD_SIZE=2 is set without RANK, MASTER_ADDR, MASTER_PORT"),
        processes.joined(Place()),
    ):
        pass
    monkeypatch.setenv("WORLD_SIZE", "1")
    with processes.joined(Place()) as here:
        assert (here.rank, here.world) == (0, 1)
    assert not torch.distributed.is_initialized()
