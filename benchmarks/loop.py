"""What the lab's loop costs over a bare PyTorch loop: the same network, optimizer and images, already in memory.

Theirs: index a batch of ready float images, forward, backward, step. Ours: the lab's own epoch, which also crops, flips
and standardises bytes, sets the learning rate and the generators, sums the loss, looks whether it is finite, and asks
whether to stop. Rounds alternate in one process; the ratio is the median over rounds.

    OMP_NUM_THREADS=1 python benchmarks/loop.py [--rounds 15]
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

sys.path.insert(0, str(Path(__file__).parent))
import resnet
from timing import side_by_side

from weightdecay.lab import models
from weightdecay.lab.data.base import Facts
from weightdecay.lab.data.images import MARGIN, Images, Pictures
from weightdecay.lab.run import Place, Run, options
from weightdecay.lab.run.interrupt import Stop
from weightdecay.lab.training.task import Named
from weightdecay.lab.training.train import Training, optimizer_of

# Network → (options, images of a round, pixels per side, batch, goal)
ROWS = {
    "resnet20": ((), 8 * 128, 32, 128, 1.03),
    "smallcnn": ((), 16 * 128, 32, 128, 1.10),
    "smallcnn of width 8": (options(width=8), 64 * 64, 8, 64, 1.10),
}


class InMemory(Named):
    """Random images in the place of a data set."""

    def __init__(self, count: int, size: int) -> None:
        draw = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8, generator=draw)
        labels = torch.randint(0, 10, (count,), generator=draw)
        self.pictures = Pictures(images, labels, images[:10], labels[:10], 10, (127.0,) * 3, (64.0,) * 3, MARGIN)

    def load(self, run: Run, place: Place) -> Images:
        return Images(self.pictures, run, place)

    def build(self, run: Run, facts: Facts) -> torch.nn.Module:
        """Build the lab's network, or without torchvision the same ResNet18 from benchmarks/resnet.py."""
        try:
            return super().build(run, facts)
        except ModuleNotFoundError as missing:
            if missing.name != "torchvision" or run.network != "resnet18":
                raise
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(run.seed)
                return resnet.resnet18(facts.classes, small=True)


def ours(run: Run, task: InMemory, device: str) -> Callable[[], object]:
    training = Training(run, Place(device=device), task, None, Stop(), None)

    def epoch() -> None:
        training.progress.step = 0
        training.train_epoch()

    return epoch


def theirs(run: Run, task: InMemory, device: str) -> Callable[[], object]:
    data = task.load(replace(run, augment=False, batch_size=run.batch_size * 10**6), Place(device=device))
    (whole,) = data.train(1)
    model = models.build(run.network, data.facts, run.seed, run.network_options)
    model = model.to(device, memory_format=torch.channels_last)
    optimizer = optimizer_of(run, model)

    def epoch() -> None:
        model.train()
        for batch in torch.randperm(len(whole.targets), device=device).split(run.batch_size):
            images, labels = whole.inputs[batch], whole.targets[batch]
            optimizer.zero_grad()
            loss = cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()

    return epoch


def main() -> None:
    """Print a row for each device and network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    print(f"{'device':8}{'network':22}{'batch':>6}{'ours, ms/step':>17}{'bare':>9}{'ratio':>8}{'goal':>7}")
    for device in ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]:
        for name, (network_options, count, size, batch, goal) in ROWS.items():
            run = Run(
                "sgds", 0.01, 5e-4, seed=0, batch_size=batch, network=name.split()[0], network_options=network_options
            )
            task = InMemory(count, size)
            found = side_by_side(ours(run, task, device), theirs(run, task, device), device, rounds)
            steps = count // batch
            print(
                f"{device:8}{name:22}{batch:6}{found.ours / steps:17.2f}{found.theirs / steps:9.2f}"
                f"{found.ratio:8.3f}{goal:7.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
