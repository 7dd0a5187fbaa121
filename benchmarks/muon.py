"""Muon's step against torch's, and MuonAdamW against torch's Muon and fused AdamW stepped one after the other.

    python benchmarks/muon.py                       a GPT of 124 million parameters
    python benchmarks/muon.py --layers 1            a twelfth of its matrices, where torch's step takes minutes
    python benchmarks/muon.py --model small         12 layers of width 64

The tensors are those of GPT-2's small transformer. Parameters and gradients are random. Times are medians of
alternating runs in one process.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from results import HEADER, Row, machine
from shapes import Shape, gpt, gpt124m, parameters
from timing import Step, side_by_side

import weightdecay as wd
from weightdecay.optim import newton_schulz

LAYERS, GOAL = 12, 1.0
Split = tuple[list[Shape], list[Shape]]


def split(layers: int, model: str) -> Split:
    """Return the shapes of the hidden matrices of so many layers, and of all other tensors of the model."""
    shapes = gpt124m() if model == "gpt124m" else gpt(64, 512, 64)
    hidden = [shape for shape in shapes[2:] if len(shape) == 2]
    return hidden[: layers * len(hidden) // LAYERS], [*shapes[:2], *(shape for shape in shapes if len(shape) == 1)]


def muon(layers: int, model: str, device: str) -> tuple[Step, Step]:
    """Return our step of the matrices and torch's."""
    ours, theirs = (parameters(split(layers, model)[0], device) for _ in range(2))
    return wd.Muon(ours).step, torch.optim.Muon(theirs).step


def whole(layers: int, model: str, device: str) -> tuple[Step, Step]:
    """Return our step of the model, and those of torch's two optimizers."""
    (ours, rest), (theirs, left) = (
        (parameters(split(layers, model)[0], device), parameters(split(layers, model)[1], device)) for _ in range(2)
    )
    groups = [{"params": ours, "method": "muon"}, {"params": rest, "method": "adam"}]
    one, first = wd.MuonAdamW(groups), torch.optim.Muon(theirs, adjust_lr_fn="match_rms_adamw")
    second = torch.optim.AdamW(left, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    return one.step, lambda: (first.step(), second.step())


def adam(layers: int, model: str, device: str) -> tuple[Step, Step]:
    """Return our step of the Adam part alone, and torch's fused AdamW."""
    ours, theirs = (parameters(split(layers, model)[1], device) for _ in range(2))
    group = {"params": ours, "method": "adam"}
    return wd.MuonAdamW([group]).step, torch.optim.AdamW(theirs, weight_decay=0.1, fused=True).step


ROWS = {
    "Muon": (muon, "torch Muon"),
    "MuonAdamW": (whole, "torch Muon, then fused AdamW"),
    "MuonAdamW, Adam's part": (adam, "fused AdamW"),
}


def measure(
    layers: int, device: str, rounds: int, products: str, rows: list[str], warm: int, model: str = "gpt124m"
) -> Iterator[Row]:
    """Yield one row per pair."""
    if products == "bfloat16":  # torch's own operations, whatever this CPU is good at
        newton_schulz.multiplies_bfloat16 = lambda: True
    for what in rows:
        make, other = ROWS[what]
        timed = side_by_side(*make(layers, model, device), device, rounds, warm=warm)
        section = f"muon, {model}, {layers} of {LAYERS} layers, {device}"
        yield Row(section, what, timed.ours, "ms", other, timed.theirs, timed.ratio, GOAL, f"products: {products}")


def main() -> None:
    """Print one row per pair of optimizers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--model", choices=["gpt124m", "small"], default="gpt124m", help="small: 0.6 million weights")
    parser.add_argument("--rounds", type=int, default=5, help="timed steps of each of the two optimizers of a row")
    parser.add_argument("--warm", type=int, default=1, help="steps of each before the timed ones")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="CPU threads; by default as many as torch takes")
    parser.add_argument("--products", choices=["auto", "bfloat16"], default="auto")
    parser.add_argument("--rows", nargs="+", choices=[*ROWS], default=[*ROWS])
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(machine())
    print(HEADER, flush=True)
    options = (arguments.layers, arguments.device, arguments.rounds, arguments.products, arguments.rows, arguments.warm)
    options = (*options, arguments.model)
    for row in measure(*options):
        print(row.line(), flush=True)


if __name__ == "__main__":
    main()
