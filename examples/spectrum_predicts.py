"""Does the spectrum of a real network predict its best weight decay? Measured, predicted, and laid side by side.

A small convolutional network without batch norm (smallcnn, width 16) on scikit-learn's digits, 1000 of them, a fifth of
the labels wrong; plain SGD (no momentum: then L2 is exactly the decay of the theory), lr 0.5 divided by 10 after 40 and
80 %, three lengths, six λ, three seeds. The Hessian is measured at the end of one of these runs, the middle length
with λ = 0.1/epochs (the paper's Table 3: nothing is peeked at), and from it the best λ of all lengths is predicted
for the three questions of weightdecay.spectrum.

    OMP_NUM_THREADS=1 python examples/spectrum_predicts.py [--out spectrum-predicts]

Writes spectrum-predicts.png, .svg and .csv. Runs that are there are kept; about ten minutes on one idle core.
"""

import argparse
import csv
import math
import statistics
from pathlib import Path

import torch
from matplotlib.figure import Figure

from weightdecay.lab.executors import executor
from weightdecay.lab.pages.axes import decades
from weightdecay.lab.pages.spectrum.explain import budget_of, measured
from weightdecay.lab.pages.spectrum.run import trained
from weightdecay.lab.report.figures import COLOURS, INK, MARKERS, save, styled
from weightdecay.lab.run import Place, Run, options
from weightdecay.lab.run.store import Store
from weightdecay.lab.sweeps.sweep import sweep
from weightdecay.spectrum import QUESTIONS, predicted_best

LENGTHS = (10, 30, 90)
DECAYS = (0.0, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
SEEDS = 3
STEPS = 16  # of an epoch: 1000 images, 64 per step


def run_of(epochs: int, weight_decay: float, seed: int) -> Run:
    return Run(
        "sgd", 0.5, weight_decay, seed, epochs=epochs, train_size=1000, label_noise=0.2,
        network="smallcnn", network_options=options(width=16, norm=False),
    )  # fmt: skip


def swept(results, epochs):
    """λ → (test error of every seed, training loss of every seed)."""
    found = {}
    for decay in DECAYS:
        mine = [results[run_of(epochs, decay, seed)] for seed in range(SEEDS)]
        found[decay] = [r.last for r in mine], [r.epochs[-1].train_loss or math.inf for r in mine]
    return found


def valley(values):
    """The λ of the lowest mean; and the lowest and highest λ that is the best one, or ties with it, for some seed."""
    least = min(values, key=lambda decay: statistics.mean(values[decay]))
    seeds = [[d for d in values if values[d][i] == min(v[i] for v in values.values())] for i in range(SEEDS)]
    return least, min(map(min, seeds)), max(map(max, seeds))


def place(decay: float) -> float:
    """λ = 0 has no place on a logarithmic axis: it is drawn at the left edge."""
    return decay or 1e-4


def figure(errors, predicted) -> Figure:
    with styled():
        drawn = Figure(figsize=(10.0, 4.6), layout="constrained")
        left, right = drawn.subplots(1, 2)
        for number, (epochs, values) in enumerate(errors.items()):
            means = [statistics.mean(values[d]) for d in DECAYS]
            spread = [statistics.stdev(values[d]) for d in DECAYS]
            x = [place(d) * (0.94 + 0.06 * number) for d in DECAYS]
            left.errorbar(x, means, spread, color=COLOURS[number], marker=MARKERS[number], label=f"{epochs} epochs")
            least = valley(values)[0]
            left.plot([place(least)], [statistics.mean(values[least])], "o", color=INK, mfc="none", markersize=13)
        left.set(xscale="log", yscale="log", xlabel="λ (0 at the left edge)", ylabel="test error, %")
        left.set_title("Measured, three seeds")
        left.legend()
        decades(left.xaxis)
        decades(left.yaxis, between=True)
        budgets = [budget_of(run_of(epochs, 0.0, 0), STEPS) for epochs in LENGTHS]
        for number, (question, words) in enumerate(QUESTIONS.items()):
            y = [p.weight_decay for p in predicted[question]]
            right.plot(budgets, y, color=COLOURS[number], marker=MARKERS[number], label=f"predicted: {words}")
        spans = [valley(values) for values in errors.values()]
        low, high = ([place(span[i]) for span in spans] for i in (1, 2))
        middle = [place(span[0]) for span in spans]
        bars = [[m - x for m, x in zip(middle, low, strict=True)], [x - m for m, x in zip(middle, high, strict=True)]]
        right.errorbar(
            budgets,
            middle,
            bars,
            color=INK,
            marker="s",
            label="measured: test error; bars: the best of single seeds",
            capsize=4,
        )
        right.set(xscale="log", yscale="log", xlabel="Ση over the training", ylabel="best λ")
        decades(right.xaxis, between=True)
        decades(right.yaxis)
        right.set_title("Best λ, predicted and measured")
        drawn.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("spectrum-predicts"))
    out = parser.parse_args().out
    store = Store(out)
    runs = [run_of(e, d, s) for s in range(SEEDS) for e in LENGTHS for d in DECAYS]

    def told(result, reused):
        if not reused:
            print(result.run, f"{result.run.epochs} epochs: {result.last:.2f} %")

    results = {r.run: r for r in sweep(runs, store, executor("here"), Place(), on_result=told)}
    torch.set_num_threads(1)
    chosen = run_of(LENGTHS[1], round(0.1 / LENGTHS[1], 3), 0)
    of = trained(store.of(chosen), Place(), again=True, samples=500)
    found = measured(of, top=10, probes=2, steps=60)
    print(f"{chosen}: {of.note}")
    top, whole = found.spectrum.top.values, found.spectrum.trace
    print(f"largest eigenvalue {top[0]:.4g}, trace {whole.value:.4g} ± {whole.error:.2g}")
    budgets = [budget_of(run_of(epochs, 0.0, 0), STEPS) for epochs in LENGTHS]
    predicted = {q: [predicted_best(found.spectrum, budget, q) for budget in budgets] for q in QUESTIONS}
    sweeps = {epochs: swept(results, epochs) for epochs in LENGTHS}
    errors = {epochs: {d: v[0] for d, v in values.items()} for epochs, values in sweeps.items()}
    losses = {epochs: {d: v[1] for d, v in values.items()} for epochs, values in sweeps.items()}
    with open(out / "spectrum-predicts.csv", "w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("epochs", "sum of lr", "what", "best λ", "of single seeds from", "to"))
        for i, epochs in enumerate(LENGTHS):
            budget = f"{budget_of(run_of(epochs, 0.0, 0), STEPS):.6g}"
            rows.writerow((epochs, budget, "measured: test error", *valley(errors[epochs])))
            rows.writerow((epochs, budget, "measured: training loss", *valley(losses[epochs])))
            for question, words in QUESTIONS.items():
                rows.writerow(
                    (epochs, budget, f"predicted: {words}", f"{predicted[question][i].weight_decay:.3g}", "", "")
                )
            for decay in DECAYS:
                mean, deviation = statistics.mean(errors[epochs][decay]), statistics.stdev(errors[epochs][decay])
                rows.writerow((epochs, budget, f"test error at λ {decay:g}", f"{mean:.4g}", f"± {deviation:.2g}", ""))
    print((out / "spectrum-predicts.csv").read_text())
    save(figure(errors, predicted), out, "spectrum-predicts")


if __name__ == "__main__":
    main()
