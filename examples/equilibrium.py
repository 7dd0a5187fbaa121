"""Predicted equilibria against measured ones: a ResNet-8 on digits, watched under three optimizers and two λ.

A fifth of the labels are wrong, so that the gradients stay large. The convolutions stand before batch norms, so the
loss does not depend on their norms, and theory says at which norm and angle per step they settle. Nothing is fitted:
the prediction reads lr, λ, the betas and, for SGD, the norm of the gradients. Takes about five minutes on one core.

    python examples/equilibrium.py [FOLDER]          writes equilibrium.png, equilibrium.html, and prints a table
"""

import sys
from pathlib import Path
from statistics import fmean

import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy

import weightdecay
from weightdecay.lab.data.base import Facts
from weightdecay.lab.models.resnet import resnet8
from weightdecay.monitor import watch

STEPS, EVERY, BATCH, LAST = 2000, 20, 64, 20
RUNS = {
    "AdamW, λ = 1": lambda p: torch.optim.AdamW(p, lr=3e-3, weight_decay=1.0),
    "AdamW, λ = ½": lambda p: torch.optim.AdamW(p, lr=3e-3, weight_decay=0.5),
    "SGD, L2, λ = 1e-2": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-2),
    "SGD, L2, λ = 5e-3": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=5e-3),
    "AdamS, λ = 2e-2": lambda p: weightdecay.AdamS(p, lr=3e-3, weight_decay=2e-2),
    "AdamS, λ = 1e-2": lambda p: weightdecay.AdamS(p, lr=3e-3, weight_decay=1e-2),
}


def digits():
    """1,797 scans of 8 × 8, standardised; a fifth of the labels drawn anew."""
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8)
    y, draw = torch.tensor(labels), torch.Generator().manual_seed(0)
    wrong = torch.rand(len(y), generator=draw) < 0.2
    y[wrong] = torch.randint(0, 10, (int(wrong.sum()),), generator=draw)
    return (x - x.mean()) / x.std(), y


def train(make, x, y, steps=STEPS):
    """Train and return the watch."""
    torch.manual_seed(0)
    model = resnet8(Facts(channels=1, size=8, classes=10))
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = make([{"params": decayed}, {"params": others, "weight_decay": 0.0}])
    seen, draw = watch(optimizer, model, every=EVERY, tensors=True), torch.Generator().manual_seed(1)
    for _ in range(steps):
        batch = torch.randint(0, len(y), (BATCH,), generator=draw)
        optimizer.zero_grad()
        cross_entropy(model(x[batch]), y[batch]).backward()
        optimizer.step()
    return seen


def settled(seen):
    """Return (name, norm, predicted norm, angle, predicted angle) of the convolutions, means of the last readings."""
    names = [one.name for one in seen.seen if one.scale_invariant]
    fields = ("norm", "equilibrium_norm", "angle", "equilibrium_angle")
    last = [{one.name: one for one in tensors} for _, _, tensors in seen.history[-LAST:]]
    return [(name, *(fmean(getattr(each[name], field) for each in last) for field in fields)) for name in names]


def draw(watched):
    """Norms along the training of two runs, and predicted against measured of all."""
    figure = Figure(figsize=(9.6, 6.4), layout="constrained")
    axes = figure.subplots(2, 2)
    for ax, run in zip(axes[0], ("AdamW, λ = 1", "SGD, L2, λ = 1e-2"), strict=True):
        history = watched[run].history
        for i, name in enumerate(one.name for one in watched[run].seen if one.scale_invariant):
            path = [(step, one) for step, _, tensors in history for one in tensors if one.name == name]
            ax.plot([s for s, _ in path], [one.norm for _, one in path], color=f"C{i}", lw=1.2)
            ax.plot([s for s, _ in path], [one.equilibrium_norm for _, one in path], color=f"C{i}", ls=":", lw=1)
        ax.set(title=f"{run}: norms (dotted: predicted)", xlabel="step", yscale="log")
    for ax, (a, b), title in zip(axes[1], ((1, 2), (3, 4)), ("norm", "angle per step, radians"), strict=True):
        for i, (run, seen) in enumerate(watched.items()):
            rows = settled(seen)
            ax.plot([r[b] for r in rows], [r[a] for r in rows], "o^sDvP"[i], color=f"C{i // 2}", ms=5, label=run)
        every = [r[i] for seen in watched.values() for r in settled(seen) for i in (a, b)]
        ax.plot([min(every), max(every)], [min(every), max(every)], color="0.6", lw=0.8, zorder=0)
        ax.set(title=title, xlabel="predicted", ylabel="measured", xscale="log", yscale="log")
    axes[1, 0].legend(fontsize=8)
    return figure


def main(folder="."):
    torch.set_num_threads(1)
    x, y = digits()
    watched = {}
    for run, make in RUNS.items():
        watched[run] = train(make, x, y)
        rows = settled(watched[run])
        norms, angles = [r[1] / r[2] for r in rows], [r[3] / r[4] for r in rows]
        print(
            f"{run:<18} {len(rows)} tensors; measured/predicted norm {min(norms):.2f} to {max(norms):.2f}, "
            f"angle {min(angles):.2f} to {max(angles):.2f}",
            flush=True,
        )
    draw(watched).savefig(Path(folder) / "equilibrium.png", dpi=110)
    watched["AdamW, λ = 1"].report(Path(folder) / "equilibrium.html")
    print("\n".join(watched["AdamW, λ = 1"].sentences()))


if __name__ == "__main__":
    main(*sys.argv[1:2])
