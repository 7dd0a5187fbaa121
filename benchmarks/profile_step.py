"""Where the time of one step goes on the CPU, function by function, and ways to take the norm of all gradients.

python benchmarks/profile_step.py [--network resnet18] [--engine auto] [--optimizer adams]
python benchmarks/profile_step.py --files       the files of the package whose functions a later step calls
"""

import argparse
import cProfile
import itertools
import pstats
import statistics
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType

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


def files(step: Step) -> tuple[Counter[str], int]:
    """Return how often a step calls into each file of the package, and how often it goes from one to another."""
    for _ in range(3):
        step()
    folder = str(Path(wd.__file__).parent)
    order: list[str] = []

    def see(frame: FrameType, event: str, _: object) -> None:
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(folder):
            order.append(str(Path(name).relative_to(folder)))

    sys.setprofile(see)
    try:
        step()
    finally:
        sys.setprofile(None)
    return Counter(order), sum(a != b for a, b in itertools.pairwise(order))


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
    parser.add_argument("--files", action="store_true", help="only the files of the package that a step passes")
    arguments = parser.parse_args()
    if arguments.files:
        params = parameters([(3, 4), (4,)], "cpu")
        seen, changes = files(wd.create(arguments.optimizer, params, lr=1e-3, engine=arguments.engine).step)
        print(f"{arguments.optimizer}, {arguments.engine}: {len(seen)} files, {changes} changes of file, two tensors")
        print(*(f"{calls:5}  {name}" for name, calls in seen.most_common()), sep="\n")
        return
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
