"""What version 0.1.0 wrote, and how: checkpoints in mid-run with the path that it took from there, a result, addresses.

    python tests/last_version.py

writes ``tests/fixtures/0.1.0`` anew. Never do that with a later version: the files are what it must still read.
"""

import json
import math
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from drive import SHAPES, flat, joined, weights

import weightdecay as wd
from weightdecay.lab.run import Run, options

FOLDER = Path(__file__).with_name("fixtures") / "0.1.0"
BEFORE, AFTER = 6, 8  # steps


@dataclass(frozen=True)
class Saved:
    """One optimizer that was saved in mid-run."""

    cls: type
    options: dict[str, Any] = field(default_factory=dict)
    dtype: torch.dtype = torch.float64
    engine: str = "auto"
    named: bool = False
    attached: bool = False  # torch's class, with Stable() attached
    engines: tuple[str, ...] = ("reference", "foreach", "fused", "auto", "compiled")


ADAM = {"lr": 1e-2, "betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": 0.05}
SGD = {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}
FAST = ("reference", "foreach", "fused", "auto")

SAVED = {
    "AdamS": Saved(wd.AdamS, ADAM),
    "AdamS-reference": Saved(wd.AdamS, ADAM, engine="reference", engines=FAST),
    "AdamS-foreach-float32": Saved(wd.AdamS, ADAM, torch.float32, "foreach", engines=FAST),
    "AdamS-clipped": Saved(wd.AdamS, {**ADAM, "max_grad_norm": 2.0}, engine="fused", engines=FAST),
    "AdamS-bfloat16-compensated": Saved(wd.AdamS, {**ADAM, "rounding": "compensated"}, torch.bfloat16, engines=FAST),
    "AdamW-named": Saved(wd.AdamW, ADAM, named=True, engines=FAST),
    "SGDS-momentum": Saved(wd.SGDS, SGD, engine="fused", engines=FAST),
    "SGDS-float32": Saved(wd.SGDS, SGD, torch.float32, "foreach", engines=FAST),
    "AMSGradS": Saved(wd.AMSGradS, ADAM, engine="foreach", engines=FAST),
    "AdaiS": Saved(wd.AdaiS, {"lr": 0.1, "weight_decay": 0.02}, engine="foreach", engines=FAST),
    "Yogi-Stable": Saved(wd.Yogi, {"lr": 1e-2, "weight_decay": 0.05, "decay": wd.Stable()}, engines=FAST),
    "RAdam-Independent": Saved(wd.RAdam, {**ADAM, "decay": wd.Independent()}, engines=FAST),
    "AdamW-attached": Saved(torch.optim.AdamW, ADAM, attached=True, engines=("",)),
}


def build(saved, params, engine):
    """Return an optimizer of two groups."""
    second = {"lr": 0.3 * saved.options["lr"], "weight_decay": 2 * saved.options["weight_decay"]}
    groups = [{"params": params[0]}, {"params": params[1], **second}]
    if saved.named:
        for i, group in enumerate(groups):
            group["params"] = [(f"layer{i}.{j}", p) for j, p in enumerate(group["params"])]
    if saved.attached:
        optimizer = saved.cls(groups, **saved.options)
        optimizer.handle = wd.attach(optimizer, wd.Stable())
        return optimizer
    return saved.cls(groups, engine=engine, **saved.options)


def gradient(shape, t, which):
    """A formula: no generator of any version of any library has a part in it."""
    size = math.prod(shape)
    values = [math.sin(0.7 * (i + 1) + 1.3 * t + 2.1 * which) * (1 + 0.2 * which) for i in range(size)]
    return torch.tensor(values, dtype=torch.float64).reshape(shape)


def drive(optimizer, params, steps):
    """Take the steps: tensor 2 joins late, tensor 3 after the checkpoint, tensor 1 misses one now and then."""
    shapes = [shape for group in SHAPES for shape in group]
    for t in steps:
        for which, (p, shape) in enumerate(zip(joined(params), shapes, strict=True)):
            absent = (which == 2 and t < 3) or (which == 3 and t < BEFORE + 2) or (which == 1 and t % 4 == 2)
            p.grad = None if absent else gradient(shape, t, which).to(p.dtype)
        optimizer.step()


def state_of(optimizer, params):
    """The state of every tensor, in their order; an engine's own account of v is not part of it."""
    return [{k: v for k, v in optimizer.state[p].items() if k != "v_sum"} for p in joined(params)]


RUNS = [
    Run("adams", 1e-3, 5e-4, 0),
    Run("adams", 1e-3, 5e-4, 1),
    Run("adamw", 1e-3, 0.01, 0, epochs=200, batch_size=128),
    Run("sgd", 1, 0, 0),
    Run("sgds", 0.1, 5e-4, 3, optimizer_options=options(momentum=0.9, nesterov=True)),
    Run("adam", 1e-3, 0.1, 0, optimizer_options=options(decay="vanilla", eps=1e-6)),
    Run("adam", 1e-3, 0.1, 0, optimizer_options=options(decay="independent")),
    Run("adais", 1.0, 5e-4, 7, data="cifar10", network="resnet18"),
    Run("padam", 0.01, 5e-4, 0, data="cifar100", network="vgg16", milestones=(0.5, 0.75), lr_factor=0.2),
    Run("amsgrads", 1e-3, 5e-4, 0, data="moons", network="mlp", network_options=options(hidden=8)),
    Run("adams", 1e-3, 5e-4, 0, schedule="cosine", warmup=2.0),
    Run("adams", 1e-3, 5e-4, 0, schedule="restarts", restart_period=10, restart_factor=1.5),
    Run("yogi", 0.01, 1e-4, 2, train_size=1000, validation_size=200, label_noise=0.4, augment=False),
    Run("radam", 1e-3, 0.0, 2**31, max_grad_norm=1.0),
    Run("adabound", 1e-3, 5e-4, 0, test_size=500, image_size=16),
    Run("adams", 1e-3, 5e-4, 0, data="text", data_digest="00ff00ff00ff00ff", network="lstm", sequence=20),
    Run("adams", 1e-3, 5e-4, 0, dtype="bfloat16", compile=True),
    Run("adams", 1e-3, 5e-4, 0, dtype="float64", channels_last=False),
    Run("adams", 1e-3, 5e-4, 0, processes=4, strategy="fsdp"),
    Run("heavyball", 0.1, 5e-4, 0, optimizer_options=options(momentum=0.9, dampening=0.9), processes=2),
]


def main():
    from lab import small

    from weightdecay.lab.run.store import Store
    from weightdecay.lab.training.train import train

    if wd.__version__ != "0.1.0":
        sys.exit(f"this is version {wd.__version__}: it cannot write what 0.1.0 wrote.")
    FOLDER.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for name, saved in SAVED.items():
        params = weights(saved.dtype)
        optimizer = build(saved, params, saved.engine)
        drive(optimizer, params, range(BEFORE))
        content = {"weights": flat(params), "optimizer": optimizer.state_dict()}
        content = torch.load(_through_bytes(content), weights_only=True)  # before the steps that follow write into it
        drive(optimizer, params, range(BEFORE, BEFORE + AFTER))
        content["after"] = {"weights": flat(params), "state": state_of(optimizer, params)}
        torch.save(content, FOLDER / f"{name}.pt")
    addresses = [{"address": run.address, "run": asdict(run)} for run in RUNS]
    (FOLDER / "addresses.json").write_text(json.dumps(addresses, indent=1) + "\n")
    Store(FOLDER).save(train(small(epochs=2, channels_last=False)))
    for lock in (FOLDER / "runs").glob("*/lock"):
        lock.unlink()


def _through_bytes(content):
    import io

    buffer = io.BytesIO()
    torch.save(content, buffer)
    buffer.seek(0)
    return buffer


if __name__ == "__main__":
    main()
