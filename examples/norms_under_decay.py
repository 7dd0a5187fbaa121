"""What happens to the norms of a small network's layers under each decay: one small picture for each, measured.

A next-byte predictor on Python's own help texts (pydoc_data.topics): an embedding of 128 bytes, of which some are rare
and some never appear; two hidden layers, each before a LayerNorm; a head. Adam, lr 3e-3 after a warm-up and then along
a cosine to 0, 400 steps of 256 windows, one seed. λ gives each decay a pull of 3e-3 per step at the peak, if its
pull does not depend on the gradients; nothing else is tuned. The gains and biases of the norms have λ = 0.

    OMP_NUM_THREADS=1 python examples/norms_under_decay.py [--out docs/images]

Writes norms-under-decay.png and prints the norms at the end, over those at the start. Under a minute on one idle core.
"""

import argparse
import math
import pydoc_data.topics
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import nn

import weightdecay
from weightdecay.lab.report.figures import COLOURS, DASHES, INK, save_png, styled

STEPS, WARM_UP, BATCH, WINDOW, WIDTH, LR, PULL = 400, 40, 256, 4, 48, 3e-3, 3e-3
LAYERS = {"embedding": "0.weight", "hidden 1": "2.weight", "hidden 2": "5.weight", "head": "8.weight"}
ARMS = {
    "no decay": ("decoupled", 0.0),
    "Decoupled()": ("decoupled", PULL / LR),
    "Stable()": ("stable", 0.004),
    "Corrected()": ("corrected", PULL / LR),
    "LogTime(horizon=40)": ("logtime(horizon=40)", PULL),
    "Cautious()": ("cautious", PULL / LR),
    "Toward('start')": ("toward(start)", PULL / LR),
    "TouchedRows()": ("touchedrows", PULL / LR),
    "NormTarget(radius=8)": ("normtarget(radius=8.0)", PULL / LR),
    "Elementwise(max_rms=1)": ("elementwise(max_rms=1.0)", 0.004),
    "Hyperball()": ("hyperball", 1.0),
    "RadialBrake(outward=0.5)": ("radialbrake(outward=0.5)", 1.0),
}


def text() -> torch.Tensor:
    joined = "\n".join(pydoc_data.topics.topics.values())
    return torch.tensor(list(joined.encode("ascii", "ignore")), dtype=torch.long)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    size = WINDOW * WIDTH
    return nn.Sequential(
        *(nn.Embedding(128, WIDTH), nn.Flatten()),
        *(nn.Linear(size, size, bias=False), nn.LayerNorm(size), nn.ReLU()),
        *(nn.Linear(size, size, bias=False), nn.LayerNorm(size), nn.ReLU()),
        nn.Linear(size, 128, bias=False),
    )


def measured(decay: str, strength: float, data: torch.Tensor) -> tuple[list[list[float]], float]:
    """Return the norm of each layer over its first, at every step, and the mean loss of the last 50 steps."""
    model, draw = network(), torch.Generator().manual_seed(1)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": matrices}, {"params": rest, "weight_decay": 0.0}]
    optimizer = weightdecay.Adam(groups, lr=LR, weight_decay=strength, decay=decay, peak_lr=LR)
    layers = [dict(model.named_parameters())[name] for name in LAYERS.values()]
    first = [layer.detach().norm().item() for layer in layers]
    norms, losses = [[1.0] * len(layers)], []
    for t in range(STEPS):
        factor = min((t + 1) / WARM_UP, 0.5 + 0.5 * math.cos(math.pi * t / STEPS))
        for group in optimizer.param_groups:
            group["lr"] = LR * factor
        at = torch.randint(len(data) - WINDOW, (BATCH, 1), generator=draw)
        windows = data[at + torch.arange(WINDOW + 1)]
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(windows[:, :WINDOW]), windows[:, WINDOW])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        norms.append([layer.detach().norm().item() / start for layer, start in zip(layers, first, strict=True)])
    return norms, sum(losses[-50:]) / 50


def figure(curves: dict[str, list[list[float]]]) -> Figure:
    with styled():
        drawn = Figure(figsize=(10.0, 7.6), layout="constrained")
        panels = drawn.subplots(3, 4, sharex=True, sharey=True)
        for axes, (title, norms) in zip(panels.flat, curves.items(), strict=True):
            axes.axhline(1.0, color=INK, linewidth=0.8)
            for number, name in enumerate(LAYERS):
                dash = DASHES[number % len(DASHES)]
                axes.plot([row[number] for row in norms], color=COLOURS[number], linestyle=dash, label=name)
            axes.set_title(title, fontsize=10)
            axes.set(yscale="log", xticks=(0, 200, 400))
            axes.set_yticks((0.5, 1, 2), ("½", "1", "2"))
            axes.minorticks_off()
        for axes in panels[-1]:
            axes.set_xlabel("step")
        drawn.supylabel("norm of the layer over its norm at the start", fontsize=10)
        drawn.legend(*panels.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    out = parser.parse_args().out
    data, curves = text(), {}
    print(f"{'decay':26}{'λ':>8}  {'  '.join(f'{name:>9}' for name in LAYERS)}  training loss")
    for title, (decay, strength) in ARMS.items():
        curves[title], loss = measured(decay, strength, data)
        print(f"{title:26}{strength:8.3g}  {'  '.join(f'{x:9.2f}' for x in curves[title][-1])}  {loss:13.3f}")
    print(save_png(figure(curves), out, "norms-under-decay"))


if __name__ == "__main__":
    main()
