"""The host's time of a step for many small tensors, where Python and the dispatch of operators are all there is.

    python benchmarks/host.py                          all rows
    python benchmarks/host.py --tensors 300 --rows torch
    python benchmarks/host.py --before ../old/src      the reference step against that of another checkout
    python benchmarks/host.py --rows attach --busy     on a machine that other programs use too: the time of the thread
    python benchmarks/host.py --profile                where the time of a step of AdamS goes

Each row alternates two optimizers in one process and prints medians and the median ratio. On a GPU a step is over when
the host is free again: what the device still has to do is not counted.
"""

import argparse
import gc
import importlib
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from profile_step import profile
from results import HEADER, Row, machine
from shapes import NETWORKS, Shape, parameters
from timing import Step, busy, host, medians, side_by_side

import weightdecay as wd

TENSORS = (300, 1000)
SHAPES: dict[str, Shape] = {"8": (8,), "2×4": (2, 4)}
"""The form of every tensor. Those of two dimensions have to be flattened before they can be joined."""

COMPARED = ("adams", "adamw", "sgds", "adam", "radam", "sgd")
"""What is compared with torch's own class; every other optimizer is compared with its reference loop."""

MOMENTUM = ("sgds", "sgdw", "sgd", "heavyball", "tensorflowsgd")

Params = list[torch.nn.Parameter]
Build = Callable[[Params], torch.optim.Optimizer]
Clock = Callable[[Step, str], float]


def fused_adamw(params: Params) -> torch.optim.Optimizer:
    return torch.optim.AdamW(params, lr=1e-3, fused=True)


def fused_sgd(params: Params) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr=1e-3, momentum=0.9, weight_decay=5e-4, fused=True)


def attached(params: Params) -> torch.optim.Optimizer:
    optimizer = fused_adamw(params)
    optimizer.handle = wd.attach(optimizer, wd.Stable(), weight_decay=5e-4)
    return optimizer


def with_uniform(build: Build) -> Build:
    """Return the same optimizer with a decay that reads no gradient."""

    def attached(params: Params) -> torch.optim.Optimizer:
        optimizer = build(params)
        optimizer.handle = wd.attach(optimizer, wd.Decoupled(), weight_decay=0.1)
        return optimizer

    return attached


def sgds(params: Params) -> torch.optim.Optimizer:
    return wd.SGDS(params, lr=1e-3, momentum=0.9)


L2 = {"lr": 1e-3, "weight_decay": 5e-4}
AGAINST_TORCH: dict[str, tuple[Build, str, Build, float]] = {
    "AdamS": (wd.AdamS, "torch fused AdamW", fused_adamw, 1.10),
    "AdamW": (wd.AdamW, "torch fused AdamW", fused_adamw, 0.95),
    "SGDS": (sgds, "torch fused SGD", fused_sgd, 1.3),
    "attach(torch fused AdamW, Stable())": (attached, "torch fused AdamW", fused_adamw, 1.4),
    "attach(torch fused AdamW, Decoupled())": (with_uniform(fused_adamw), "torch fused AdamW", fused_adamw, 1.25),
    "attach(torch fused SGD, Decoupled())": (with_uniform(fused_sgd), "torch fused SGD", fused_sgd, 1.25),
    "Adam, foreach": (
        lambda params: wd.Adam(params, **L2, engine="foreach"),
        "torch foreach Adam",
        lambda params: torch.optim.Adam(params, **L2, foreach=True),
        1.1,
    ),
    "RAdam, foreach": (
        lambda params: wd.RAdam(params, **L2, engine="foreach"),
        "torch foreach RAdam",
        lambda params: torch.optim.RAdam(params, **L2, foreach=True),
        1.1,
    ),
    "SGD, foreach": (
        lambda params: wd.SGD(params, **L2, momentum=0.9, engine="foreach"),
        "torch foreach SGD",
        lambda params: torch.optim.SGD(params, **L2, momentum=0.9, foreach=True),
        1.1,
    ),
}
"""What → (how it is built, the name of the other, how that is built, the ratio to reach)."""


def against_torch(
    device: str, tensors: int, form: str, rounds: int, clock: Clock = host, only: str = ""
) -> Iterator[Row]:
    """Yield our classes beside torch's fastest; ``only`` those whose name begins so."""
    shapes = [SHAPES[form]] * tensors
    for what, (ours, other, theirs, goal) in AGAINST_TORCH.items():
        if not what.startswith(only):
            continue
        steps = (build(parameters(shapes, device)).step for build in (ours, theirs))
        timed = side_by_side(*steps, device, rounds, clock)
        label = f"host, {device}, {tensors:,} tensors of {form}"
        yield Row(label, what, timed.ours, "ms", other, timed.theirs, timed.ratio, goal)


def against_reference(device: str, tensors: int, form: str, rounds: int) -> Iterator[Row]:
    """Yield every other optimizer beside its own reference loop."""
    shapes = [SHAPES[form]] * tensors
    for name in wd.available():
        if name in COMPARED or (wd.catalog.optimizer(name).family == "orthogonal" and len(SHAPES[form]) < 2):
            continue  # benchmarks/muon.py compares Muon, which takes matrices
        ours, decay = stable(name, parameters(shapes, device), "auto")
        theirs, _ = stable(name, parameters(shapes, device), "reference")
        timed = side_by_side(ours.step, theirs.step, device, rounds, host)
        label = f"host, {device}, {tensors:,} tensors of {form}"
        what = f"{name}, {decay}, default engine"
        yield Row(label, what, timed.ours, "ms", "its reference loop", timed.theirs, timed.ratio, 0.25)


def stable(name: str, params: Params, engine: str) -> tuple[wd.Optimizer, str]:
    """Build the optimizer with stable decay where it takes one, and say which decay it has."""
    options = {"lr": 1e-3, "engine": engine, **({"momentum": 0.9} if name in MOMENTUM else {})}
    try:
        optimizer = wd.create(name, params, decay=wd.Stable(), weight_decay=5e-4, **options)
    except (TypeError, ValueError):  # its decay is in its name, or it has no gain
        optimizer = wd.create(name, params, **options)
    return optimizer, repr(optimizer.param_groups[0]["decay"])


def construction(device: str, groups: Sequence[int], rounds: int) -> Iterator[Row]:
    """Yield the time that many groups of one tensor take to build, against that of fewer, scaled to their number."""
    label = f"construction, {device}"
    for name, build in {"AdamS": wd.AdamS, "torch fused AdamW": fused_adamw}.items():
        # Torch's own class walks all groups for each that is added: it has no goal here.
        goal = 1.25 if build is wd.AdamS else None
        times: dict[int, list[float]] = {count: [] for count in groups}
        for _ in range(rounds):
            for count in groups:
                params = parameters([(8,)] * count, device)
                times[count].append(host(lambda p=params, b=build: b([{"params": [one]} for one in p]), device))
        for fewer, more in itertools.pairwise(groups):
            factor = more / fewer
            timed = medians([(a, b * factor) for a, b in zip(times[more], times[fewer], strict=True)])
            what = f"{name}, {more:,} groups built"
            against = f"{factor:g} × the time of {fewer:,}"
            yield Row(label, what, timed.ours, "ms", against, timed.theirs, timed.ratio, goal, "1 is linear")


def many(device: str, tensors: int, rounds: int) -> Iterator[Row]:
    """Yield the first step and a later one of very many tensors."""
    label = f"host, {device}, {tensors:,} tensors of 8"
    pair = (wd.AdamS, fused_adamw)
    firsts = []
    for _ in range(rounds):
        built = [build(parameters([(8,)] * tensors, device)) for build in pair]
        gc.collect()
        firsts.append(tuple(host(optimizer.step, device) for optimizer in built))
    first = medians(firsts)
    yield Row(label, "AdamS, first step", first.ours, "ms", "torch fused AdamW", first.theirs, first.ratio)
    later = side_by_side(*(optimizer.step for optimizer in built), device, rounds, host)
    yield Row(label, "AdamS, later step", later.ours, "ms", "torch fused AdamW", later.theirs, later.ratio, 1.10)


def before(source: Path, device: str, tensors: Sequence[int], rounds: int) -> Iterator[Row]:
    """Yield the reference step beside that of another checkout, both in this process."""
    sets = {f"{count:,} tensors of 8": [(8,)] * count for count in tensors}
    for label, shapes in {**sets, "ResNet18's shapes": NETWORKS["resnet18"]()}.items():
        for name in ("adams", "sgds", "adam"):
            ours = wd.create(name, parameters(shapes, device), lr=1e-3, engine="reference").step
            theirs = other_checkout(source, name, parameters(shapes, device))
            timed = side_by_side(ours, theirs, device, rounds, host)
            what = f"{name}, reference, {label}"
            yield Row("reference", what, timed.ours, "ms", "the other checkout", timed.theirs, timed.ratio, 1.0)


def other_checkout(source: Path, name: str, params: Params) -> Step:
    """Return the reference step of the package in another folder; this one's modules are back afterwards."""
    mine, source = loaded(), source.resolve()
    for module in mine:
        del sys.modules[module]
    sys.path.insert(0, str(source))
    try:
        package = importlib.import_module("weightdecay")
        if not Path(package.__file__).is_relative_to(source):
            raise SystemExit(f"--before {source}: there is no package weightdecay. Give the folder src of a checkout.")
        optimizer = package.create(name, params, lr=1e-3, engine="reference")
        optimizer.step()  # which imports what it still needs
    finally:
        sys.path.remove(str(source))
        for module in loaded():
            del sys.modules[module]
        sys.modules.update(mine)
    return optimizer.step


def loaded() -> dict[str, object]:
    """Return the modules of the package that are imported now."""
    return {name: module for name, module in sys.modules.items() if name.split(".")[0] == "weightdecay"}


ROWS = ("torch", "attach", "reference", "many", "construction")
"""Those of attach are among those of torch; by themselves they are for who works on attach."""


def measure(
    device: str,
    tensors: Sequence[int] = TENSORS,
    rounds: int = 51,
    rows: Sequence[str] = ROWS,
    groups: Sequence[int] = (750, 1500, 3000),
    most: int = 10_000,
    forms: Sequence[str] = tuple(SHAPES),
    clock: Clock = host,
) -> Iterator[Row]:
    """Yield all rows; ``most`` is the number of tensors of the rows about very many, ``clock`` of those with torch."""
    few = max(2, rounds // 10)
    if "torch" in rows or "attach" in rows:
        for form in forms:
            for count in tensors:
                yield from against_torch(device, count, form, rounds, clock, "" if "torch" in rows else "attach")
    if "reference" in rows:
        yield from against_reference(device, tensors[0], forms[0], max(2, rounds // 3))
    if "many" in rows:
        yield from many(device, most, few)
    if "construction" in rows:
        yield from construction(device, groups, few)


def main() -> None:
    """Print one row per pair."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tensors", nargs="+", type=int, default=TENSORS)
    parser.add_argument("--forms", nargs="+", choices=[*SHAPES], default=[*SHAPES], help="of the tensors")
    parser.add_argument("--rounds", type=int, default=51, help="timed steps of each of the two optimizers of a row")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS)
    parser.add_argument("--groups", nargs="+", type=int, default=(750, 1500, 3000))
    parser.add_argument("--most", type=int, default=10_000, help="tensors of the rows of very many")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--busy", action="store_true", help="rows torch and attach: the thread's own time, not that of the clock"
    )
    parser.add_argument("--before", type=Path, help="the folder src of another checkout: only the reference steps")
    parser.add_argument("--profile", action="store_true", help="only the functions that take most of a step of AdamS")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    print(machine())
    if asked.profile:
        profile(wd.AdamS(parameters([SHAPES[asked.forms[0]]] * asked.tensors[0], asked.device)).step)
        return
    print(HEADER, flush=True)
    if asked.before:
        rows = before(asked.before, asked.device, asked.tensors, asked.rounds)
    else:
        forms, clock = asked.forms, busy if asked.busy else host
        rows = measure(
            asked.device, asked.tensors, asked.rounds, asked.rows, asked.groups, asked.most, forms=forms, clock=clock
        )
    for row in rows:
        print(row.line(), flush=True)


if __name__ == "__main__":
    main()
