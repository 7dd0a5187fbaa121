"""Two ways to do the same, timed side by side: alternating runs in one process, medians."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

Step = Callable[[], object]


@dataclass
class Timed:
    """Milliseconds per step, and their ratio: the median over rounds of (ours / theirs of the same round)."""

    ours: float
    theirs: float
    ratio: float


def once(step: Step, device: str) -> float:
    """Return the milliseconds of one run, up to the end of what it started on the device."""
    wait(device)
    start = time.perf_counter()
    step()
    wait(device)
    return 1e3 * (time.perf_counter() - start)


def host(step: Step, device: str, now: Callable[[], float] = time.perf_counter) -> float:
    """Return the milliseconds after which the host is free again; on a CPU this is the same as :func:`once`."""
    wait(device)
    start = now()
    step()
    spent = 1e3 * (now() - start)
    wait(device)
    return spent


def busy(step: Step, device: str) -> float:
    """Return the milliseconds that this thread computed, without those in which other programs had its core."""
    return host(step, device, time.thread_time)


def side_by_side(
    ours: Step, theirs: Step, device: str, rounds: int, clock: Callable[[Step, str], float] = once, warm: int = 3
) -> Timed:
    """Alternate the two; on an accelerator wait for it before and after each run."""
    times = [(clock(ours, device), clock(theirs, device)) for _ in range(rounds + warm)]
    return medians(times[warm:])  # the first ones make state, kernels and caches


def medians(pairs: list[tuple[float, float]]) -> Timed:
    """Summarise the rounds, each a pair of times."""
    a, b = ([pair[i] for pair in pairs] for i in range(2))
    return Timed(statistics.median(a), statistics.median(b), statistics.median(x / y for x, y in pairs))


def wait(device: str) -> None:
    """Let the accelerator finish."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def bandwidth(device: str, elements: int = 1 << 26) -> float:
    """Return the bytes per second of a fused step's pattern: read two long arrays, write one (median of 15)."""
    x, y = (torch.ones(elements, device=device) for _ in range(2))
    times = [once(lambda: x.add_(y), device) for _ in range(18)][3:]
    return 12 * elements / (statistics.median(times) / 1e3)
