"""First witness: every box equals its naive float64 oracle, whatever groups, schedule, gaps and gradient scale do."""

import functools

import oracles
import pytest
from cases import PAIRS
from drive import assert_close, drive, flat, gradients, schedule, weights

STEPS = 16
"""Every part of the schedule, every gap, and more steps than any warm-up of a method."""
CASES = [
    pytest.param(method, options, case, id=f"{method}-{i}-{case}")
    for method, case in PAIRS
    for i, options in enumerate(method.variants)
]


def built(number, scale, engine):
    """Return the weights, their optimizer, and the lr of each group in each step."""
    method, options, case = CASES[number].values
    params = weights()
    # λ of a gain-coupled decay is in loss/weight²: it scales with the loss, or everything would meet the clamp.
    strength = case.strength * (scale if case.by_gain and method.adaptive else 1.0)
    groups = [
        {"params": params[0], "lr": method.lr, "weight_decay": strength},
        {"params": params[1], "lr": 0.3 * method.lr, "weight_decay": 0.5 * strength},
    ]
    if "betas" in options:
        groups[1]["betas"] = (0.7, 0.97)  # v̄ mixes tensors of different β₂
    lrs = [schedule(STEPS, group["lr"]) for group in groups]
    return params, method.cls(groups, decay=case.decay, engine=engine, **options), lrs


@functools.cache
def expected(number, scale):
    """Where the oracle comes to: the same for every engine."""
    method, _, case = CASES[number].values
    params, optimizer, lrs = built(number, scale, "reference")
    start = [[p.detach().numpy().copy() for p in group] for group in params]
    hyper = [
        {k: v for k, v in group.items() if k not in ("params", "decay", "maximize")} for group in optimizer.param_groups
    ]
    told = [{**h, **case.options, "params": w, "lr": lr} for h, w, lr in zip(hyper, start, lrs, strict=True)]
    end = oracles.run(method.oracle, case.oracle, told, gradients(STEPS, scale))
    moved = max(abs(a - b).max() for p, q in zip(end, start, strict=True) for a, b in zip(p, q, strict=True))
    assert moved > 0  # an oracle that stands still would agree with anything that does
    return [w for group in end for w in group]


@pytest.mark.parametrize("engine", ["reference", "auto"])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-6])
@pytest.mark.parametrize("number", [pytest.param(i, id=case.id) for i, case in enumerate(CASES)])
def test_equals_the_oracle(number, scale, engine):
    params, optimizer, lrs = built(number, scale, engine)
    drive(optimizer, params, gradients(STEPS, scale), lrs)
    assert_close(flat(params), expected(number, scale))
