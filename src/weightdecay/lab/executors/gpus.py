"""The GPUs of this machine, several runs packed on each: small networks leave a large card idle."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass

from weightdecay.checks import whole_at_least
from weightdecay.lab.executors.base import EngineError
from weightdecay.lab.executors.pools import Pools
from weightdecay.lab.executors.workers import Workers, WorkersExecutor

VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Gpus(WorkersExecutor):
    """``per_gpu`` worker processes on each of the first ``gpus`` visible cards (None: on all of them).

    A worker sees its own card only, as ``cuda:0``: the variable is set before the process starts. Where the driver was
    itself given cards (``CUDA_VISIBLE_DEVICES=2,3``), those are meant.
    """

    per_gpu: int = 1
    gpus: int | None = None
    retries: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        whole_at_least("per_gpu", self.per_gpu, 1, "It is the number of workers on each card.")
        if self.gpus is None:
            return
        whole_at_least("gpus", self.gpus, 1, "Omit it to use every visible card.")
        given = _given()
        if given is not None and self.gpus > len(given):
            raise ValueError(
                f"gpus={self.gpus} cannot be used. {VISIBLE}={','.join(given)} makes {len(given)} visible. "
                "Omit it to use every visible card."
            )

    def open(self) -> Workers:
        """Return the pools; neighbours in the list are on different cards, so that few runs spread.

        Raises: EngineError, where there is no card.
        """
        cards = self._cards()
        if not cards:
            raise EngineError('No GPU is visible to torch (torch.cuda.device_count() is 0). Use the executor "local".')
        return Pools([{VISIBLE: card} for _ in range(self.per_gpu) for card in cards])

    def width(self) -> int:
        """As many as there are workers on all cards."""
        return self.per_gpu * len(self._cards())

    def _cards(self) -> list[str]:
        given = _given()
        return ([str(i) for i in range(self.gpus or _count())] if given is None else given)[: self.gpus]


def _given() -> list[str] | None:
    """Return the cards that the driver was given, by their names; None: it may use any."""
    named = os.environ.get(VISIBLE)
    return None if named is None else [card.strip() for card in named.split(",") if card.strip()]


def _count() -> int:
    """Return the number of GPUs, asked in a child: CUDA, once initialised here, would hold memory on a card."""
    code = "import torch; print(torch.cuda.device_count())"
    return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
