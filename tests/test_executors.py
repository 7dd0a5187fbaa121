"""One table of executors, one set of laws: every item comes out once, whatever happens to the workers.

Functions are defined inside the tests: so they travel by value, as a user's own do.
"""

import contextlib
import importlib.util
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest
from lab import started

from weightdecay.lab.executors import Outcome, RunFailure, executor

WITH_WORKERS = {"local": {"jobs": 2}, "gpus": {"gpus": 2}}
TABLE = {"here": {}, **WITH_WORKERS}

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _no_cards_given(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def begins(folder):
    """How often each item was begun: calls leave ``item.pid`` files."""
    return Counter(int(path.name.split(".")[0]) for path in folder.iterdir())


def alive(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] != "Z"  # a zombie waits for its parent, it does not run
    return False


def gone(pids, seconds=30):
    until = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    return not any(map(alive, pids))


@pytest.mark.parametrize("name", TABLE)
def test_every_item_has_one_outcome_and_an_exception_is_one(name):
    def halve(x):
        import os
        import sys

        if x % 2:
            raise ValueError(f"{x} is odd")
        if x and "torch" not in sys.modules:  # one worker asks torch, whose import takes seconds
            return x // 2, int(os.environ["OMP_NUM_THREADS"])
        import torch

        return x // 2, torch.get_num_threads()

    items = [4, 1, 2, 4, 0, 6]
    outcomes = list(executor(name, **TABLE[name]).map(halve, items))
    assert Counter(outcome.item for outcome in outcomes) == Counter(items)
    assert {(o.item, o.value) for o in outcomes if o.error is None} == {(x, (x // 2, 1)) for x in (0, 2, 4, 6)}
    (error,) = [outcome.error for outcome in outcomes if outcome.item == 1]
    assert (error.type, error.message, error.attempts) == ("ValueError", "1 is odd", 1)
    assert "in halve" in error.traceback
    assert str(error) == "ValueError: 1 is odd"


@pytest.mark.parametrize("name", TABLE)
def test_of_no_items_there_are_no_outcomes(name):
    assert list(executor(name, **TABLE[name]).map(len, [])) == []


@pytest.mark.parametrize("name", WITH_WORKERS)
def test_exactly_the_call_whose_worker_was_killed_is_begun_again(name, tmp_path):
    def fragile(x):
        import os
        import signal

        first = not any(path.name.startswith(f"{x}.") for path in tmp_path.iterdir())
        (tmp_path / f"{x}.{os.getpid()}").touch()
        if x == 3 and first:
            os.kill(os.getpid(), signal.SIGKILL)
        return -x

    items = list(range(8))
    outcomes = list(executor(name, **WITH_WORKERS[name]).map(fragile, items))
    assert sorted((o.item, o.value, o.error) for o in outcomes) == [(x, -x, None) for x in items]
    assert begins(tmp_path) == {x: 2 if x == 3 else 1 for x in items}


@pytest.mark.parametrize("retries", [0, 2])
def test_a_call_that_kills_every_worker_is_an_outcome_at_last(retries, tmp_path):
    def deadly(x):
        import os
        import signal

        (tmp_path / f"{x}.{os.getpid()}").touch()
        if x == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    dead, *fine = sorted(executor("local", jobs=2, retries=retries).map(deadly, range(5)), key=lambda o: o.item)
    assert dead.value is None
    assert (dead.error.type, dead.error.attempts) == ("Lost", retries + 1)
    assert "SIGKILL" in dead.error.message
    assert fine == [Outcome(x, x) for x in range(1, 5)]
    assert begins(tmp_path) == {0: retries + 1, 1: 1, 2: 1, 3: 1, 4: 1}


def test_what_comes_from_outside_is_a_loss_and_what_cannot_travel_an_error():
    def leave(x):
        import os
        import signal
        import sys
        import threading

        def stop(*_):
            sys.exit(3)

        if x == 0:
            raise KeyboardInterrupt  # as a run that was told to stop leaves
        if x == 1:
            signal.signal(signal.SIGTERM, stop)
            os.kill(os.getpid(), signal.SIGTERM)
        if x == 2:
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            except KeyboardInterrupt:
                stop()
        return threading.Lock()

    *left, bound = sorted(executor("local", jobs=1, retries=1).map(leave, range(4)), key=lambda o: o.item)
    assert [outcome.error for outcome in left] == [
        RunFailure("Lost", f"the worker was stopped from outside ({name})", attempts=2)
        for name in ("KeyboardInterrupt", "SystemExit", "SystemExit")
    ]
    assert bound.error.type == "TypeError"
    with pytest.raises(TypeError, match="pickle"):
        executor("local").map(leave, [threading.Lock()])


def test_a_call_that_exits_of_its_own_accord_has_failed_and_is_not_begun_again(tmp_path):
    def leave(x):
        import os
        import sys

        (tmp_path / f"{x}.{os.getpid()}").touch()
        sys.exit("the data file is missing")

    (left,) = executor("local", jobs=1).map(leave, [0])
    assert str(left.error) == "SystemExit: the data file is missing"
    assert "in leave" in left.error.traceback
    assert begins(tmp_path) == {0: 1}


@pytest.mark.parametrize("name", WITH_WORKERS)
def test_closing_the_iterator_lets_calls_keep_a_checkpoint_and_leaves_no_worker(name, tmp_path):
    def endless(x):
        import os
        import signal
        import sys
        import time

        def keep(*_):
            (tmp_path / f"{x}.kept").touch()
            sys.exit(0)

        if x == 1:  # one that listens itself, as the lab's loop does; what does not is interrupted
            signal.signal(signal.SIGTERM, keep)
        try:
            (tmp_path / f"{x}.{os.getpid()}").touch()  # whoever sees this may interrupt
            while x or len(list(tmp_path.iterdir())) < 2:  # 0 ends when 1 has begun; then 2 begins
                time.sleep(0.01)
        except KeyboardInterrupt:
            keep()

    with contextlib.closing(executor(name, **WITH_WORKERS[name]).map(endless, [0, 1, 2])) as outcomes:
        assert next(outcomes).item == 0
        while len(begins(tmp_path)) < 3:
            time.sleep(0.01)
        pids = {int(path.suffix[1:]) for path in tmp_path.iterdir()}
    assert len(pids) == 2
    assert not any(map(alive, pids))
    assert {path.name for path in tmp_path.glob("*.kept")} == {"1.kept", "2.kept"}


def test_a_worker_that_died_idle_is_replaced(tmp_path):
    def wait(x):
        import os
        import time

        (tmp_path / f"{x}.{os.getpid()}").touch()
        while x == 1 and not (tmp_path / "9.go").exists():
            time.sleep(0.01)
        return -x

    def kill(x):
        (path,) = tmp_path.glob(f"{x}.*")
        os.kill(int(path.suffix[1:]), signal.SIGKILL)
        assert gone([int(path.suffix[1:])])

    with contextlib.closing(executor("local", jobs=2, retries=2).map(wait, [0, 1])) as outcomes:
        assert next(outcomes) == Outcome(0, 0)
        while len(begins(tmp_path)) < 2:
            time.sleep(0.01)
        kill(0)  # it has nothing to do; what is lost next is given to it
        kill(1)
        (tmp_path / "9.go").touch()
        assert list(outcomes) == [Outcome(1, -1)]


DRIVER = """
import os, pathlib, signal, sys, time
from weightdecay.lab.executors import executor
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have told its children to ignore it
folder = pathlib.Path(sys.argv[1])
class Named:  # of __main__, which nothing guards
    def __init__(self, value): self.value = value
def wait(named):
    (folder / f"{named.value}.{os.getpid()}").touch()
    time.sleep(600 if named.value else 0)
    return Named(named.value)
for outcome in executor("local", jobs=2).map(wait, [Named(x) for x in range(4)]):
    assert isinstance(outcome.value, Named), outcome
    print("first", flush=True)
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGKILL, -signal.SIGKILL)])
def test_no_worker_outlives_the_driver(number, status, tmp_path):
    with started(
        [sys.executable, "-c", DRIVER, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as driver:
        assert driver.stdout.readline() == "first\n", driver.stderr.read()
        while len(begins(tmp_path)) < 3:
            time.sleep(0.01)
        driver.send_signal(number)
        said = driver.communicate(timeout=30)[1]
    assert driver.returncode == status
    assert gone({int(path.suffix[1:]) for path in tmp_path.iterdir()})
    assert ("KeyboardInterrupt" in said) == (number == signal.SIGINT)
    assert begins(tmp_path) == {0: 1, 1: 1, 2: 1}


LOADER = """
import os, pathlib, signal, sys, time
from weightdecay.lab.executors import executor
signal.signal(signal.SIGINT, signal.default_int_handler)
folder = pathlib.Path(sys.argv[1])
class Slow:
    def __len__(self): return 10_000
    def __getitem__(self, index):
        (folder / f"{index}.{os.getpid()}").touch()
        time.sleep(0.05)
        return index
def read(x):
    from torch.utils.data import DataLoader  # the driver needs no torch, whose import takes seconds
    (folder / f"{-x}.{os.getpid()}").touch()
    for _ in DataLoader(Slow(), batch_size=1, num_workers=1): pass
list(executor("local", jobs=1).map(read, [1]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_of_a_worker_outlives_the_driver(number, tmp_path):
    with started([sys.executable, "-c", LOADER, str(tmp_path)], stderr=subprocess.DEVNULL) as driver:
        while len(begins(tmp_path)) < 4 and driver.poll() is None:
            time.sleep(0.01)
        driver.send_signal(number)
        assert driver.wait(timeout=30) == -number
    pids = {int(path.suffix[1:]) for path in tmp_path.iterdir()}
    assert len(pids) == 2
    assert gone(pids)


@pytest.mark.parametrize("given", [None, "5,GPU-7a"])
def test_every_place_on_every_card_is_used_and_none_twice(given, tmp_path, monkeypatch):
    if given:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)

    def card(x):
        import os
        import time

        (tmp_path / f"{x}.{os.getpid()}").touch()
        while len(list(tmp_path.iterdir())) < 4:  # no call ends before four run together
            time.sleep(0.01)
        return os.environ["CUDA_VISIBLE_DEVICES"], os.getpid()

    used = {outcome.value for outcome in executor("gpus", gpus=2, per_gpu=2).map(card, range(4))}
    assert Counter(card for card, _ in used) == dict.fromkeys((given or "0,1").split(","), 2)
    assert len({pid for _, pid in used} - {os.getpid()}) == 4


def test_without_a_card_there_is_a_way_out(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(RuntimeError, match=r'No GPU is visible.*"local"'):
        next(executor("gpus").map(len, ["a"]))


JOBS = {"folder": "jobs"}
WRONG = [
    ("lokal", {}, "no executor is called 'lokal'. Did you mean 'local'?"),
    ("local", {"job": 2}, "no setting of the executor 'local' is called 'job'. Did you mean 'jobs'?"),
    ("here", {"jobs": 2}, "no setting of the executor 'here' is called 'jobs'"),
    ("local", {"jobs": 0}, "jobs=0: must be an integer of at least 1. Omit it to use one worker per available core."),
    ("local", {"jobs": "2"}, "jobs='2': must be an integer of at least 1."),
    ("local", {"jobs": True}, "jobs=True: must be an integer of at least 1."),
    ("local", {"retries": -1}, "retries=-1: must be an integer of at least 0."),
    ("local", {"retries": None}, "retries=None: must be an integer of at least 0."),
    ("gpus", {"per_gpu": 0}, "per_gpu=0: must be an integer of at least 1."),
    ("gpus", {"gpus": "all"}, "gpus='all': must be an integer of at least 1. Omit it to use every visible card."),
    ("gpus", {"gpus": 3}, "gpus=3 cannot be used. CUDA_VISIBLE_DEVICES=0,1 makes 2 visible."),
    ("ray", {"cpus": "2"}, "cpus='2': must be a number of at least 0. It is the number that one run takes."),
    ("ray", {"cpus": 0}, "cpus=0: a node would then begin every run at once."),
    ("ray", {"gpus": float("nan")}, "gpus=nan: must be a number of at least 0."),
    ("ray", {"address": 6379}, 'address=6379: must be a text. Write "host:port", or "auto"'),
    ("slurm", {}, "folder='': the executor 'slurm' needs a folder that this machine and the nodes share"),
    ("slurm", {"folder": 7}, "folder=7: the executor 'slurm' needs a folder"),
    ("slurm", {**JOBS, "minutes": 0}, "minutes=0: must be an integer of at least 1. It is the time limit of a job."),
    ("slurm", {**JOBS, "cpus": "4"}, "cpus='4': must be an integer of at least 1."),
    ("slurm", {**JOBS, "memory": 8}, "memory=8: must be a text. Omit it to use Slurm's default."),
    ("slurm", {**JOBS, "setup": "module load cuda"}, "setup='module load cuda': must be a list of lines of shell"),
    ("slurm", {**JOBS, "options": ["account"]}, "options=['account']: must be names and values"),
    ("slurm", {**JOBS, "patience": 0}, "patience=0: must be a number of at least 0.01."),
]


@pytest.mark.parametrize(("name", "settings", "message"), WRONG, ids=[message for *_, message in WRONG])
def test_a_mistake_is_named_with_the_way_out(name, settings, message, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(ValueError, match=re.escape(message)):
        executor(name, **settings)


@pytest.mark.parametrize(
    ("name", "settings", "extra"), [("local", {}, "lab"), ("ray", {}, "ray"), ("slurm", JOBS, "slurm")]
)
def test_an_engine_that_is_not_there_names_its_extra(name, settings, extra, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ImportError, match=rf"{name}.*pip install \"weightdecay\[{extra}\]\""):
        executor(name, **settings)
