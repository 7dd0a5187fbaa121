"""What a weight decay costs: every engine against torch's own fused optimizers, and against the reference loop.

    python benchmarks/engines.py                                  everything, on the CPU and on a GPU if there is one
    python benchmarks/engines.py --networks resnet18 --rounds 9   one network, fewer rounds

Each row times two optimizers side by side on the tensor shapes of a real network and prints the ratio of their steps.
No network is run: parameters and gradients are random, of the sizes that training has.
"""

import argparse
import platform
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from shapes import NETWORKS, parameters
from timing import bandwidth, side_by_side

import weightdecay as wd

HEADER = (
    "| device | network | what | engine | ms | against | ms | ratio | goal | bytes a weight | of bandwidth |\n"
    + "|---" * 11
    + "|"
)


def torch_adamw(params, clip: float | None = None) -> Callable[[], object]:
    optimizer = torch.optim.AdamW(params, lr=1e-3, fused=True)

    def step():
        if clip:
            torch.nn.utils.clip_grad_norm_(params, clip)
        optimizer.step()

    return step


def torch_sgd(params) -> Callable[[], object]:
    return torch.optim.SGD(params, lr=1e-3, momentum=0.9, weight_decay=5e-4, fused=True).step


def against_torch(fresh, device: str) -> Iterator[tuple]:
    """(what, engine, ours, name of theirs, theirs, goal, bytes a weight of ours)."""
    gpu = device == "cuda"
    for engine in ("fused", "compiled", "foreach"):
        yield (
            "AdamS",
            engine,
            wd.AdamS(fresh(), engine=engine).step,
            "fused AdamW",
            torch_adamw(fresh()),
            1.15 if gpu else 1.25,
            32,
        )
    # Half the norm of these gradients: every step is really clipped.
    for engine in ("fused", "compiled", "foreach"):
        params = fresh()
        limit = 0.5 * torch.nn.utils.get_total_norm([p.grad for p in params]).item()
        ours = wd.AdamS(params, engine=engine, max_grad_norm=limit)
        yield (
            "AdamS, clipped",
            engine,
            ours.step,
            "clip + fused AdamW",
            torch_adamw(fresh(), 1e9),
            0.9 if gpu else 0.85,
            32,
        )
    for engine in ("fused", "compiled", "foreach"):
        ours = wd.SGDS(fresh(), momentum=0.9, engine=engine)
        yield "SGDS", engine, ours.step, "fused SGD, L2", torch_sgd(fresh()), 1.05, 20


def against_reference(fresh) -> Iterator[tuple]:
    for name in ("amsgrads", "adais", "heavyball", "tensorflowsgd", "yogi", "adabound", "padam", "radam"):
        options = {"momentum": 0.9} if name in ("heavyball", "tensorflowsgd") else {}
        stable = {} if name in ("amsgrads", "adais") else {"decay": wd.Stable(), "weight_decay": 5e-4}
        make = lambda engine: wd.create(name, fresh(), lr=1e-3, engine=engine, **options, **stable).step  # noqa: E731, B023
        for engine in ("fused", "foreach", "compiled"):
            try:
                ours = make(engine)
            except ValueError:
                continue
            yield f"{name}, stable", engine, ours, "reference", make("reference"), 1 / 3, None


def measure(network: str, device: str, rounds: int, rows: str) -> Iterator[str]:
    shapes = NETWORKS[network]()
    weights = sum(torch.Size(s).numel() for s in shapes)
    fresh = lambda: parameters(shapes, device)  # noqa: E731
    speed = bandwidth(device)
    sources = {"torch": lambda: against_torch(fresh, device), "reference": lambda: against_reference(fresh)}
    for name, source in sources.items():
        if rows not in ("all", name):
            continue
        for what, engine, ours, other, theirs, goal, size in source():
            timed = side_by_side(ours, theirs, device, rounds)
            share = f"{size} | {size * weights / (timed.ours / 1e3) / speed:.0%}" if size else "– | –"
            met = "met" if timed.ratio <= goal else "missed"
            yield (
                f"| {device} | {network} | {what} | {engine} | {timed.ours:.2f} | {other} | {timed.theirs:.2f} "
                f"| {timed.ratio:.2f} | ≤ {goal:.2f} {met} | {share} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=[*NETWORKS], default=[*NETWORKS])
    parser.add_argument("--rows", choices=["all", "torch", "reference"], default="all")
    parser.add_argument("--rounds", type=int, default=25, help="timed steps of each of the two optimizers of a row")
    parser.add_argument("--devices", nargs="+", choices=["cpu", "cuda"])
    arguments = parser.parse_args()
    devices = arguments.devices or ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    print(f"{versions}, {torch.get_num_threads()} threads, {time.strftime('%Y-%m-%d')}")
    for device in devices:
        name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
        print(f"{device}: {name}, {bandwidth(device) / 1e9:.0f} GB/s for x += y")
    print(HEADER, flush=True)
    for device in devices:
        for network in arguments.networks:
            for row in measure(network, device, arguments.rounds, arguments.rows):
                print(row, flush=True)


if __name__ == "__main__":
    main()
