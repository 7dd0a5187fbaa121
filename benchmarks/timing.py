"""Two ways to do the same, timed side by side: alternating runs in one process, medians."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass
class Timed:
    """Milliseconds a step, and their ratio: the median over rounds of (ours / theirs of the same round)."""

    ours: float
    theirs: float
    ratio: float


def side_by_side(ours: Callable[[], object], theirs: Callable[[], object], device: str, rounds: int) -> Timed:
    """Alternate the two; on an accelerator wait for it before and after each run."""
    times = [(once(ours, device), once(theirs, device)) for _ in range(rounds + 3)]
    kept = times[3:]  # the first ones make state, kernels and caches
    a, b = ([pair[i] for pair in kept] for i in range(2))
    return Timed(statistics.median(a), statistics.median(b), statistics.median(x / y for x, y in kept))


def once(step: Callable[[], object], device: str) -> float:
    """Return the milliseconds of one run."""
    wait(device)
    start = time.perf_counter()
    step()
    wait(device)
    return 1e3 * (time.perf_counter() - start)


def wait(device: str) -> None:
    """Let the accelerator finish."""
    if device == "cuda":
        torch.cuda.synchronize()


def bandwidth(device: str) -> float:
    """Return the bytes a second of a fused step's pattern: read two long arrays, write one of them (median of 15)."""
    n = 1 << 26
    x, y = (torch.ones(n, device=device) for _ in range(2))
    times = [once(lambda: x.add_(y), device) for _ in range(18)][3:]
    return 12 * n / (statistics.median(times) / 1e3)
