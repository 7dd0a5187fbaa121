"""The page of ``weightdecay spectrum``: figures, tables and the numbers behind them."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from weightdecay.document import Cell, Document, Section, Table, write
from weightdecay.lab.pages.axes import decades
from weightdecay.lab.pages.spectrum.explain import Measured
from weightdecay.lab.pages.spectrum.run import Trained
from weightdecay.lab.report.figures import COLOURS, INK, draw, styled
from weightdecay.spectrum import QUESTIONS, Direction, Predicted, Share, expected_loss, predicted_best

LENGTHS = (1, 3, 10)
"""Trainings for which a best λ is predicted, as multiples of the run's own."""

BINS_PER_DECADE = 4


WIDE = 0.2
"""Bounds of a share that are farther apart than this ask for more steps of Lanczos."""


def percent(share: Share) -> str:
    """Return a share with its bounds."""
    return f"{100 * share.guess:.1f} % (for the vectors used, {100 * share.low:.1f} to {100 * share.high:.1f} %)"


def wide(share: Share) -> str:
    """Return what to do where the bounds of a share are far apart; else nothing."""
    if share.high - share.low <= WIDE:
        return ""
    return "The bounds of the share below λ are far apart. Use more --points, which resolve smaller eigenvalues."


def cells(one: Direction) -> tuple[str, str, str]:
    """Return eigenvalue, bias and time as text."""
    if one.bias is None or one.time is None:
        return f"{one.eigenvalue:.4g}", "leaves", "never"
    return f"{one.eigenvalue:.4g}", f"{100 * one.bias:.2g} %", f"{one.time:.3g}"


def spectrum_figure(found: Measured) -> Figure:
    """Draw how many eigenvalues lie where, by their absolute value, with λ drawn in."""
    spectrum = found.spectrum
    nodes, counts = spectrum.density.spectrum()
    sizes = nodes.abs().clamp(min=1e-12)
    low = max(math.floor(math.log10(sizes.min().item())), -8)
    high = math.ceil(math.log10(max(sizes.max().item(), spectrum.top.values[0].item(), 1e-12)))
    edges = torch.logspace(low, high, BINS_PER_DECADE * (high - low) + 1, dtype=torch.float64)
    place = torch.bucketize(sizes.clamp(min=10.0**low), edges).sub(1).clamp(0, len(edges) - 2)
    with styled():
        figure = Figure(figsize=(7.0, 4.2), layout="constrained")
        axes: Axes = figure.subplots()
        bottom = torch.zeros(len(edges) - 1, dtype=torch.float64)
        for name, sign, colour in (("positive", 1, COLOURS[0]), ("negative", -1, COLOURS[1])):
            inside = nodes.sign() == sign
            if sign == 1:
                inside |= nodes == 0
            height = torch.zeros(len(edges) - 1, dtype=torch.float64).index_add_(0, place[inside], counts[inside])
            if height.sum() > 0:
                widths = edges.diff().numpy()
                left = edges[:-1].numpy()
                axes.bar(left, height.numpy(), widths, bottom.numpy(), align="edge", color=colour, label=name)
            bottom += height
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylim(0.3, 4 * bottom.max().item())
        decades(axes.xaxis)
        decades(axes.yaxis)
        top = spectrum.top.values[spectrum.top.values > 0].numpy()
        if len(top):
            axes.plot(top, [0.42] * len(top), "|", color=INK, markersize=9, label=f"the {len(top)} largest")
        if found.weight_decay > 0:
            axes.axvline(found.weight_decay, color=INK, linestyle=(0, (5, 2)), linewidth=1.4)
            axes.text(found.weight_decay, 2.2 * bottom.max().item(), f" λ = {found.weight_decay:.3g}", color=INK)
        axes.set_xlabel("absolute value of an eigenvalue")
        axes.set_ylabel("eigenvalues in a bin")
        axes.set_title(f"Spectrum of the {'Hessian' if found.kind == 'hessian' else 'GGN'}")
        axes.legend(loc="upper right")
    return figure


def prediction_figure(found: Measured) -> Figure:
    """Draw what is expected to be left against λ, for the run's own length, as a part of what λ = 0 leaves."""
    decays = torch.logspace(-6, 0, 73, dtype=torch.float64).tolist()
    with styled():
        figure = Figure(figsize=(7.0, 4.2), layout="constrained")
        axes: Axes = figure.subplots()
        for (question, words), colour in zip(QUESTIONS.items(), COLOURS, strict=False):
            values = expected_loss(found.spectrum, [0.0, *decays], found.total_lr, question)
            axes.plot(decays, (values[1:] / values[0]).numpy(), color=colour, label=words)
        if found.weight_decay > 0:
            axes.axvline(found.weight_decay, color=INK, linestyle=(0, (5, 2)), linewidth=1.4, label="λ of the run")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("λ, as in L2")
        axes.set_ylabel("expected, over that at λ = 0")
        decades(axes.xaxis)
        decades(axes.yaxis, between=True)
        axes.set_ylim(0.5, 10)
        axes.set_title("Expected loss against λ, for a quadratic with this spectrum")
        figure.legend(loc="outside lower center", ncols=1)
    return figure


def predictions(found: Measured) -> list[Predicted]:
    """Return the best λ for every length and question."""
    return [
        predicted_best(found.spectrum, found.total_lr * length, question)
        for length in LENGTHS
        for question in QUESTIONS
    ]


def shown(one: Predicted, found: Measured) -> str:
    """Return a predicted λ in the run's own meaning, with a sign where it lies at the end of what was tried."""
    text = f"{one.weight_decay * found.per_l2:.2g}"
    if not one.edge:
        return text
    return f"≤ {text}" if one.weight_decay < 1e-3 else f"≥ {text}"


def numbers(found: Measured) -> str:
    """Return every eigenvalue, node and count as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("what", "value", "weight"))
    spectrum = found.spectrum
    writer.writerows(("eigenvalue", repr(value), 1) for value in spectrum.top.values.tolist())
    writer.writerow(("trace", repr(spectrum.trace.value), repr(spectrum.trace.error)))
    nodes, counts = spectrum.density.spectrum()
    writer.writerows(("density", repr(t), repr(w)) for t, w in zip(nodes.tolist(), counts.tolist(), strict=True))
    for name, one in (("initial weights", spectrum.start), ("trained weights", spectrum.end)):
        writer.writerows(
            (name, repr(t), repr(w)) for t, w in zip(one.nodes.tolist(), one.weights.tolist(), strict=True)
        )
    return text.getvalue()


def page(found: Measured, of: Trained, out: Path, command: str) -> Path:
    """Write figures, CSV and page; return the page's path."""
    spectrum, lam = found.spectrum, found.weight_decay
    size, top, share = spectrum.density.size, spectrum.top.values, spectrum.share(lam)
    seen = sum(len(targets) for _, targets in of.data)
    drawn = draw(
        spectrum_figure(found), out, "spectrum",
        f"The distribution of the {size:,} eigenvalues by absolute value, from {len(spectrum.density.probes)} × "
        f"{len(spectrum.density.probes[0].nodes)} nodes of Lanczos with random vectors. A node stands for its "
        "neighbourhood. Near 0 the neighbourhood may be wide and contain eigenvalues of either sign. Left of the "
        "dashed line λ is the larger part of H + λ.",
    )  # fmt: skip
    curves = draw(
        prediction_figure(found), out, "prediction",
        "Expected value after a training as long as the run, for a quadratic loss with the measured spectrum, as a "
        "fraction of the value at λ = 0.",
    )  # fmt: skip
    rows = [cells(one) for one in spectrum.directions(lam)]
    table = Table(("Eigenvalue h", "Bias, λ/(h + λ) of θ*", "Time to 1/e, in Ση·gain"), rows)
    every = predictions(found)
    best_rows: list[tuple[Cell, ...]] = [
        (f"× {length}", found.total_lr * length, *(shown(p, found) for p in every[3 * i : 3 * i + 3]))
        for i, length in enumerate(LENGTHS)
    ]
    bests = Table(("Length", "Ση·gain", *(f"Best λ for the {words}" for words in QUESTIONS.values())), best_rows)
    answer = (
        f"The largest eigenvalue is {top[0]:.4g}, the sum of all {spectrum.trace.value:.4g} ± "
        f"{spectrum.trace.error:.2g}. λ = {lam:.3g} (as in L2) is the larger part of H + λ in {percent(share)} of "
        f"{size:,} directions, and more than ten times the other in {percent(spectrum.share(lam / 10))}. In these λ "
        "alone determines where the weights go and how fast."
    )
    notes = [
        f"Weights: {of.note}.",
        *([wide(share)] if wide(share) else []),
        "The network is in eval mode: its batch-norm statistics are fixed, and there is no dropout.",
        "A best λ on this page is that of a quadratic loss whose minimum is at the trained weights, and whose initial "
        "weights are independent of the minimum. A network is not a quadratic; examples/spectrum_predicts.py measures "
        "the error of this assumption.",
    ]
    document = Document(
        title="weightdecay spectrum",
        answer=answer,
        notes=notes,
        sections=(
            Section("The spectrum", (), (drawn,)),
            Section(
                "The largest eigenvalues",
                ("Bias and time of each of these directions, by Corollaries 1 and 2.",),
                (table,),
            ),
            Section("The best λ for each length of training", (PREDICTED,), (bests, curves)),
        ),
        facts=(
            ("Run", str(of.run)),
            ("Data", f"{seen:,} of {of.examples:,} training {of.unit}, {AS_MEASURED[of.unit]}"),
            ("Matrix", f"{found.kind}, {size:,} × {size:,}, {found.products} products"),
            ("λ", f"{of.run.weight_decay:g} in the run’s own meaning, which is {found.per_l2:.3g} times L2’s"),
            ("Ση·gain", f"{found.total_lr:.4g} over the training, {found.last_lr:.3g} per step at its end"),
        ),
        command=command,
        downloads={"spectrum.csv": numbers(found)},
    )
    return write(document, out, "spectrum")


AS_MEASURED = {"images": "without augmentation", "tokens": "each step read without the text before it"}

PREDICTED = (
    "The best λ depends on the quantity that shall be small; the table has three of them. The training loss ignores "
    "flat directions. The distance to the minimum counts all directions alike, so the initial weights must be "
    "forgotten, and the best λ falls with the length of the training. For the cost of finitely many examples the best "
    "λ rises with the length, since decay must then replace early stopping. It depends on the network which of the two "
    "matters. λ in the table has the run’s own meaning, and in the figure that of L2."
)
