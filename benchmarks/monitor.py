"""What watch() costs: a ResNet-20 on the CPU, watched at every=100, against the same training without it.

A reading takes milliseconds, so that a training of a hundred steps with and without one differs by less than the
noise of a shared machine. So the parts are timed on their own: a step (forward, backward, AdamW, batch 128), a step of
the optimizer with and without the hooks where nothing is due, and the reading itself; the cost of one step is
(99 · idle + reading)/100. All times are CPU time of this process, which other processes do not lengthen as much.

    OMP_NUM_THREADS=1 python benchmarks/monitor.py [--every 100] [--rounds 15] [--batch 128]
"""

import argparse
import statistics
import time

import torch
from torch.nn.functional import cross_entropy

from weightdecay.lab.data.base import Facts
from weightdecay.lab.models.resnet import resnet20
from weightdecay.monitor import watch

GOAL = 1.0  # percent


def median(step, rounds):
    """Return the median of milliseconds; the first two make state and caches."""
    return statistics.median([spent(step) for _ in range(rounds + 2)][2:])


def spent(step):
    """Return the milliseconds of one call."""
    start = time.process_time()
    step()
    return 1e3 * (time.process_time() - start)


def many(optimizer, steps):
    """Return the milliseconds of one optimizer step, from many."""
    return spent(lambda: [optimizer.step() for _ in range(steps)]) / steps


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", type=int, default=128)
    asked = parser.parse_args()
    torch.manual_seed(0)
    model = resnet20(Facts(channels=3, size=32, classes=10))
    x, y = torch.randn(asked.batch, 3, 32, 32), torch.randint(0, 10, (asked.batch,))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)

    def step():
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        optimizer.step()

    whole = median(step, asked.rounds)
    bare, idle, due = [], [], []
    for _ in range(asked.rounds):  # alternating: the machine's speed drifts
        bare.append(many(optimizer, 10))
        watching = watch(optimizer, model, every=10**9, tensors=True)
        idle.append(many(optimizer, 10))
        watching.close()
        watching = watch(optimizer, model, every=1, tensors=True)
        due.append(many(optimizer, 3))
        watching.close()
    plain = statistics.median(bare)
    hooks = statistics.median(b - a for a, b in zip(bare, idle, strict=True))
    reading = statistics.median(b - a for a, b in zip(bare, due, strict=True))
    cost = 100 * ((asked.every - 1) * max(hooks, 0.0) + reading) / asked.every / whole
    tensors = sum(1 for _ in model.parameters())
    threads = torch.get_num_threads()
    print(f"ResNet-20, {tensors} tensors, batch {asked.batch}, {threads} thread: {whole:.1f} ms per step")
    print(f"optimizer {plain:.3f} ms; hooks with nothing due {1e3 * hooks:.1f} µs; a reading {reading:.2f} ms")
    print(f"watch(every={asked.every}): {cost:.3f} % of a step; goal at every=100: {GOAL} % or less")


if __name__ == "__main__":
    main()
