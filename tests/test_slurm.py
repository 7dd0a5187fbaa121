"""The Slurm executor on a real Slurm: munge, a controller and a node of two cores, all in a folder and on 127.0.0.1.

Functions are defined inside the tests: so they travel by value.
"""

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest
from ports import free_ports

from weightdecay.lab.executors import Outcome, executor

PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])  # where daemons are
MISSING = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if shutil.which(name, path=PATH) is None]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(MISSING), reason=f"{', '.join(MISSING)}: not installed; on Debian: munge slurmctld slurmd slurm-client"
    ),
    pytest.mark.skipif(
        find_spec("submitit") is None, reason='submitit is not installed: pip install "weightdecay[slurm]"'
    ),
]

CONFIGURATION = Path(__file__).parent / "slurm" / "slurm.conf"
PATIENCE = 120.0
"""Seconds until a condition that must come true counts as false: the machine may be busy."""


def wait_for(condition, what):
    until = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < until, f"waited {PATIENCE:g} s in vain: {what}"
        time.sleep(0.05)
    return value


@contextlib.contextmanager
def meanwhile(function):
    """Run the function beside the block; what it raises counts."""
    raised = []

    def run():
        try:
            function()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    assert not raised, raised


def begins(folder):
    """How often each item was begun: calls leave ``item.pid`` files."""
    return Counter(int(path.name.split(".")[0]) for path in folder.glob("*.*"))


def pids(folder):
    return {int(path.name.split(".")[1]) for path in folder.glob("*.*")}


def parents():
    """Each process that runs → its parent."""
    found = {}
    for pid in (int(path.name) for path in Path("/proc").glob("[0-9]*")):
        state, parent, *_ = read(pid, "stat").rpartition(b")")[2].split() or (b"Z", 0)
        if state != b"Z":
            found[pid] = int(parent)
    return found


def read(pid, name):
    """What Linux says of a process; nothing, once it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_bytes()
    return b""


def running(pid):
    return pid in parents()


class OneNode:
    """A Slurm of our own, and what a person or an accident does to it."""

    def __init__(self, folder):
        self.folder, self.processes = folder, {}
        folder.chmod(0o711)  # munge demands it of where its socket is
        control_port, node_port = free_ports(2)
        for name in ("state", "spool"):
            (folder / name).mkdir()
        (folder / "munge.key").write_bytes(secrets.token_bytes(128))
        (folder / "munge.key").chmod(0o600)
        filled = CONFIGURATION.read_text().format(
            folder=folder,
            user=getpass.getuser(),
            host=socket.gethostname().partition(".")[0],
            control_port=control_port,
            node_port=node_port,
        )
        (folder / "slurm.conf").write_text(filled)

    def begin(self):
        folder = self.folder
        files = [f"--{name}={folder}/munge.{name.split('-')[0]}" for name in ("socket", "pid-file", "log-file")]
        self.start("munged", "--foreground", f"--key-file={folder}/munge.key", f"--seed-file={folder}/seed", *files)
        wait_for(lambda: self.alive() and (folder / "munge.socket").exists(), "munge answers")
        self.start("slurmctld", "-D")
        self.start("slurmd", "-D")
        wait_for(lambda: self.alive() and "idle" in self.ask("sinfo", "--noheader", "--format=%t"), "the node is there")

    def alive(self):
        for name, process in self.processes.items():
            assert process.poll() is None, (self.folder / f"{name}.out").read_text()
        return True

    def start(self, name, *options):
        with (self.folder / f"{name}.out").open("a") as out:
            program = shutil.which(name, path=PATH)
            self.processes[name] = subprocess.Popen(
                [program, *options], stdout=out, stderr=out, cwd=self.folder, start_new_session=True
            )

    def kill(self, name):
        self.processes[name].kill()
        self.processes[name].wait(60)

    def ask(self, *command):
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120).stdout

    def jobs(self, states="PENDING,RUNNING,COMPLETING,SUSPENDED"):
        """The jobs that are queued or running → their states."""
        said = self.ask("squeue", "--noheader", "--array", f"--states={states}", "--format=%i %T")
        return dict(line.split() for line in said.splitlines())

    def of_jobs(self):
        """Every process of our jobs, and the ones that watch over them."""
        parent_of = parents()
        ours = {pid for pid in parent_of if str(self.folder).encode() in read(pid, "environ")}
        ours |= {parent_of[pid] for pid in ours if b"slurmstepd" in read(parent_of[pid], "cmdline")}
        ours -= {os.getpid(), *(process.pid for process in self.processes.values())}
        return {pid for pid in ours if parent_of.get(pid) not in self.no_jobs()}

    def no_jobs(self):
        """Whose children are no jobs: this test, which asks, and the controller."""
        return {os.getpid(), self.processes["slurmctld"].pid, self.processes["munged"].pid}

    def stop(self):
        with contextlib.suppress(AssertionError):
            wait_for(lambda: not self.of_jobs(), "what ran has ended")
        left = self.of_jobs()
        for name, process in reversed(self.processes.items()):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill(name)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert not left, f"processes of jobs were left: {left}"


@pytest.fixture(scope="module")
def slurm():
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory(prefix="slurm-") as folder,
    ):  # short: sockets
        patch.setenv("SLURM_CONF", f"{folder}/slurm.conf")
        cluster = OneNode(Path(folder))
        try:
            cluster.begin()
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture
def on(slurm, tmp_path):
    """The executor, quick to look; no map leaves a job."""
    yield lambda **settings: executor(
        "slurm", **{"folder": tmp_path / "jobs", "minutes": 5, "poll_seconds": 0.1, "patience": 2.0, **settings}
    )
    wait_for(lambda: not slurm.jobs(), "no job is left in the queue")
    assert not list(tmp_path.glob("jobs/*/*.pkl"))


@pytest.fixture
def marks(tmp_path):
    """Where calls leave what they did."""
    (tmp_path / "marks").mkdir()
    return tmp_path / "marks"


@pytest.fixture
def continued(marks):
    """A call that goes on from what it kept: first it is endless, and keeps something when told to stop."""

    def continued(x):
        import os
        import time

        kept = marks / f"kept-{x}"
        try:
            (marks / f"{x}.{os.getpid()}").touch()  # whoever sees this may interrupt
            while not kept.exists():
                time.sleep(0.01)
        except KeyboardInterrupt:
            kept.write_text("kept")
            raise
        return kept.read_text()

    return continued


def the_running_job(slurm, marks):
    wait_for(lambda: begins(marks) == {0: 1}, "the call has begun")
    (job,) = wait_for(lambda: slurm.jobs("RUNNING"), "the job runs")
    return job


def test_every_item_has_one_outcome_and_an_exception_is_one(on, marks, monkeypatch):
    # As if this were a job itself, with limits of its own.
    for name, value in {"SLURM_JOB_ID": "1", "SLURM_CPUS_PER_TASK": "64", "SLURM_MEM_PER_CPU": "1"}.items():
        monkeypatch.setenv(name, value)

    def halve(x):
        import os

        (marks / f"{x}.{os.getpid()}").touch()
        if x % 2:
            raise ValueError(f"{x} is odd")
        return x // 2, os.environ["OMP_NUM_THREADS"]

    items = [4, 1, 2, 0, 6]
    outcomes = list(on(queued=2).map(halve, items))  # arrays of two, and single jobs
    assert sorted(outcome.item for outcome in outcomes) == sorted(items)
    assert {(o.item, o.value) for o in outcomes if o.error is None} == {(x, (x // 2, "1")) for x in (0, 2, 4, 6)}
    (error,) = [outcome.error for outcome in outcomes if outcome.item == 1]
    assert (str(error), error.attempts) == ("ValueError: 1 is odd", 1)
    assert "in halve" in error.traceback
    assert begins(marks) == dict.fromkeys(items, 1)
    assert os.environ["SLURM_JOB_ID"] == "1"


def test_a_job_of_two_cpus_has_two_threads(on):
    def threads(name):
        import os

        return os.environ[name]

    names = ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "SLURM_CPUS_PER_TASK"]
    assert {o.item: o.value for o in on(cpus=2).map(threads, names)} == dict.fromkeys(names, "2")


def test_a_requeued_job_goes_on_from_what_it_kept(slurm, on, marks, continued):
    with meanwhile(lambda: slurm.ask("scontrol", "requeue", the_running_job(slurm, marks))):
        assert list(on(retries=0).map(continued, [0])) == [Outcome(0, "kept")]
    assert begins(marks) == {0: 2}


def test_a_job_that_nears_its_time_limit_is_requeued_and_goes_on(slurm, on, marks, continued):
    def warn():  # what Slurm does then
        slurm.ask("scancel", "--signal=USR2", the_running_job(slurm, marks))

    with meanwhile(warn):
        assert list(on(retries=0).map(continued, [0])) == [Outcome(0, "kept")]
    assert begins(marks) == {0: 2}


def test_a_job_without_a_renewal_left_is_an_outcome(slurm, on, marks, continued):
    with meanwhile(lambda: slurm.ask("scancel", "--signal=USR2", the_running_job(slurm, marks))):
        (outcome,) = on(renewals=0).map(continued, [0])
    assert (outcome.error.type, outcome.error.attempts) == ("TimeLimit", 1)
    assert "minutes" in outcome.error.message
    assert begins(marks) == {0: 1}


@pytest.mark.parametrize("retries", [0, 1])
def test_a_job_whose_process_was_killed_is_submitted_again(retries, on, marks):
    def deadly(x):
        import os
        import signal

        (marks / f"{x}.{os.getpid()}").touch()
        if x == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    dead, fine = sorted(on(retries=retries).map(deadly, [0, 1]), key=lambda outcome: outcome.item)
    assert (dead.value, dead.error.type, dead.error.attempts) == (None, "Lost", retries + 1)
    assert "(FAILED) without a result; its log is" in dead.error.message
    assert fine == Outcome(1, 1)
    assert begins(marks) == {0: retries + 1, 1: 1}


def test_a_job_whose_node_died_is_begun_again(slurm, on, marks):
    def survive(x):
        import os
        import time

        (marks / f"{x}.{os.getpid()}").touch()
        while not (marks / "dead").exists():
            time.sleep(0.01)
        return -x

    def die():
        wait_for(lambda: begins(marks) == {0: 1, 1: 1}, "both have begun")
        slurm.kill("slurmd")
        for pid in slurm.of_jobs():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not any(map(running, pids(marks))), "both are dead")
        (marks / "dead").touch()
        time.sleep(6)  # sooner, Slurm takes the jobs for ones that are about to begin, and looks again in a minute
        slurm.start("slurmd", "-D")

    with meanwhile(die):
        outcomes = list(on().map(survive, [0, 1, 2]))
    assert sorted((o.item, o.value, o.error) for o in outcomes) == [(0, 0, None), (1, -1, None), (2, -2, None)]
    assert begins(marks) == {0: 2, 1: 2, 2: 1}


def test_a_job_that_somebody_cancelled_is_not_submitted_again(slurm, on, marks):
    def wait(x):
        import os
        import time

        (marks / f"{x}.{os.getpid()}").touch()
        time.sleep(600 if x == 0 else 0)
        return x

    def cancel():
        wait_for(lambda: begins(marks) == {0: 1, 1: 1}, "both have begun")
        going = wait_for(lambda: len(jobs := list(slurm.jobs("RUNNING"))) == 1 and jobs, "one goes on")
        slurm.ask("scancel", *going)

    with meanwhile(cancel):
        cancelled, fine = sorted(on().map(wait, [0, 1]), key=lambda outcome: outcome.item)
    assert (cancelled.value, cancelled.error.type, cancelled.error.attempts) == (None, "Cancelled", 1)
    assert "Somebody cancelled it" in cancelled.error.message
    assert fine == Outcome(1, 1)
    assert begins(marks) == {0: 1, 1: 1}


def test_closing_the_iterator_lets_jobs_keep_a_checkpoint_and_leaves_none(slurm, on, marks, continued):
    def endless(x):
        return x if x == 0 else continued(x)

    with contextlib.closing(on().map(endless, range(5))) as outcomes:
        assert next(outcomes).item == 0
        wait_for(lambda: len(begins(marks)) == 2, "two have begun, and two wait")
    assert not slurm.jobs()
    begun = begins(marks)
    assert {path.name for path in marks.glob("kept-*")} == {f"kept-{x}" for x in begun}
    assert not any(map(running, pids(marks)))


def test_of_a_slurm_that_is_silent_for_a_while_nothing_is_lost(slurm, on, marks):
    def wait(x):
        import atexit
        import os
        import time

        def until(name):
            while not (marks / name).exists():
                time.sleep(0.01)

        (marks / f"{x}.{os.getpid()}").touch()
        if x == 0:
            until("silent")
            atexit.register(until, "back")  # the result is there, and the job goes on
        return x

    def silence():
        controller = slurm.processes["slurmctld"]
        wait_for(lambda: begins(marks) == {0: 1}, "one has begun")
        controller.send_signal(signal.SIGSTOP)
        (marks / "silent").touch()  # now its result comes, and the next job must be submitted, into the silence
        time.sleep(8)
        controller.send_signal(signal.SIGCONT)
        (marks / "back").touch()

    with meanwhile(silence):
        assert list(on(queued=1, retries=0).map(wait, range(3))) == [Outcome(x, x) for x in range(3)]
    assert begins(marks) == {0: 1, 1: 1, 2: 1}


def test_what_slurm_does_not_take_is_an_error_at_once(slurm, on):
    with pytest.raises(RuntimeError, match=r"Slurm did not take the jobs: .*invalid partition"):
        list(on(partition="none").map(len, ["a"]))


def test_where_there_is_no_slurm_there_is_a_way_out(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r'There is no Slurm here.*"local"'):
        list(executor("slurm", folder=tmp_path).map(len, ["a"]))
