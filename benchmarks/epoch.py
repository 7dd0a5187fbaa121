"""An epoch of ResNet18 on 50,000 images of CIFAR-10's shape, batch 128, as the lab trains it, and its share of peak.

On a GPU with bfloat16, channels-last and torch.compile; random images, so nothing is downloaded. The arithmetic is
counted by torch (forward and backward, a multiplication and an addition being two), the peak is yours to give.

    python benchmarks/epoch.py                            # a GPU: whole epochs; goal: 5 s on an H200
    python benchmarks/epoch.py --device cpu --steps 5     # what of it a CPU can show
"""

import argparse
import statistics
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parent))
from loop import InMemory
from results import HEADER, Row, machine
from timing import once

from weightdecay.lab.run import Place, Run, options
from weightdecay.lab.run.interrupt import Stop
from weightdecay.lab.training.train import Training

IMAGES, BATCH, SIZE, GOAL = 50_000, 128, 32, 5.0
PEAK = 989e12
"""Multiply-adds of an H100 or H200 (SXM) in dense bfloat16, times two, per second, as NVIDIA's data sheet has it."""


def flops(run: Run, task: InMemory, device: str) -> int:
    """Return the arithmetic of one step."""
    training = Training(replace(run, dtype="float32", compile=False), Place(device=device), task, None, Stop(), None)
    counter = FlopCounterMode(display=False)
    with counter:
        training.step(next(training.data.train(1)))
    return counter.get_total_flops()


def settings(
    optimizer: str = "adams", network: str = "resnet18", batch: int = BATCH, compiled: bool = True, **of_network: object
) -> Run:
    """Return the run: bfloat16 in autocast, channels-last, and compiled if asked for."""
    return Run(
        *(optimizer, 1e-3, 5e-4),
        seed=0,
        batch_size=batch,
        network=network,
        network_options=options(**of_network),
        dtype="bfloat16",
        channels_last=True,
        compile=compiled,
    )


def measure(run: Run, device: str, epochs: int, steps: int = 0, size: int = SIZE, peak: float = PEAK) -> Iterator[Row]:
    """Yield the preparation, every epoch, and their median; with ``steps`` an epoch is extrapolated from these."""
    warnings.filterwarnings("ignore", category=UserWarning)  # of the compiler, about the machine
    gpu = device.startswith("cuda")
    label = f"epoch, {run.network}, {run.optimizer}, {device}"
    form = f"batch {run.batch_size}, bf16, channels-last{', compiled' if run.compile else ''}"
    if not find_spec("torchvision"):
        form += ", the network from benchmarks/resnet.py"
    task = InMemory((steps + 1) * run.batch_size if steps else IMAGES, size)
    work = flops(run, task, device)
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    training = Training(run, Place(device=device), task, None, Stop(), None)
    preparation = once(lambda: training.step(next(training.data.train(1))), device) / 1e3
    yield Row(label, "first step, with its compilation", preparation, "s", note=form)

    def epoch() -> None:
        training.model.train()
        for batch in islice(training.data.train(1), steps or None):
            training.step(batch)

    whole = -(-IMAGES // run.batch_size)
    share = whole / (steps or training.data.steps)
    times = []
    for number in range(epochs):
        times.append(once(epoch, device) / 1e3 * share)
        yield Row(label, f"epoch {number + 1}", times[-1], "s", note=f"from {steps} steps" if steps else "")
    median = statistics.median(times)
    rate = work * whole / median
    note = f"{rate / 1e12:.3g} TFLOP/s" + (f", {100 * rate / peak:.1f} % of {peak / 1e12:.0f}" if gpu else "")
    yield Row(label, "median epoch", median, "s", goal=GOAL if gpu else None, note=f"{note}; {form}")
    if gpu:
        yield Row(label, "peak memory of the training", torch.cuda.max_memory_allocated() / 2**20, "MiB")


def main() -> None:
    """Print one row per epoch, and the median."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=0, help="steps to take in the place of an epoch; 0: all")
    parser.add_argument("--optimizer", default="adams")
    parser.add_argument("--peak", type=float, default=PEAK, help="operations per second")
    asked = parser.parse_args()
    print(machine())
    print(HEADER, flush=True)
    run = settings(asked.optimizer, compiled=asked.device.startswith("cuda"))
    for row in measure(run, asked.device, asked.epochs, asked.steps, peak=asked.peak):
        print(row.line(), flush=True)


if __name__ == "__main__":
    main()
