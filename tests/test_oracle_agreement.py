"""First witness: every box equals its naive float64 oracle, whatever groups, schedule, gaps and gradient scale do."""

import oracles
import pytest
from cases import PAIRS
from drive import assert_close, drive, flat, gradients, schedule, weights

STEPS = 60
CASES = [
    pytest.param(method, options, case, id=f"{method}-{i}-{case}")
    for method, case in PAIRS
    for i, options in enumerate(method.variants)
]


@pytest.mark.parametrize("engine", ["reference", "auto"])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-6])
@pytest.mark.parametrize(("method", "options", "case"), CASES)
def test_equals_the_oracle(method, options, case, scale, engine):
    params, run = weights(), gradients(STEPS, scale)
    # λ of a gain-coupled decay is in loss/weight²: it scales with the loss, or everything would meet the clamp.
    strength = case.strength * (scale if case.by_gain and method.adaptive else 1.0)
    groups = [
        {"params": params[0], "lr": method.lr, "weight_decay": strength},
        {"params": params[1], "lr": 0.3 * method.lr, "weight_decay": 0.5 * strength},
    ]
    if "betas" in options:
        groups[1]["betas"] = (0.7, 0.97)  # v̄ mixes tensors of different β₂
    start = [[p.detach().numpy().copy() for p in group] for group in params]
    optimizer = method.cls(groups, decay=case.decay, engine=engine, **options)
    lrs = [schedule(STEPS, group["lr"]) for group in groups]
    drive(optimizer, params, run, lrs)

    hyper = [
        {k: v for k, v in group.items() if k not in ("params", "decay", "maximize")} for group in optimizer.param_groups
    ]
    told = [
        {**h, **case.options, "params": w, "lr": lr, "weight_decay": g["weight_decay"]}
        for h, w, lr, g in zip(hyper, start, lrs, groups, strict=True)
    ]
    expected = oracles.run(method.oracle, case.oracle, told, run)
    assert_close(flat(params), [w for group in expected for w in group])
    moved = max(abs(a - b).max() for p, q in zip(expected, start, strict=True) for a, b in zip(p, q, strict=True))
    assert moved > 0  # an oracle that stands still would agree with anything that does
