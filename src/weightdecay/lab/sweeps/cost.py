"""What a run costs, measured on a few steps of it where it will be computed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from weightdecay.lab.executors import Executor, RunFailure
from weightdecay.lab.run import Place, Run

if TYPE_CHECKING:
    from weightdecay.lab.training.task import Task

WARM, SECONDS, MOST = 2, 3.0, 30
"""Steps before the clock starts; seconds that a probe may then take, and steps at most."""


@dataclass(frozen=True)
class Cost:
    """Seconds: before the first step (network, compilation), of a step, and of judging the network once."""

    start: float
    step: float
    judging: float
    steps: int  # in an epoch
    where: str
    probed: float = 0.0  # that the measurement took, after the worker was ready
    worker: float = 0.0  # until a worker is ready: its process, its imports, its first look at the data; once for each

    @property
    def epoch(self) -> float:
        """Seconds of an epoch."""
        return self.steps * self.step + self.judging

    def of(self, run: Run) -> float:
        """Seconds of a run of this kind."""
        return self.start + run.epochs * self.epoch


def kind(run: Run) -> Run:
    """Return what a run's cost depends on, as a run: all but seed, λ, lr and schedule. Optimizers differ by little."""
    known = {field: getattr(run, field) for field in KEPT}
    return Run(optimizer="sgd", lr=1e-3, weight_decay=0.0, seed=0, epochs=1, schedule="constant", **known)


KEPT = (
    "batch_size", "data", "data_digest", "train_size", "validation_size", "test_size", "image_size", "classes",
    "augment", "sequence", "network", "network_options", "dtype", "channels_last", "compile", "processes", "strategy",
)  # fmt: skip


@dataclass(frozen=True)
class Probe:
    """A few steps of a run, in a worker."""

    place: Place
    task: Task | None = None

    def __call__(self, run: Run) -> Cost:
        """Measure. Nothing is kept."""
        return rehearse(run, self.place, self.task)


def rehearse(run: Run, place: Place, task: Task | None = None) -> Cost:
    """Return what the run costs here. Raises what training would, for a run that cannot be computed."""
    import torch

    from weightdecay.lab.run.interrupt import Stop
    from weightdecay.lab.run.randomness import of_our_own
    from weightdecay.lab.training import processes
    from weightdecay.lab.training.task import Named
    from weightdecay.lab.training.train import Training, where

    with processes.joined(place) as here, of_our_own(torch.device(here.device)):

        def now() -> float:
            if here.device.startswith("cuda"):
                torch.cuda.synchronize(here.device)
            return time.perf_counter()

        # The first time pays for imports and for reading the data, as a worker's first run does, and its others do not.
        for _ in range(2):
            begun = now()
            training = Training(run, here, task or Named(), None, Stop(), None)
            data, batches = training.data, training.data.train(1)
            for batch in islice(batches, WARM):
                training.step(batch)
        start = now()
        taken, ended = 0, start
        for batch in islice(batches, MOST):
            training.step(batch)
            taken, ended = taken + 1, now()
            if ended - start > SECONDS:
                break
        seconds = (ended - start) / taken if taken else (start - begun) / max(min(WARM, data.steps), 1)
        judged, before = 0, now()
        for batch in data.test():
            training.measure(iter([batch]), training.model, training.scorer)
            judged += 1
            if now() - before > SECONDS:
                break
        judging = (now() - before) / max(judged, 1) * data.judging_steps
        return Cost(start - begun, seconds, judging, data.steps, where(here), probed=now() - begun)


def measure(runs: Iterable[Run], on: Executor, place: Place, task: Task | None = None) -> dict[Run, Cost | RunFailure]:
    """Return the cost of each kind of run, measured where the runs will be computed. One probe takes seconds."""
    kinds: Sequence[Run] = list(dict.fromkeys(map(kind, runs)))
    found: dict[Run, Cost | RunFailure] = {}
    begun, worker = time.perf_counter(), None
    with closing(on.map(Probe(place, task), kinds)) as outcomes:
        for outcome in outcomes:
            cost = outcome.value
            if cost is not None and worker is None:  # the first one that comes home has waited for its worker only
                worker = max(time.perf_counter() - begun - cost.probed, 0.0)
            failed = outcome.error or RunFailure("Lost", "")
            found[outcome.item] = failed if cost is None else replace(cost, worker=worker or 0.0)
    return found
