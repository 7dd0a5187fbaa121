"""A Ray cluster: one that exists, or one of Ray's own on this machine. Ray core only."""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from weightdecay.checks import at_least, some_text
from weightdecay.lab.executors.base import EngineError, RunFailure
from weightdecay.lab.executors.workers import GRACE, Answer, Call, Lost, Workers, WorkersExecutor, work_until_ctrl_c

IN_FLIGHT = 1000
"""Calls that are with Ray at a time: more than a cluster of this size computes, and no burden for its head."""


KNOCK_SECONDS = 10.0
"""Seconds that the head of a cluster has to accept a connection."""


@dataclass(frozen=True)
class Ray(WorkersExecutor):
    """``cpus`` and ``gpus`` are what one run takes: ``gpus=0.25`` packs four on a card.

    ``address`` is that of a cluster (``"10.0.0.1:6379"``, ``"auto"`` on one of its nodes), which is left running;
    None: ``$RAY_ADDRESS``, else Ray's own on this machine, for as long as the map lasts. A program that has called
    ``ray.init`` itself keeps its connection. Where the cluster asks for a token, this process needs the same:
    ``RAY_AUTH_MODE=token`` and ``RAY_AUTH_TOKEN``.
    """

    address: str | None = None
    cpus: float = 1.0
    gpus: float = 0.0
    retries: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.address is not None:
            some_text("address", self.address, 'Write "host:port", or "auto" on a node of the cluster.')
        at_least("gpus", self.gpus, 0, "It is the part of a card that one run takes.")
        at_least("cpus", self.cpus, 0, "It is the number that one run takes.")
        if self.cpus == 0:
            raise ValueError(f"cpus={self.cpus!r}: a node would then begin every run at once. Use a number above 0.")

    def open(self) -> Workers:
        """Connect.

        Raises: EngineError, where no cluster answers, or not to this token.
        """
        return RayWorkers(self)


class RayWorkers(Workers):
    """Tasks of a Ray job. Results come home through Ray's object store: no shared file system is needed."""

    def __init__(self, settings: Ray) -> None:
        import ray

        self.ray = ray
        self.connected_here = not ray.is_initialized()
        if self.connected_here:
            _connect(ray, settings.address or os.environ.get("RAY_ADDRESS") or "local")
        _look_for_room(ray, settings)
        threads = str(max(1, int(settings.cpus)))
        # Not Ray's to retry: the loop over all workers does it, and counts.
        self.work = ray.remote(
            num_cpus=settings.cpus,
            num_gpus=settings.gpus,
            max_retries=0,
            runtime_env={"env_vars": {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}},
        )(work_until_ctrl_c)
        self.going: dict[Any, Call] = {}
        self.function: Any = None

    def room(self) -> int:
        """More than runs at once, so that Ray can place them; not all of a long list."""
        return IN_FLIGHT - len(self.going)

    def start(self, calls: Sequence[Call]) -> None:
        """Submit; the function is stored once."""
        self.function = self.function or self.ray.put(calls[0].function)
        for call in calls:
            self.going[self.work.remote(self.function, call.item)] = call

    def finished(self) -> list[tuple[Call, Answer]]:
        """Wait for the first."""
        done, _ = self.ray.wait(list(self.going), num_returns=1)
        return [(self.going.pop(task), self._answer(task)) for task in done]

    def _answer(self, task: Any) -> Answer:
        known = self.ray.exceptions
        lost = (known.WorkerCrashedError, known.NodeDiedError, known.ObjectLostError, known.OutOfMemoryError)
        try:
            return bytes(self.ray.get(task))
        except lost as error:
            return Lost(str(error))
        except known.TaskCancelledError:
            return Lost("the worker was stopped from outside (KeyboardInterrupt)")
        except known.RayError as error:
            return RunFailure(type(error).__name__, str(error))

    def close(self) -> None:
        """Interrupt what runs, as Ctrl-C would, so that it can keep a checkpoint; then kill it. The cluster stays."""
        try:
            tasks = list(reversed(self.going))  # first what waits: it would begin where another ends
            for force in (False, True):
                for task in tasks:
                    self.ray.cancel(task, force=force)
                if tasks:
                    _, tasks = self.ray.wait(tasks, num_returns=len(tasks), timeout=GRACE, fetch_local=False)
        finally:
            self.going = {}
            if self.connected_here:
                self.ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    _knock(address)
    own = {"include_dashboard": False} if address == "local" else {}
    if own:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # what is computed here is told to nobody
    try:
        ray.init(address=address, log_to_driver=False, logging_level="WARNING", **own)
    except (ConnectionError, ray.exceptions.AuthenticationError) as error:
        raise EngineError(
            f"No Ray cluster at address={address!r} lets this process in ({error}). Is it running, with this machine "
            "among its nodes? Where it was started with a token, set RAY_AUTH_MODE=token and the same RAY_AUTH_TOKEN."
        ) from error


def _knock(address: str) -> None:
    """Ask whether anybody listens there: Ray itself waits for minutes to find out. Raises: EngineError."""
    host, _, port = address.rpartition(":")
    if not host or "/" in address or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=KNOCK_SECONDS).close()
    except OSError as error:
        raise EngineError(
            f"No Ray cluster at address={address!r}: {error}. Start one with ray start --head, or leave address out "
            "for Ray's own on this machine."
        ) from error


def _look_for_room(ray: Any, settings: Ray) -> None:
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(node.get("CPU", 0) >= settings.cpus and node.get("GPU", 0) >= settings.gpus for node in nodes):
        warnings.warn(
            f"No node of the Ray cluster has cpus={settings.cpus:g} and gpus={settings.gpus:g}: "
            "the runs wait until one joins. Ask for less, or add a node.",
            stacklevel=2,
        )
