"""Where the time of one AdamS step goes on the CPU, and ways to take the norm of all gradients.

python benchmarks/profile_step.py [--network resnet18] [--engine fused]
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from shapes import NETWORKS, parameters
from timing import once

import weightdecay as wd
from weightdecay.engine import compiled, facts, foreach, fused
from weightdecay.engine.base import Engine

SPENT: dict[str, list[float]] = {}


def clocked(owner: type, name: str, label: str) -> None:
    method = getattr(owner, name)

    def timed(*args: object, **kwargs: object) -> object:
        start = time.perf_counter()
        result = method(*args, **kwargs)
        SPENT.setdefault(label, []).append(1e3 * (time.perf_counter() - start))
        return result

    setattr(owner, name, timed)


def norms(grads: list[torch.Tensor]) -> dict[str, Callable[[], object]]:
    lines = [g.view(-1) for g in grads]
    return {
        "a dot product a tensor": lambda: [torch.dot(x, x) for x in lines],
        "_foreach_norm": lambda: torch._foreach_norm(grads),
        "vector_norm a tensor": lambda: [torch.linalg.vector_norm(x) for x in lines],
        "a plain sum a tensor": lambda: [x.sum() for x in lines],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=[*NETWORKS], default="resnet18")
    parser.add_argument("--engine", choices=["fused", "compiled", "foreach"], default="fused")
    arguments = parser.parse_args()
    shapes = NETWORKS[arguments.network]()
    clocked(wd.Optimizer, "gather", "gather the tensors")
    clocked(facts.Accountant, "facts", "facts of the model (v̄, norm, finite)")
    clocked(facts.Accountant, "_squares", "  of these the norms")
    clocked(Engine, "buckets", "buckets")
    engines = {"fused": fused.Fused, "compiled": compiled.Compiled, "foreach": foreach.Foreach}
    clocked(engines[arguments.engine], "advance", "move the weights")
    optimizer = wd.AdamS(parameters(shapes, "cpu"), engine=arguments.engine)
    theirs = torch.optim.AdamW(parameters(shapes, "cpu"), fused=True)
    steps = [(once(optimizer.step, "cpu"), once(theirs.step, "cpu")) for _ in range(40)][5:]
    print(f"{'AdamS, ' + arguments.engine:40} {statistics.median(a for a, _ in steps):7.2f} ms")
    for label, spent in SPENT.items():
        print(f"  {label:38} {statistics.median(spent[5:]):7.2f} ms")
    print(f"{'torch fused AdamW':40} {statistics.median(b for _, b in steps):7.2f} ms")
    for label, norm in norms([p.grad for p in parameters(shapes, "cpu")]).items():
        print(f"norm by {label:32} {statistics.median([once(norm, 'cpu') for _ in range(40)][5:]):7.2f} ms")


if __name__ == "__main__":
    main()
