"""The Ray executor on a real cluster: two nodes of one CPU each, as processes of this machine, with a token.

Everything listens on 127.0.0.1 only. Functions are defined inside the tests: so they travel by value.
"""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest
from ports import free_ports

from weightdecay.lab.executors import Outcome, executor

pytestmark = [
    # Not importorskip: Ray reads the token's environment when it is imported, which is in the fixture.
    pytest.mark.skipif(find_spec("ray") is None, reason='Ray is not installed: pip install "weightdecay[ray]"'),
    pytest.mark.slow,
]

LOOPBACK = """
import sys
from ray._private import services
# Ray puts the machine's own address where it reads 127.0.0.1, and would then be open to the network.
services.get_node_ip_address = lambda address=None: "127.0.0.1"
"""
IN_THE_BACKGROUND = """
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell starts what it starts in the background
"""
NODE = f"{LOOPBACK}{IN_THE_BACKGROUND}\nfrom ray.scripts.scripts import main\nsys.exit(main())"
PATIENCE = 120.0
"""Seconds until a condition that must come true counts as false: the machine may be busy."""


def wait_for(condition, what):
    until = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < until, f"waited {PATIENCE:g} s in vain: {what}"
        time.sleep(0.05)
    return value


def parents():
    """Each process that runs → its parent."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                found[int(stat.parent.name)] = int(parent)
    return found


def family(pid):
    """The process and all that descend from it."""
    found, parent_of = {pid}, parents()
    while more := {child for child, parent in parent_of.items() if parent in found} - found:
        found |= more
    return found & parent_of.keys()


def gone(pids):
    return not set(pids) & parents().keys()


def kill(pid):
    with contextlib.suppress(ProcessLookupError):  # it may have gone with its parent
        os.kill(pid, signal.SIGKILL)


def begins(folder):
    """How often each item was begun: calls leave ``item.pid`` files, with a moment where a worker can come twice."""
    return Counter(int(path.name.split(".")[0]) for path in folder.glob("*.*"))


class Cluster:
    """A head and another node, each a process with children."""

    def __init__(self, folder, environment):
        self.folder, self.environment, self.ours = folder, environment, set()
        (port,) = free_ports(1)
        self.address = f"127.0.0.1:{port}"
        self.head = self.start("head", "--head", f"--port={port}", f"--temp-dir={folder}", "--include-dashboard=false")
        self.other = None

    def start(self, name, *options):
        log = self.folder / f"{name}.log"
        command = [sys.executable, "-c", NODE, "start", "--block", "--node-ip-address=127.0.0.1", *options]
        command += ["--num-cpus=1", "--num-gpus=0", f"--object-store-memory={80 * 2**20}", "--disable-usage-stats"]
        command += ["--include-log-monitor=false", "--dashboard-agent-listen-port=0"]
        with log.open("w") as out:
            process = subprocess.Popen(
                command, stdout=out, stderr=out, env=self.environment, cwd=self.folder, start_new_session=True
            )
        self.ours.add(process.pid)
        wait_for(lambda: "Ray runtime started" in log.read_text() or process.poll() is not None, f"{name} starts")
        assert process.poll() is None, log.read_text()
        self.ours |= family(process.pid)
        return process

    def join(self):
        """Have two nodes."""
        if self.other is None:
            self.other = self.start("other", f"--address={self.address}")

    def lose(self):
        """SIGKILL to everything of the second node."""
        members = family(self.other.pid)
        for pid in members:
            kill(pid)
        self.other.wait(PATIENCE)
        self.other = None
        wait_for(lambda: gone(members), "the node is dead")

    def stop(self):
        for node in filter(None, (self.other, self.head)):
            self.ours |= family(node.pid)
            node.terminate()
        for node in filter(None, (self.other, self.head)):
            with contextlib.suppress(subprocess.TimeoutExpired):
                node.wait(20)
        for pid in self.ours & parents().keys():
            kill(pid)
        for node in filter(None, (self.other, self.head)):
            node.wait(PATIENCE)
        wait_for(lambda: gone(self.ours), "no process of the cluster is left")


@pytest.fixture(scope="module")
def lone():
    """The cluster, with whatever nodes it has."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="ray-") as folder:  # short: sockets
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_TMPDIR", folder)
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setattr("ray._private.services.get_node_ip_address", lambda address=None: "127.0.0.1")
        cluster = Cluster(Path(folder), dict(os.environ))
        try:
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture
def cluster(lone):
    """Both nodes."""
    lone.join()
    yield lone
    assert lone.head.poll() is None  # no map takes the cluster down


@pytest.fixture
def on_cluster(cluster):
    return executor("ray", address=cluster.address)


def test_every_item_has_one_outcome_and_an_exception_is_one(on_cluster, tmp_path):
    def halve(x):
        import os

        (tmp_path / f"{x}.{os.getpid()}").touch()
        if x % 2:
            raise ValueError(f"{x} is odd")
        return x // 2, os.environ["OMP_NUM_THREADS"]

    items = list(range(8))
    outcomes = list(on_cluster.map(halve, items))
    assert sorted(outcome.item for outcome in outcomes) == items
    assert {(o.item, o.value) for o in outcomes if o.error is None} == {(x, (x // 2, "1")) for x in items[::2]}
    (error,) = [outcome.error for outcome in outcomes if outcome.item == 1]
    assert (str(error), error.attempts) == ("ValueError: 1 is odd", 1)
    assert "in halve" in error.traceback
    assert begins(tmp_path) == dict.fromkeys(items, 1)


def test_both_nodes_are_used(on_cluster, tmp_path):
    def where(x):
        import time

        import ray

        node = ray.get_runtime_context().get_node_id()
        (tmp_path / node).touch()
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.01)  # no call ends before both have one
        return node

    outcomes = list(on_cluster.map(where, range(4)))
    assert sorted(outcome.item for outcome in outcomes) == [0, 1, 2, 3]
    assert len({outcome.value for outcome in outcomes}) == 2


def test_of_no_items_there_are_no_outcomes():
    assert list(executor("ray", address="127.0.0.1:1").map(len, [])) == []


@pytest.mark.parametrize("retries", [0, 1])
def test_a_call_that_kills_every_worker_is_an_outcome_at_last(retries, cluster, tmp_path):
    def deadly(x):
        import os
        import signal

        (tmp_path / f"{x}.{os.getpid()}").touch()
        if x == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    on = executor("ray", address=cluster.address, retries=retries)
    dead, *fine = sorted(on.map(deadly, range(3)), key=lambda outcome: outcome.item)
    assert (dead.value, dead.error.type, dead.error.attempts) == (None, "Lost", retries + 1)
    assert fine == [Outcome(1, 1), Outcome(2, 2)]
    assert begins(tmp_path) == {0: retries + 1, 1: 1, 2: 1}


def test_what_comes_from_outside_is_a_loss_and_an_exit_of_its_own_a_failure(on_cluster, tmp_path):
    def leave(x):
        import os
        import signal
        import sys
        import time

        first = not list(tmp_path.glob(f"{x}.*"))
        (tmp_path / f"{x}.{os.getpid()}.{time.monotonic_ns()}").touch()  # the same worker may have it again
        if first and x == 0:
            raise KeyboardInterrupt  # as the lab's loop leaves when it was told to stop
        if first and x == 1:
            os.kill(os.getpid(), signal.SIGTERM)  # Ray's own handler exits
        if x == 2:
            sys.exit("the data file is missing")
        return x

    *lost, left = sorted(on_cluster.map(leave, range(3)), key=lambda o: o.item)
    assert lost == [Outcome(x, x) for x in range(2)]
    assert str(left.error) == "SystemExit: the data file is missing"
    assert begins(tmp_path) == {0: 2, 1: 2, 2: 1}


def test_closing_the_iterator_lets_calls_keep_a_checkpoint_and_leaves_no_task(on_cluster, tmp_path):
    def endless(x):
        import os
        import time

        try:
            (tmp_path / f"{x}.{os.getpid()}").touch()  # whoever sees this may interrupt
            while x or len(list(tmp_path.iterdir())) < 2:
                time.sleep(0.01)
        except KeyboardInterrupt:
            (tmp_path / f"kept-{x}").touch()
            raise

    with contextlib.closing(on_cluster.map(endless, range(6))) as outcomes:
        assert next(outcomes).item == 0
        wait_for(lambda: len(begins(tmp_path)) == 3, "a call takes the place of the first")
    begun = begins(tmp_path)
    assert {path.name for path in tmp_path.glob("kept-*")} == {f"kept-{x}" for x in begun if x}
    assert len(begun) == 3
    pids = {int(path.name.split(".")[1]) for path in tmp_path.glob("*.*")}
    wait_for(lambda: gone(pids), "no worker is left")
    assert begins(tmp_path) == begun


def test_a_call_that_does_not_listen_is_killed(on_cluster, tmp_path, monkeypatch):
    monkeypatch.setattr("weightdecay.lab.executors.ray.GRACE", 1.0)

    def deaf(x):
        import os
        import time

        (tmp_path / f"{x}.{os.getpid()}").touch()
        while x:
            with contextlib.suppress(KeyboardInterrupt):
                time.sleep(0.01)

    with contextlib.closing(on_cluster.map(deaf, [0, 1])) as outcomes:
        assert next(outcomes).item == 0
        wait_for(lambda: len(begins(tmp_path)) == 2, "both have begun")
    wait_for(lambda: gone(int(path.name.split(".")[1]) for path in tmp_path.glob("*.*")), "no worker is left")


def test_what_no_node_can_give_is_said(cluster, monkeypatch):
    from weightdecay.lab.executors.ray import RayWorkers

    interrupt = threading.Timer(1.0, lambda: signal.raise_signal(signal.SIGINT))
    wait = RayWorkers.finished
    # Not before it waits: Ray, while it connects, may swallow the exception.
    monkeypatch.setattr(RayWorkers, "finished", lambda workers: (interrupt.start(), wait(workers))[1])
    warned = pytest.warns(UserWarning, match=r"No node .* cpus=64 and gpus=0")
    outcomes = executor("ray", address=cluster.address, cpus=64).map(len, ["a"])
    with contextlib.closing(outcomes), warned, pytest.raises(KeyboardInterrupt):
        next(outcomes)


def test_the_calls_of_a_node_that_died_are_begun_again_on_another(cluster, on_cluster, tmp_path):
    def survive(x):
        import os
        import time

        (tmp_path / f"{x}.{os.getpid()}").touch()
        while not (tmp_path / "dead").exists():
            time.sleep(0.01)
        return -x

    def lose():
        wait_for(lambda: len(begins(tmp_path)) == 2, "a call on each node")
        try:
            cluster.lose()
        finally:
            (tmp_path / "dead").touch()

    killer = threading.Thread(target=lose)
    killer.start()
    items = list(range(6))
    outcomes = list(on_cluster.map(survive, items))
    killer.join()
    assert sorted((o.item, o.value, o.error) for o in outcomes) == [(x, -x, None) for x in items]
    assert sorted(begins(tmp_path).values()) == [1, 1, 1, 1, 1, 2]
    # One node is left, and it goes on for whoever comes.
    assert list(on_cluster.map(len, ["ab"])) == [Outcome("ab", 2)]


def driver(environment, address):
    code = f"{LOOPBACK}\nfrom weightdecay.lab.executors import executor\n"
    code += f'for outcome in executor("ray", address={address!r}).map(len, ["ab", "c"]): print(outcome)'
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_without_the_token_there_is_an_error_and_no_hang(lone):
    asked = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    asked |= {"HOME": str(lone.folder), "RAY_NUM_REDIS_GET_RETRIES": "2"}  # a home without a token
    others = [
        driver(asked, lone.address),
        driver({**asked, "RAY_AUTH_MODE": "token"}, lone.address),
        driver({**asked, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}, lone.address),
    ]
    for other in others:
        out, said = other.communicate(timeout=PATIENCE)
        assert other.returncode == 1
        assert out == ""
        last = said.strip().splitlines()[-1]
        assert "EngineError: No Ray cluster at address=" in last, said
        assert "set RAY_AUTH_MODE=token and the same RAY_AUTH_TOKEN" in last


def test_without_an_address_ray_runs_on_this_machine_as_long_as_the_map(lone):
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        # The last is what keeps Ray's own instance, too, on 127.0.0.1: it takes the way of other systems.
        own = driver({**os.environ, "RAY_TMPDIR": folder, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}, None)
        members = set()
        while own.poll() is None:
            members |= family(own.pid)
            time.sleep(0.5)
        out, said = own.communicate(timeout=PATIENCE)
        assert own.returncode == 0, said
        assert sorted(out.splitlines()) == sorted(str(Outcome(item, len(item))) for item in ("ab", "c"))
        assert len(members) > 3  # the driver, and daemons of Ray's
        wait_for(lambda: gone(members), "nothing of Ray is left")
