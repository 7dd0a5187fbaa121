"""What a checkpoint an epoch costs: its seconds against those of an epoch of the same run, measured on some steps.

python benchmarks/checkpoint.py [--network resnet18] [--optimizer adams]
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from loop import InMemory
from timing import once

from weightdecay.lab.run import Place, Run
from weightdecay.lab.run.interrupt import Stop
from weightdecay.lab.run.store import Store
from weightdecay.lab.training.train import Training

STEPS, CHECKPOINTS, BATCH, IMAGES, GOAL = 3, 7, 128, 50_000, 2.0


def measure(run: Run, device: str, out: str) -> tuple[float, float, int]:
    """Return the milliseconds of a step and of a checkpoint, and the bytes of one."""
    with Store(out).open(run) as folder:
        training = Training(run, Place(device=device), InMemory((STEPS + 1) * BATCH, 32), folder, Stop(), None)
        batches = training.data.train(1)
        training.step(next(batches))
        step = statistics.median(once(lambda: training.step(next(batches)), device) for _ in range(STEPS))
        write = statistics.median(
            once(lambda: folder.save_checkpoint(training.progress.content()), device) for _ in range(CHECKPOINTS)
        )
        return step, write, folder.newest.stat().st_size


def main() -> None:
    """Print one row a device."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--optimizer", default="adams")
    asked = parser.parse_args()
    run = Run(asked.optimizer, 1e-3, 5e-4, seed=0, batch_size=BATCH, network=asked.network)
    for device in ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]:
        with tempfile.TemporaryDirectory() as out:
            step, write, size = measure(run, device, out)
        epoch = step * -(-IMAGES // BATCH)
        print(
            f"{device} {asked.network} {asked.optimizer}: {size / 1e6:.0f} MB in {write / 1e3:.2f} s, "
            f"an epoch of {IMAGES:,} images {epoch / 1e3:.0f} s ({step:.0f} ms per step): {100 * write / epoch:.3f} %; "
            f"goal {GOAL:g} %"
        )


if __name__ == "__main__":
    main()
