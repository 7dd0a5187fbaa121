"""What the top eigenvalues of a network's Hessian cost over the bare Hessian-vector products that they take.

ResNet-20, trained for a few epochs on the images it is then measured on, float32. Bare: forward, a backward pass that
is kept differentiable, and a second one, over the same batches, with nothing around it. A bare product is timed after
every eighth of ours, so that both see the same machine; the ratio is ours a product over the median bare one,
everything that ARPACK does between products included. Beside it curvlinops' HessianLinearOperator. Seconds are of
this process's own CPU time, so that other work on the machine is not counted; on one thread and an idle machine they
are the clock's.

    OMP_NUM_THREADS=1 python benchmarks/spectrum.py [--images 2000] [--top 20] [--data cifar10]

Without --data the images are random, and said to be: for the clock only. Takes about half an hour on one core.
"""

import argparse
import statistics
import time
import warnings

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from weightdecay.lab import data as datasets
from weightdecay.lab import models
from weightdecay.lab.data.base import Facts
from weightdecay.lab.run import Place, Run
from weightdecay.spectrum import Hessian, top_eigenvalues

EPOCHS, EVERY = 5, 8


def images(name: str, count: int, batch: int) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], Facts]:
    """Batches of real images, or of noise with random labels."""
    if not name:
        draw = torch.Generator().manual_seed(0)
        x, y = torch.randn(count, 3, 32, 32, generator=draw), torch.randint(0, 10, (count,), generator=draw)
        return list(zip(x.split(batch), y.split(batch), strict=True)), Facts(10, 3, 32)
    digest = datasets.digest(name, Place())
    run = Run("sgd", 0.1, 0.0, 0, data=name, data_digest=digest, batch_size=batch, train_size=count, augment=False)
    found = datasets.load(run, Place())
    return [(b.inputs, b.targets) for b in found.train(1)], found.facts


def bare(model: nn.Module, data: list[tuple[torch.Tensor, torch.Tensor]], vector: list[torch.Tensor]) -> None:
    weights = list(model.parameters())
    total = [torch.zeros_like(w) for w in weights]
    for x, y in data:
        gradients = torch.autograd.grad(cross_entropy(model(x), y), weights, create_graph=True)
        inner = sum((g * v).sum() for g, v in zip(gradients, vector, strict=True))
        for t, h in zip(total, torch.autograd.grad(inner, weights), strict=True):
            t.add_(h, alpha=1 / len(data))


def seconds(call) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--top", type=int, default=20)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--data", default="")
    given = parser.parse_args()
    data, facts = images(given.data, given.images, given.batch)
    model = models.build("resnet20", facts, seed=0).to(memory_format=torch.channels_last)
    data = [(x.contiguous(memory_format=torch.channels_last), y) for x, y in data]
    optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9, weight_decay=5e-4)
    for _ in range(EPOCHS):
        for x, y in data:
            optimizer.zero_grad()
            cross_entropy(model(x), y).backward()
            optimizer.step()
    model.eval()
    print(
        f"resnet20, {sum(len(y) for _, y in data)} images of {given.data or 'noise'} in batches of {given.batch}, "
        f"{torch.get_num_threads()} thread(s), torch {torch.__version__}"
    )
    draw = torch.Generator().manual_seed(1)
    vector = [torch.randn(p.shape, generator=draw) for p in model.parameters()]
    bare(model, data[:1], vector)  # kernels and caches
    times: list[float] = []

    def watch(done: int) -> None:
        if done % EVERY == 1:
            times.append(seconds(lambda: bare(model, data, vector)))

    matrix = Hessian(model, nn.CrossEntropyLoss(), data, on_product=watch)
    start = time.process_time()
    found = top_eigenvalues(matrix, given.top)
    ours = time.process_time() - start - sum(times)
    one, each = statistics.median(times), ours / found.products
    print(f"eigenvalues       {' '.join(f'{value:.4g}' for value in found.values)}")
    print(f"top {given.top:<3}           {ours:8.1f} s of CPU time, {found.products} products, {each:.2f} s each")
    print(f"bare product      {one:8.2f} s, median of {len(times)} ({min(times):.2f} to {max(times):.2f})")
    print(f"ratio             {each / one:8.2f}   (goal 1.2)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch.jit and of vmap, in curvlinops
        from curvlinops import HessianLinearOperator

        operator = HessianLinearOperator(
            model, nn.CrossEntropyLoss(), list(model.parameters()), data, check_deterministic=False
        )
        flat = torch.cat([v.flatten() for v in vector])
        pairs = [(seconds(lambda: operator @ flat), seconds(lambda: bare(model, data, vector))) for _ in range(4)][1:]
    theirs = statistics.median(a / b for a, b in pairs)
    print(f"curvlinops/bare   {theirs:8.2f}   median of {len(pairs)} pairs")


if __name__ == "__main__":
    main()
