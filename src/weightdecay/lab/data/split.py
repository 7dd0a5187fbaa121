"""Which examples are trained on, held out and relabelled; their order; and each process's part of a step."""

from __future__ import annotations

import torch
from torch import Tensor

from weightdecay.lab.run import Run
from weightdecay.lab.run.randomness import seed_of

SPLIT_SEED = 20111152
"""The cut of a data set is one and the same for all runs: they differ by what is compared, not by their data."""

ORDER, CROPS = 1, 2
"""What a seed is drawn for, so that no two draws of one run are the same."""


def cut(examples: int, run: Run) -> tuple[Tensor, Tensor]:
    """Return the indices of a training set that are trained on, and those held out, each ascending.

    Both come from one fixed order of the examples: ``train_size`` from its beginning (0: all that are not held out),
    ``validation_size`` from its end.
    Raises: ValueError, where there are not so many.
    """
    held, kept = run.validation_size, run.train_size or examples - run.validation_size
    if kept < 1 or kept + held > examples:
        raise ValueError(
            f"train_size={run.train_size} and validation_size={held} together ask for more than the {examples} "
            f"training examples of {run.data!r}, or leave none to train on."
        )
    order = torch.randperm(examples, generator=torch.Generator().manual_seed(SPLIT_SEED))
    return order[:kept].sort().values, order[examples - held :].sort().values


def judged(examples: int, run: Run) -> Tensor:
    """Return the indices of a test set that the run is judged on, ascending: ``test_size`` from one fixed order.

    Raises: ValueError, where there are not so many.
    """
    if run.test_size > examples:
        raise ValueError(f"test_size={run.test_size}: {run.data!r} has {examples} test examples.")
    order = torch.randperm(examples, generator=torch.Generator().manual_seed(SPLIT_SEED))
    return order[: run.test_size or examples].sort().values


def wrong_labels(labels: Tensor, fraction: float, classes: int, seed: int) -> Tensor:
    """Return the labels with that fraction, rounded down, replaced by another class, drawn evenly.

    A function of the seed alone: every optimizer trained with one seed sees the same wrong labels.
    """
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(labels), generator=generator)[: int(fraction * len(labels))]
    shift = torch.randint(1, classes, (len(chosen),), generator=generator)
    noisy = labels.clone()
    noisy[chosen] = (labels[chosen] + shift) % classes
    return noisy


def shuffled(examples: int, seed: int, epoch: int) -> Tensor:
    """Return the order of an epoch: a permutation, a function of (seed, epoch)."""
    return torch.randperm(examples, generator=torch.Generator().manual_seed(seed_of(ORDER, seed, epoch)))


def steps(examples: int, batch: int) -> list[tuple[int, int]]:
    """Return the first and the last-but-one index of each batch; the last batch is what is left.

    >>> steps(10, 4)
    [(0, 4), (4, 8), (8, 10)]
    """
    return [(low, min(low + batch, examples)) for low in range(0, examples, batch)]


def even_steps(examples: int, batch: int) -> list[tuple[int, int]]:
    """Return as few batches of at most that many as there can be, of sizes that differ by one at most.

    So no process is without an example in a batch of an evaluation, unless there are fewer examples than processes.

    >>> even_steps(10, 4)
    [(0, 3), (3, 6), (6, 10)]
    """
    count = -(-examples // batch)
    return [(examples * i // count, examples * (i + 1) // count) for i in range(count)]
