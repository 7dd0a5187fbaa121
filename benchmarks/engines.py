"""What a weight decay costs: every engine against torch's own fused optimizers, and against the reference loop.

    python benchmarks/engines.py                                  everything, on the CPU and on a GPU if there is one
    python benchmarks/engines.py --networks resnet18 --threads 2 --rows torch    the rows that have goals for the CPU

Each row times two optimizers side by side on the tensor shapes of a real network and prints the ratio of their steps.
No network is run: parameters and gradients are random, of the sizes that training has. benchmarks/host.py measures
many small tensors, where the host's time is all there is.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from results import HEADER, Row, machine
from shapes import NETWORKS, Shape, parameters
from timing import Step, bandwidth, side_by_side

import weightdecay as wd

ENGINES = ("fused", "foreach", "compiled")
GOALS = {"AdamS": (1.22, 1.15), "AdamS, clipped": (0.80, 0.90), "SGDS": (1.3, 1.3)}
"""Ratios to reach on a CPU, with two threads and ResNet18's shapes, and on a GPU."""

Fresh = Callable[[], list[torch.nn.Parameter]]
Pair = tuple[str, str, Step, str, Step, float, int | None]
"""What, engine, our step, the name of theirs, their step, the goal, the bytes that ours moves per weight."""


def torch_adamw(params: list[torch.nn.Parameter], clip: float | None = None) -> Step:
    """Return the step of torch's fused AdamW, after clipping if a norm is given."""
    optimizer = torch.optim.AdamW(params, lr=1e-3, fused=True)

    def step() -> None:
        if clip:
            torch.nn.utils.clip_grad_norm_(params, clip)
        optimizer.step()

    return step


def torch_sgd(params: list[torch.nn.Parameter]) -> Step:
    """Return the step of torch's fused SGD with momentum and L2."""
    return torch.optim.SGD(params, lr=1e-3, momentum=0.9, weight_decay=5e-4, fused=True).step


def against_torch(fresh: Fresh, device: str, engines: Sequence[str] = ENGINES) -> Iterator[Pair]:
    """Pair our steps with torch's, engine by engine: what has to be compiled comes last."""
    goal = {what: goals[device.startswith("cuda")] for what, goals in GOALS.items()}
    for engine in engines:
        ours = wd.AdamS(fresh(), engine=engine).step
        yield "AdamS", engine, ours, "fused AdamW", torch_adamw(fresh()), goal["AdamS"], 32
        # Half the norm of these gradients: every step is really clipped.
        params = fresh()
        limit = 0.5 * torch.nn.utils.get_total_norm([p.grad for p in params]).item()
        clipped = wd.AdamS(params, engine=engine, max_grad_norm=limit).step
        other = torch_adamw(fresh(), 1e9)  # torch multiplies by 1 where nothing is clipped, which costs the same
        yield "AdamS, clipped", engine, clipped, "clip + fused AdamW", other, goal["AdamS, clipped"], 32
        ours = wd.SGDS(fresh(), momentum=0.9, engine=engine).step
        yield "SGDS", engine, ours, "fused SGD, L2", torch_sgd(fresh()), goal["SGDS"], 20


def against_reference(fresh: Fresh, device: str, engines: Sequence[str] = ENGINES) -> Iterator[Pair]:
    """Pair the steps of other optimizers with their own reference loop."""
    for name in ("amsgrads", "adais", "heavyball", "tensorflowsgd", "yogi", "adabound", "padam", "radam"):
        options = {"momentum": 0.9} if name in ("heavyball", "tensorflowsgd") else {}
        stable = {} if name in ("amsgrads", "adais") else {"decay": wd.Stable(), "weight_decay": 5e-4}
        make = lambda engine: wd.create(name, fresh(), lr=1e-3, engine=engine, **options, **stable).step  # noqa: E731, B023
        for engine in engines:
            try:
                ours = make(engine)
            except ValueError:  # the fused kernels are for Adam and SGD
                continue
            yield f"{name}, stable", engine, ours, "reference", make("reference"), 1 / 3, None


def against_undecorated(fresh: Fresh, device: str, engines: Sequence[str] = ENGINES) -> Iterator[Pair]:
    """Pair a modifier with the decay that it modifies: the mask should cost a compiled step almost nothing."""
    for engine in engines:
        if engine != "fused":  # whose kernel carries no mask
            ours, theirs = (
                wd.Adam(fresh(), lr=1e-3, decay=d, engine=engine).step for d in ("cautious(decoupled)", "decoupled")
            )
            yield "AdamW, cautious", engine, ours, f"AdamW, {engine}", theirs, 1.1, None


SOURCES = {"torch": against_torch, "reference": against_reference, "modifiers": against_undecorated}


def measure(
    network: str,
    shapes: list[Shape],
    device: str,
    rounds: int,
    rows: Sequence[str] = tuple(SOURCES),
    engines: Sequence[str] = ENGINES,
    elements: int = 1 << 26,
) -> Iterator[Row]:
    """Yield one row per pair; ``elements`` is the length of the arrays by which the bandwidth is measured."""
    weights = sum(torch.Size(s).numel() for s in shapes)
    speed = bandwidth(device, elements)
    fresh = lambda: parameters(shapes, device)  # noqa: E731
    for source in rows:
        for what, engine, ours, other, theirs, goal, size in SOURCES[source](fresh, device, engines):
            timed = side_by_side(ours, theirs, device, rounds)
            moved = (size or 0) * weights / (timed.ours / 1e3)
            share = f"{size} bytes per weight, {moved / speed:.0%} of bandwidth"
            yield Row(
                f"engines, {network}, {device}",
                f"{what}, {engine}",
                timed.ours,
                "ms",
                other,
                timed.theirs,
                timed.ratio,
                goal,
                share if size else "",
            )


def main() -> None:
    """Print one row per pair of optimizers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=[*NETWORKS], default=[*NETWORKS])
    parser.add_argument("--rows", choices=["all", *SOURCES], default="all")
    parser.add_argument("--rounds", type=int, default=25, help="timed steps of each of the two optimizers of a row")
    parser.add_argument("--devices", nargs="+", choices=["cpu", "cuda"])
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument("--threads", type=int, help="CPU threads; by default as many as torch takes")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    devices = arguments.devices or ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    print(machine())
    print(HEADER, flush=True)
    rows = tuple(SOURCES) if arguments.rows == "all" else (arguments.rows,)
    for device in devices:
        for network in arguments.networks:
            for row in measure(network, NETWORKS[network](), device, arguments.rounds, rows, arguments.engines):
                print(row.line(), flush=True)


if __name__ == "__main__":
    main()
