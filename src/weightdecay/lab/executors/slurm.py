"""A Slurm cluster, through submitit: a sweep is a job array, a run is one job of it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weightdecay.checks import at_least, some_text, whole_at_least
from weightdecay.lab.executors.base import EngineError, RunFailure
from weightdecay.lab.executors.workers import GRACE, Answer, Call, Lost, Workers, WorkersExecutor, work_until_sigterm
from weightdecay.whole import write_whole

ENDED = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"}
ENDED |= {"REVOKED", "TIMEOUT", "GONE"}
"""States a job does not come back from; GONE, our word, that of a job Slurm no longer speaks of."""

SILENT = re.compile(r"contact slurm controller|timed out|temporarily|Zero Bytes|Transport endpoint|Connection")
"""What sbatch says when Slurm did not answer, as opposed to: answered that it does not want the jobs."""


@dataclass(frozen=True)
class Slurm(WorkersExecutor):
    """Each run is a job of ``cpus``, ``gpus``, ``memory`` (``"8G"``) and ``minutes``.

    ``folder`` must be on a file system that the nodes share: submissions, logs and results pass through it. ``queued``
    jobs are with Slurm at a time, ``at_once`` of an array run. A job that nears its time limit keeps a checkpoint and
    is requeued, ``renewals`` times; one that is preempted or requeued by others goes on too. ``setup`` is lines of
    shell before the run (``module load cuda``), ``options`` more options of sbatch (``{"account": "lab"}``). Result
    files are looked for every ``poll_seconds``, and may need ``patience`` seconds to become visible here; Slurm itself
    is asked twice in that time.
    """

    folder: str | Path = ""
    partition: str | None = None
    minutes: int = 60
    cpus: int = 1
    gpus: int = 0
    memory: str | None = None
    at_once: int = 256
    queued: int = 1000  # MaxArraySize is 1001 where nobody changed it
    renewals: int = 10
    retries: int = 2
    setup: Sequence[str] = ()
    options: Mapping[str, str | int] = field(default_factory=dict)
    poll_seconds: float = 1.0
    patience: float = 30.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.folder, (str, Path)) or not str(self.folder):
            raise ValueError(
                f"folder={self.folder!r}: the executor 'slurm' needs a folder that this machine and the nodes share, "
                'in which its jobs write logs and results. Set one: folder="jobs".'
            )
        for setting in ("partition", "memory"):
            if getattr(self, setting) is not None:
                some_text(setting, getattr(self, setting), "Omit it to use Slurm's default.")
        whole_at_least("minutes", self.minutes, 1, "It is the time limit of a job.")
        whole_at_least("cpus", self.cpus, 1, "It is the number that one run takes.")
        whole_at_least("gpus", self.gpus, 0, "It is the number that one run takes.")
        whole_at_least("at_once", self.at_once, 1, "It is the number of jobs of an array that run at the same time.")
        whole_at_least("queued", self.queued, 1, "It is the number of jobs that are submitted to Slurm at a time.")
        whole_at_least("renewals", self.renewals, 0, "It is how often a job at its time limit is requeued.")
        at_least("poll_seconds", self.poll_seconds, 0.01, "It is the time between two looks for results.")
        at_least("patience", self.patience, 0.01, "It is the time a result file needs to become visible.")
        if isinstance(self.setup, str) or not all(isinstance(line, str) for line in self.setup):
            raise ValueError(f"setup={self.setup!r}: must be a list of lines of shell, such as ['module load cuda'].")
        if not isinstance(self.options, Mapping):
            raise ValueError(f"options={self.options!r}: must be names and values, such as {{'account': 'lab'}}.")

    def open(self) -> Workers:
        """Return what submits.

        Raises: EngineError, where there is no Slurm.
        """
        if not shutil.which("sbatch") or not shutil.which("srun"):
            raise EngineError(
                "There is no Slurm here: sbatch and srun are not on the PATH. "
                'Start the sweep where jobs are submitted, or use the executor "local".'
            )
        return Jobs(self)


class Continued:
    """The call as submitit takes it: one that may be cut off and begun again, because the run keeps its checkpoints."""

    def __call__(self, function: Path, item: bytes) -> bytes:
        """Compute it. SIGUSR2, before the time limit, stops it as SIGTERM does; then the job is requeued."""
        import cloudpickle
        from submitit.core.utils import UncompletedJobError

        requeue: Any = signal.getsignal(signal.SIGUSR2)  # submitit's
        nears_limit = False

        def stop(*_: object) -> None:
            nonlocal nears_limit
            nears_limit = True
            signal.raise_signal(signal.SIGTERM)

        signal.signal(signal.SIGUSR2, stop)
        try:
            return work_until_sigterm(function.read_bytes(), item)
        except BaseException:
            if not nears_limit:
                raise
        try:
            requeue(signal.SIGUSR2, None)  # leaves the process, if the job has a renewal left
        except UncompletedJobError:
            said = "not finished when the job had been renewed as often as it may: give more minutes, or more renewals"
            return bytes(cloudpickle.dumps((None, RunFailure("TimeLimit", said))))
        raise AssertionError("submitit requeued the job and did not leave it")

    def checkpoint(self, function: Path, item: bytes) -> Any:
        """Return what the job is when it is begun again: submitit asks."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, function, item)


class Jobs(Workers):
    """Jobs with a name of their own, by which they are asked for and cancelled, and a folder of that name."""

    def __init__(self, settings: Slurm) -> None:
        from submitit import SlurmExecutor  # by its name: AutoExecutor takes whatever cluster it believes to see

        self.settings = settings
        self.name = f"weightdecay-{uuid.uuid4().hex[:8]}"
        self.folder = Path(settings.folder).expanduser().absolute() / self.name
        self.function = self.folder / "function.pkl"
        self.going: dict[Any, Call] = {}
        self.unsure = False  # whether Slurm may have jobs of ours that it did not tell us of
        self.ended: dict[Any, float] = {}  # when a job without a result was first seen to have ended
        self.next_question = 0.0
        self.slurm = SlurmExecutor(self.folder, max_num_timeout=settings.renewals)
        self.slurm.update_parameters(
            job_name=self.name,
            time=settings.minutes,
            cpus_per_task=settings.cpus,
            array_parallelism=settings.at_once,
            signal_delay_s=min(90, 15 * settings.minutes),
            setup=[
                f"export OMP_NUM_THREADS={settings.cpus} MKL_NUM_THREADS={settings.cpus}",
                "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK",  # since 22.05 srun does not take it from sbatch
                *settings.setup,
            ],
            additional_parameters={"requeue": True, **_asked_for(settings)},
        )

    def room(self) -> int:
        """A long sweep comes in arrays of at least half the allowed size; a lost job need not wait for one."""
        most = self.settings.queued
        return most - len(self.going) if len(self.going) <= most // 2 else 0

    def start(self, calls: Sequence[Call]) -> None:
        """Submit one array. The function, which may hold data, is written once and not with every job.

        Raises: EngineError, where Slurm does not want the jobs, or does not answer the very first time.
        """
        first = not self.function.exists()
        if first:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self.function, calls[0].function)
        unsure, self.unsure = self.unsure, True  # a Ctrl-C from here on may leave jobs that we do not know
        while (jobs := self._submitted(calls, first)) is None:
            unsure = True
            while self._states() is None:
                time.sleep(self.settings.poll_seconds)
        self.going.update(zip(jobs, calls, strict=True))
        self.unsure = unsure

    def _submitted(self, calls: Sequence[Call], first: bool) -> list[Any] | None:
        """Return the jobs; None, where Slurm did not answer.

        If it took them all the same, they find nothing to compute: submitit gives a job its call once it knows its id.
        """
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        try:
            with _outside_of_any_job(), self.slurm.batch():
                return [self.slurm.submit(Continued(), self.function, call.item) for call in calls]
        except (FailedJobError, FailedSubmissionError) as error:
            if first or not SILENT.search(str(error)):
                raise EngineError(f"Slurm did not take the jobs: {str(error).strip()}") from None
            return None

    def finished(self) -> list[tuple[Call, Answer]]:
        """Look for result files; now and then, ask Slurm about the jobs that have none."""
        while not (done := self._with_result() or self._without_result()):
            time.sleep(self.settings.poll_seconds)
        for job in done:
            self.ended.pop(job, None)
        return [(self.going.pop(job), answer) for job, answer in done.items()]

    def _with_result(self) -> dict[Any, Answer]:
        # One listing of the folder: it is also what makes a network file system look again.
        there = {path.name for path in self.folder.iterdir()}
        return {job: _result(job) for job in self.going if job.paths.result_pickle.name in there}

    def _without_result(self) -> dict[Any, Answer]:
        now = time.monotonic()
        if now < self.next_question:
            return {}
        self.next_question = now + self.settings.patience / 2
        states = self._states()
        if states is None:
            return {}
        for job in self.going:
            if states.get(job.job_id, "GONE") not in ENDED:
                self.ended.pop(job, None)  # requeued
            else:
                self.ended.setdefault(job, now)
        late = [job for job, since in self.ended.items() if now - since >= self.settings.patience]
        return {job: _lost(job, states.get(job.job_id, "GONE")) for job in late}

    def _states(self) -> dict[str, str] | None:
        """Return the states of our jobs, by id; None if Slurm does not answer: then nothing is known, nothing is lost.

        squeue and not sacct, which answers only where somebody set up accounting.
        """
        command = ["squeue", f"--name={self.name}", "--noheader", "--array", "--states=all", "--format=%i %T"]
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
        if asked.returncode:
            return None
        return dict(line.split(maxsplit=1) for line in asked.stdout.splitlines())

    def close(self) -> None:
        """Cancel what is queued or running. Slurm gives it SIGTERM first, and time to keep a checkpoint."""
        try:
            if self.going or self.unsure:
                self._cancel()
        finally:
            for pickled in self.folder.glob("*.pkl"):  # what stays are the logs
                pickled.unlink(missing_ok=True)

    def _cancel(self) -> None:
        cancelled, until = False, time.monotonic() + GRACE
        while time.monotonic() < until:
            # Once: a second SIGTERM would end a run that is keeping its checkpoint.
            cancel = ["scancel", f"--name={self.name}"]
            cancelled = cancelled or subprocess.run(cancel, check=False, capture_output=True).returncode == 0
            states = self._states() if cancelled else None
            if states is not None and set(states.values()) <= ENDED:
                return
            time.sleep(min(self.settings.poll_seconds, 1.0))
        if not cancelled:
            warnings.warn(
                f"Slurm does not answer, so jobs may go on. Once it does: scancel --name={self.name}", stacklevel=2
            )


def _asked_for(settings: Slurm) -> dict[str, str | int]:
    """Return the options of sbatch that are only given where they are asked for: a cluster without GPUs refuses 0."""
    named = {"partition": settings.partition, "mem": settings.memory, "gpus-per-node": settings.gpus}
    return {**{name: value for name, value in named.items() if value}, **settings.options}


@contextlib.contextmanager
def _outside_of_any_job() -> Iterator[None]:
    """Hide the job that this process may itself be: sbatch would hand its limits down to ours."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("SLURM_")}
    try:
        with contextlib.suppress(KeyError):
            os.environ["SLURM_CONF"] = hidden["SLURM_CONF"]  # not the job's: where Slurm is
        yield
    finally:
        os.environ.update(hidden)


def _result(job: Any) -> Answer:
    try:
        return bytes(job.result())
    except Exception as failure:
        return RunFailure(type(failure).__name__, str(failure))


def _lost(job: Any, state: str) -> Answer:
    said = f"Slurm's job {job.job_id} ended ({state}) without a result; its log is {job.paths.stderr}"
    if state == "CANCELLED":
        return RunFailure("Cancelled", f"{said}. Somebody cancelled it, so it is not submitted again.")
    return Lost(said)
