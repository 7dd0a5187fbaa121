"""Drives an optimizer through a run that has everything in it: groups, late joiners, missing gradients, a schedule."""

import numpy as np
import torch

SHAPES = [[(3, 4), (5,)], [(2, 3), (), (7,)]]


def weights(dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        [torch.nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)) for shape in group]
        for group in SHAPES
    ]


def gradients(steps, scale=1.0, seed=1, missing=True):
    """gradients[t][group][parameter]: float64 arrays, None where the parameter has none in this step."""
    rng = np.random.default_rng(seed)
    run = []
    for t in range(steps):
        step = [[scale * rng.standard_normal(shape) for shape in group] for group in SHAPES]
        if missing:
            if t < 5:
                step[1][0] = None  # joins late
            if t % 7 == 3:
                step[0][1] = None  # misses a step now and then
            if t >= steps // 2:
                step[1][2] = None  # stops for good
        run.append(step)
    return run


def schedule(steps, lr):
    """Warms up, holds, drops by ten, rises again, never above lr."""
    factors = [min(1.0, (t + 1) / 4) * (0.1 if steps // 3 < t < 2 * steps // 3 else 1.0) for t in range(steps)]
    return [lr * factor for factor in factors]


def set_gradients(params, step):
    for group, values in zip(params, step, strict=True):
        for param, value in zip(group, values, strict=True):
            param.grad = None if value is None else torch.as_tensor(value).to(param.dtype).reshape(param.shape)


def drive(optimizer, params, run, lrs=None, start=0):
    """Take the steps of ``run``; ``lrs[g][t]`` overrides the lr of group g at step t."""
    for t, step in enumerate(run, start):
        if lrs is not None:
            for group, lr in zip(optimizer.param_groups, lrs, strict=True):
                group["lr"] = lr[t]
        set_gradients(params, step)
        optimizer.step()


def joined(params):
    return [p for group in params for p in group]


def flat(params):
    return [p.detach().clone() for p in joined(params)]


def assert_close(ours, theirs, tolerance=1e-12):
    for a, b in zip(ours, theirs, strict=True):
        b = torch.as_tensor(b).reshape(a.shape)
        b = b.to(a.dtype) if a.is_floating_point() else b
        scale = max(b.abs().max().item(), 1e-30) if b.numel() else 1.0
        assert torch.isfinite(a).all()
        worst = (a - b).abs().max().item() / scale
        assert worst <= tolerance, f"relative difference {worst:.2e}"
