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
from itertools import islice
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parent))
from loop import InMemory
from timing import once

from weightdecay.lab.interrupt import Stop
from weightdecay.lab.place import Place
from weightdecay.lab.run import Run
from weightdecay.lab.train import Training

IMAGES, BATCH, GOAL = 50_000, 128, 5.0
PEAK = 989e12
"""Multiply-adds of an H100 or H200 (SXM) in dense bfloat16, times two, a second, as NVIDIA's data sheet has it."""


def flops(run: Run, task: InMemory, device: str) -> int:
    """Return the arithmetic of one step."""
    training = Training(run, Place(device=device), task, None, Stop(), None)
    counter = FlopCounterMode(display=False)
    with counter:
        training.step(next(training.data.train(1)))
    return counter.get_total_flops()


def main() -> None:
    """Print one row an epoch, and the median."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=0, help="steps to take in the place of an epoch; 0: all")
    parser.add_argument("--optimizer", default="adams")
    parser.add_argument("--peak", type=float, default=PEAK, help="operations a second")
    asked = parser.parse_args()
    warnings.filterwarnings("ignore", category=UserWarning)  # of the compiler, about the machine
    gpu = asked.device.startswith("cuda")
    run = Run(asked.optimizer, 1e-3, 5e-4, seed=0, batch_size=BATCH, network="resnet18", dtype="bfloat16", compile=gpu)
    task = InMemory(IMAGES if not asked.steps else (asked.steps + 1) * BATCH, 32)
    work = flops(Run(asked.optimizer, 1e-3, 5e-4, seed=0, batch_size=BATCH, network="resnet18"), task, asked.device)
    training = Training(run, Place(device=asked.device), task, None, Stop(), None)
    training.step(next(training.data.train(1)))

    def epoch() -> None:
        training.model.train()
        for batch in islice(training.data.train(1), asked.steps or None):
            training.step(batch)

    steps = asked.steps or training.data.steps
    times = []
    for number in range(asked.epochs):
        times.append(once(epoch, asked.device) / 1e3 / steps * -(-IMAGES // BATCH))
        print(f"epoch {number + 1}: {times[-1]:.2f} s", flush=True)
    median = statistics.median(times)
    rate = work * -(-IMAGES // BATCH) / median
    name = torch.cuda.get_device_name() if gpu else "CPU"
    share = f", {100 * rate / asked.peak:.1f} % of {asked.peak / 1e12:.0f}" if gpu or asked.peak != PEAK else ""
    print(f"{name}: {median:.2f} s an epoch (goal {GOAL:g} on an H200), {rate / 1e12:.2f} TFLOP/s{share}")


if __name__ == "__main__":
    main()
