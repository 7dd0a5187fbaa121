"""E[θ_t] and Var[θ_t] of a million directions after a hundred thousand steps, and how far they are from naive loops.

Each row: milliseconds for everything from a schedule and a spectrum to the answer (best and median of the rounds, on
one thread), and the largest relative error against the recursion in long double (64-bit mantissa), taken step by step
for a sample of directions spread over the spectrum. The error of the mean is relative to |θ₀| + |θ*| of the direction,
and that of the product ∏(1 − η(h+λ)) to the product itself, where float64 can hold it.

    OMP_NUM_THREADS=1 python benchmarks/theory.py [--directions 1000000] [--steps 100000] [--rounds 5] [--sample 400]
"""

import argparse
import statistics
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from timing import once

from weightdecay import theory

DECAYS = {"coupled, λ = 5e-4": theory.Coupled(5e-4), "vanilla, λ₀ = 5e-5": theory.Vanilla(5e-5)}


def naive(
    h: np.ndarray, minimum: np.ndarray, start: np.ndarray, lrs: list[float], decay: theory.Shrinkage
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Product, mean and variance at σ = 1, step by step in long double."""
    product, mean, spread = np.ones_like(h), start.copy(), np.zeros_like(h)
    strength = np.longdouble(decay.weight_decay)
    for lr in map(np.longdouble, lrs):
        factor = 1 - (strength if isinstance(decay, theory.Vanilla) else lr * strength) - lr * h
        product *= factor
        mean = factor * mean + lr * h * minimum
        spread = factor * factor * spread + lr * lr
    return product, mean, spread


def worst(found: torch.Tensor, wanted: np.ndarray, scale: np.ndarray) -> float:
    return float(np.max(np.abs(found.numpy().astype(np.longdouble) - wanted) / scale))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directions", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sample", type=int, default=400)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    # Bulk down to 1e-8; outliers reach lr·h = 1.9, so that factors change sign.
    spectrum = theory.outliers_and_bulk(asked.directions, outliers=100, largest=19.0, edge=0.1, smallest=1e-8)
    minimum, start = torch.randn(2, asked.directions, dtype=torch.float64, generator=generator)
    model = theory.Quadratic(spectrum, minimum, start, noise=1.0)
    sample = torch.linspace(0, asked.directions - 1, asked.sample).long().unique()
    h, m, s = (x[sample].numpy().astype(np.longdouble) for x in (spectrum, minimum, start))
    print(f"{asked.directions:,} directions, {asked.steps:,} steps, one thread; errors on {sample.numel()} directions")
    print(
        f"{'schedule':9}{'decay':20}{'E[θ_t] ms':>16}{'Var[θ_t] ms':>16}  max relative error: product, mean, variance"
    )
    for schedule, lrs in (("cosine", theory.cosine(asked.steps, 0.1)), ("step", theory.drops(asked.steps, 0.1))):
        for name, decay in DECAYS.items():
            columns = []
            for ask in (theory.expected, theory.variance):
                times = [once(partial(ask, model, lrs, decay), "cpu") for _ in range(asked.rounds)]
                columns.append(f"{min(times):.0f} ({statistics.median(times):.0f})")
            product, mean, spread = naive(h, m, s, lrs.tolist(), decay)
            held = np.abs(product) > 1e-290
            left = theory.Responses(lrs).mean(spectrum, decay)[0][0][sample]
            errors = (
                worst(left[torch.from_numpy(held)], product[held], np.abs(product[held])),
                worst(theory.expected(model, lrs, decay)[sample], mean, np.abs(s) + np.abs(m)),
                worst(theory.variance(model, lrs, decay)[sample], spread, spread),
            )
            print(f"{schedule:9}{name:20}{columns[0]:>16}{columns[1]:>16}  " + ", ".join(f"{e:.1e}" for e in errors))


if __name__ == "__main__":
    main()
