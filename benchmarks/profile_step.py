"""Where the time of one step goes on the CPU, function by function, and ways to take the norm of all gradients.

python benchmarks/profile_step.py [--network resnet18] [--engine auto] [--optimizer adams]
"""

import argparse
import cProfile
import pstats
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from shapes import NETWORKS, parameters
from timing import Step, once

import weightdecay as wd


def profile(step: Step, steps: int = 100, functions: int = 20) -> None:
    """Print the functions that take most of these steps. The profiler itself slows down every call of Python."""
    for _ in range(5):
        step()
    profiler = cProfile.Profile()
    profiler.enable()
    for _ in range(steps):
        step()
    profiler.disable()
    pstats.Stats(profiler).strip_dirs().sort_stats("tottime").print_stats(functions)


def norms(grads: list[torch.Tensor]) -> dict[str, Callable[[], object]]:
    """Return ways to take the norm of all gradients."""
    lines = [g.view(-1) for g in grads]
    return {
        "a dot product per tensor": lambda: [torch.dot(x, x) for x in lines],
        "_foreach_norm": lambda: torch._foreach_norm(grads),
        "vector_norm per tensor": lambda: [torch.linalg.vector_norm(x) for x in lines],
        "a plain sum per tensor": lambda: [x.sum() for x in lines],
    }


def main() -> None:
    """Print the profile, the step without the profiler, torch's step, and the norms."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=[*NETWORKS], default="resnet18")
    parser.add_argument("--engine", choices=["auto", "fused", "compiled", "foreach", "reference"], default="auto")
    parser.add_argument("--optimizer", choices=wd.available(), default="adams")
    arguments = parser.parse_args()
    shapes = NETWORKS[arguments.network]()
    optimizer = wd.create(arguments.optimizer, parameters(shapes, "cpu"), lr=1e-3, engine=arguments.engine)
    theirs = torch.optim.AdamW(parameters(shapes, "cpu"), fused=True)
    profile(optimizer.step)
    steps = [(once(optimizer.step, "cpu"), once(theirs.step, "cpu")) for _ in range(40)][5:]
    print(f"{f'{arguments.optimizer}, {arguments.engine}':40} {statistics.median(a for a, _ in steps):7.2f} ms")
    print(f"{'torch fused AdamW':40} {statistics.median(b for _, b in steps):7.2f} ms")
    for label, norm in norms([p.grad for p in parameters(shapes, "cpu")]).items():
        print(f"norm by {label:32} {statistics.median([once(norm, 'cpu') for _ in range(40)][5:]):7.2f} ms")


if __name__ == "__main__":
    main()
