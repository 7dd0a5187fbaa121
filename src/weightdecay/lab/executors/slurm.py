"""A Slurm cluster, through submitit: a sweep is a job array, a run is one job of it."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weightdecay.lab.executors.base import RunFailure
from weightdecay.lab.executors.workers import GRACE, Answer, Call, Lost, Workers, WorkersExecutor, work

ARRAY = 1000
"""Jobs in an array at most: Slurm's MaxArraySize is 1001 where nobody changed it."""

ENDED = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"}
ENDED |= {"REVOKED", "TIMEOUT", "GONE"}
"""States a job does not come back from; GONE, our word, that of a job Slurm no longer speaks of."""


@dataclass(frozen=True)
class Slurm(WorkersExecutor):
    """Each run is a job of ``cpus``, ``gpus``, ``memory`` (``"8G"``) and ``minutes``, ``at_once`` of an array at
    once.

    ``folder`` must be on a file system that the nodes share: submissions, logs and results pass through it. A job that
    reaches its time limit is requeued, ``renewals`` times, and the run goes on from its checkpoint; one that is
    preempted or requeued by others goes on too. ``setup`` is lines of shell before the run (``module load cuda``),
    ``options`` more options of sbatch (``{"account": "lab", "qos": "low"}``). ``patience``: seconds that a result file
    of a job which has ended may need to become visible here.
    """

    folder: str | Path
    partition: str | None = None
    minutes: int = 60
    cpus: int = 1
    gpus: int = 0
    memory: str | None = None
    at_once: int = 256
    renewals: int = 10
    retries: int = 2
    setup: Sequence[str] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    poll_seconds: float = 1.0
    patience: float = 30.0

    def open(self) -> Workers:
        """Return what submits.

        Raises: RuntimeError, where there is no Slurm.
        """
        return Jobs(self)


class Continued:
    """The call as submitit takes it: one that may be cut off and begun again, because the run keeps its checkpoints."""

    def __call__(self, function: Path, item: bytes) -> bytes:
        """Compute it."""
        return work(function.read_bytes(), item)

    def checkpoint(self, function: Path, item: bytes) -> Any:
        """Return what the job is when it is begun again (submitit asks, before the time limit ends it)."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, function, item)


class Jobs(Workers):
    """Jobs with a name of their own, by which they are asked for and cancelled."""

    def __init__(self, settings: Slurm) -> None:
        from submitit import SlurmExecutor  # by its name: AutoExecutor takes whatever cluster it believes to see

        self.settings = settings
        self.name = f"weightdecay-{uuid.uuid4().hex[:8]}"
        self.function = Path(settings.folder).expanduser().absolute() / f"{self.name}-function.pkl"
        self.going: dict[Any, Call] = {}
        self.ended: dict[Any, float] = {}  # when a job without a result was first seen to have ended
        self.slurm = SlurmExecutor(settings.folder, max_num_timeout=settings.renewals)
        self.slurm.update_parameters(
            job_name=self.name,
            time=settings.minutes,
            cpus_per_task=settings.cpus,
            array_parallelism=settings.at_once,
            setup=[
                f"export OMP_NUM_THREADS={settings.cpus} MKL_NUM_THREADS={settings.cpus}",
                "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK",  # since 22.05 srun does not take it from sbatch
                *settings.setup,
            ],
            additional_parameters={"requeue": True, **_asked_for(settings)},
        )

    def room(self) -> int:
        """A long sweep comes in arrays of at least half the allowed size; a lost job need not wait for one."""
        return ARRAY - len(self.going) if len(self.going) <= ARRAY // 2 else 0

    def start(self, calls: Sequence[Call]) -> None:
        """Submit one array. The function, which may hold data, is written once and not with every job."""
        if not self.function.exists():
            self.function.parent.mkdir(parents=True, exist_ok=True)
            self.function.write_bytes(calls[0].function)
        with self.slurm.batch():
            jobs = [self.slurm.submit(Continued(), self.function, call.item) for call in calls]
        self.going.update(zip(jobs, calls, strict=True))

    def finished(self) -> list[tuple[Call, Answer]]:
        """Look for result files; ask Slurm about the jobs that have none."""
        while not (done := self._answers()):
            time.sleep(self.settings.poll_seconds)
        for job in done:
            self.ended.pop(job, None)
        return [(self.going.pop(job), answer) for job, answer in done.items()]

    def _answers(self) -> dict[Any, Answer]:
        with_result = self._with_result(self.going)
        if with_result:
            return {job: _result(job) for job in with_result}
        states, now = self._states(), time.monotonic()
        if states is None:
            return {}
        for job in self.going:
            if states.get(job.job_id, "GONE") not in ENDED:
                self.ended.pop(job, None)  # requeued
            else:
                self.ended.setdefault(job, now)
        late = [job for job, since in self.ended.items() if now - since > self.settings.patience]
        return {job: _without_result(job, states.get(job.job_id, "GONE")) for job in late}

    def _with_result(self, jobs: Iterable[Any]) -> list[Any]:
        # One listing of the folder: it is also what makes a network file system look again.
        there = {path.name for path in Path(self.slurm.folder).iterdir()}
        return [job for job in jobs if job.paths.result_pickle.name in there]

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
        if self.going:
            subprocess.run(["scancel", f"--name={self.name}"], check=False, capture_output=True)
            until = time.monotonic() + GRACE
            while time.monotonic() < until and not set((self._states() or {}).values()) <= ENDED:
                time.sleep(self.settings.poll_seconds)
        self.function.unlink(missing_ok=True)


def _asked_for(settings: Slurm) -> dict[str, str | int]:
    """Return the options of sbatch that are only given where they are asked for: a cluster without GPUs refuses 0."""
    named = {"partition": settings.partition, "mem": settings.memory, "gpus-per-node": settings.gpus}
    return {**{name: value for name, value in named.items() if value}, **settings.options}


def _result(job: Any) -> Answer:
    failure = job.exception()
    return RunFailure(type(failure).__name__, str(failure)) if failure else bytes(job.result())


def _without_result(job: Any, state: str) -> Answer:
    said = f"Slurm's job {job.job_id} ended ({state}) without a result; its log is {job.paths.stderr}"
    if state == "CANCELLED":
        return RunFailure("Cancelled", f"{said}. Somebody cancelled it, so it is not submitted again.")
    return Lost(said)
