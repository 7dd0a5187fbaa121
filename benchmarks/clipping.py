"""Designs for clipping beside torch's fused kernel of Adam, timed alone: what bounds a clipped step on a CPU.

    OMP_NUM_THREADS=1 python benchmarks/clipping.py              every design, ResNet18's shapes
    OMP_NUM_THREADS=1 python benchmarks/clipping.py --busy       where other programs want the cores

Each is compared with what clip_grad_norm_ and a fused AdamW do. Parameters and gradients are random. Times are medians
of alternating runs in one process. ``--check`` compares the path of the running scale with that of scaled gradients.
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
from results import HEADER, Row, machine
from shapes import NETWORKS, parameters
from timing import Step, busy, once, side_by_side

LR, BETA1, BETA2, EPS, PULL = 1e-3, 0.9, 0.999, 1e-8, 1e-5
COEFFICIENT = 0.5
"""What the gradients are multiplied by: their norm is twice what it may be."""

GOAL = 0.80


class Model:
    """Weights, gradients, moments and step counts, and torch's kernel over them."""

    def __init__(self) -> None:
        params = parameters(NETWORKS["resnet18"](), "cpu")
        self.weights, self.grads = [p.detach() for p in params], [p.grad for p in params if p.grad is not None]
        self.first, self.second = ([torch.zeros_like(p) for p in self.weights] for _ in range(2))
        self.counts = [torch.zeros(()) for _ in params]

    def kernel(self, grads: list[Tensor], **other: float) -> None:
        """Move every weight: η, β, ε and λ may be other numbers."""
        torch._foreach_add_(self.counts, 1)
        move([*zip(self.weights, grads, self.first, self.second, self.counts, strict=True)], **other)

    def norm(self) -> float:
        """Return the norm of all gradients, by one dot product per tensor, as the engines do."""
        return math.sqrt(sum(torch.dot(g.view(-1), g.view(-1)).item() for g in self.grads))


def move(columns: list[tuple[Tensor, ...]], **other: float) -> None:
    """Call torch's kernel on (weight, gradient, m, v, t) of several tensors."""
    numbers = {"lr": LR, "beta1": BETA1, "beta2": BETA2, "eps": EPS, "weight_decay": PULL / LR, **other}
    weights, grads, first, second, counts = (list(column) for column in zip(*columns, strict=True))
    torch._fused_adamw_(weights, grads, first, second, [], counts, amsgrad=False, maximize=False, **numbers)


def torch_clips() -> Step:
    """What clip_grad_norm_ does, then the kernel. The coefficient is 1 here, so that the gradients last."""
    model, one = Model(), torch.tensor(1.0)

    def step() -> None:
        torch.linalg.vector_norm(torch.stack(torch._foreach_norm(model.grads)))
        torch._foreach_mul_(model.grads, one)
        model.kernel(model.grads)

    return step


def kernel_alone() -> Step:
    """The kernel, without a norm."""
    model = Model()
    return lambda: model.kernel(model.grads)


def norm_alone() -> Step:
    """The norm, without a kernel."""
    return Model().norm


def pieces(size: int, reuse: bool) -> Step:
    """The norm; then for about so many weights at a time a scaled copy of the gradients, which the kernel reads."""
    model = Model()
    groups = list(cut(model, size))
    memory = torch.empty(3 * size)

    def scaled(grads: list[Tensor]) -> Iterator[Tensor]:
        begin = 0
        for grad in grads:
            yield torch.mul(grad, COEFFICIENT, out=memory[begin : begin + grad.numel()])
            begin += grad.numel()

    def step() -> None:
        model.norm()
        torch._foreach_add_(model.counts, 1)
        for columns in groups:
            grads = [column[1] for column in columns]
            copies = list(scaled(grads)) if reuse else torch._foreach_mul(grads, COEFFICIENT)
            move([(weight, copy, *rest) for (weight, _, *rest), copy in zip(columns, copies, strict=True)])

    return step


def cut(model: Model, size: int) -> Iterator[list[tuple[Tensor, ...]]]:
    """Yield columns of at least so many weights together, tensors that are larger cut; the last tensors first."""
    found: list[list[tuple[Tensor, ...]]] = [[]]
    for *tensors, count in zip(model.weights, model.grads, model.first, model.second, model.counts, strict=True):
        for parts in zip(*(tensor.view(-1).split(size) for tensor in tensors), strict=True):
            found[-1].append((*parts, count))
            if sum(column[0].numel() for column in found[-1]) >= size:
                found.append([])
    return (columns for columns in reversed(found) if columns)


class RunningScale:
    """Moments in units of a scale that follows the coefficient: m = s m̃, v = q ṽ with s ← β₁ s + (1 − β₁) c.

    The kernel's own β, η, ε and λ then carry the coefficient, and no gradient is copied. With c of this step

        m̃ ← (β₁ s/s′) m̃ + (1 − β₁ s/s′) g,   so that   s′ m̃ = β₁ m + (1 − β₁) c g.
    """

    def __init__(self) -> None:
        self.model, self.s, self.q, self.t = Model(), 1.0, 1.0, 0

    def step(self) -> None:
        self.model.norm()
        s, q = BETA1 * self.s + (1 - BETA1) * COEFFICIENT, BETA2 * self.q + (1 - BETA2) * COEFFICIENT**2
        beta1, beta2 = BETA1 * self.s / s, BETA2 * self.q / q
        self.s, self.q, self.t = s, q, self.t + 1
        wanted = math.sqrt(q * (1 - beta2**self.t) / (1 - BETA2**self.t))  # √v̂ over that of the kernel
        lr = LR * s * (1 - beta1**self.t) / ((1 - BETA1**self.t) * wanted)
        self.model.kernel(self.model.grads, lr=lr, beta1=beta1, beta2=beta2, eps=EPS / wanted, weight_decay=PULL / lr)


def check(steps: int = 5) -> float:
    """Return how far the running scale's weights are from those of scaled gradients, at most."""
    lazy, plain = RunningScale(), Model()
    for _ in range(steps):
        lazy.step()
        plain.kernel([COEFFICIENT * grad for grad in plain.grads])
    pairs = zip(lazy.model.weights, plain.weights, strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)


DESIGNS: dict[str, Callable[[], Step]] = {
    "the kernel alone": kernel_alone,
    "the norm alone": norm_alone,
    **{
        f"norm, scaled copies of 2^{power} weights{', one buffer' * reuse}": lambda power=power, reuse=reuse: pieces(
            1 << power, reuse
        )
        for reuse in (False, True)
        for power in (19, 17, 15)
    },
    "norm, moments in units of a running scale": lambda: RunningScale().step,
}


def main() -> None:
    """Print a row for each design."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--busy", action="store_true", help="count the time in which this thread computed")
    parser.add_argument("--check", action="store_true", help="compare the path of the running scale, and end")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    if asked.check:
        print(f"largest difference of a weight after 5 steps: {check():.1e}")
        return
    print(machine(), HEADER, sep="\n", flush=True)
    for name, design in DESIGNS.items():
        timed = side_by_side(design(), torch_clips(), "cpu", asked.rounds, busy if asked.busy else once)
        goal = GOAL if name.startswith("norm,") else None
        against = "clip_grad_norm_ + AdamW"
        row = Row("clipping", name, timed.ours, "ms", against, timed.theirs, timed.ratio, goal)
        print(row.line(), flush=True)


if __name__ == "__main__":
    main()
