"""Conversions along a schedule: exact ones walked side by side, and equal totals where none is; Muon's two rules."""

import math

import pytest
import torch

import weightdecay as wd
from weightdecay.transfer import (
    convert,
    convert_along,
    muon_horizon_weight_decay,
    muon_width_weight_decay,
    over_training_weight_decay,
)

STEPS, HORIZON = 40, 8.0
CONSTANT = [0.1] * STEPS
COSINE = [0.05 + 0.05 * math.cos(math.pi * t / STEPS) for t in range(STEPS)]
NAMES = {
    "decoupled": "decoupled",
    "independent": "independent",
    "vanilla": "vanilla",
    "corrected": "corrected",
    "logtime": f"logtime(horizon={HORIZON})",
}
PAIRS = [(old, new) for old in NAMES for new in NAMES]


def walk(decay, strength, lrs, scale=0.3):
    """Return the weights after the walk, and the sum of the pulls that were taken."""
    draw, p = torch.Generator().manual_seed(0), torch.nn.Parameter(torch.linspace(-1, 2, 6, dtype=torch.float64))
    optimizer = wd.Adam([p], lr=0.1, weight_decay=strength, decay=NAMES[decay], peak_lr=0.1)
    total = 0.0
    for lr in lrs:
        optimizer.param_groups[0]["lr"] = lr
        p.grad = scale * torch.randn(6, generator=draw, dtype=torch.float64)
        optimizer.step()
        total += optimizer.pulls[0]
    return p.detach(), total


@pytest.mark.parametrize("lrs", [CONSTANT, COSINE], ids=["constant", "cosine"])
@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_exact_is_one_path_and_the_rest_takes_as_much_in_all(old, new, lrs):
    strength = 0.05 if old in ("decoupled", "corrected") else 0.005
    found = convert_along(strength, old, new, lrs, horizon=HORIZON)
    one, before = walk(old, strength, lrs)
    other, after = walk(new, found.weight_decay, lrs)
    apart = (one - other).abs().max().item()
    assert after == pytest.approx(before, rel=1e-12)
    same = old == new or {old, new} == {"decoupled", "independent"}
    assert (found.holds == "exact") is (same or (lrs is CONSTANT and "logtime" not in (old, new)))
    assert apart < 1e-13 if found.holds == "exact" else apart > 1e-5


@pytest.mark.parametrize("new", ["independent", "vanilla"])
def test_it_agrees_with_convert_where_both_speak(new):
    assert convert_along(0.3, "decoupled", new, CONSTANT).weight_decay == pytest.approx(
        convert(0.3, "decoupled", new, lr=0.1).weight_decay
    )


def test_log_time_over_a_long_constant_lr_is_a_logarithm():
    found = convert_along(1e-3, "independent", "logtime", [1.0] * 100_000, horizon=1000)
    assert found.weight_decay == pytest.approx(1e-3 * 100 / math.log(101), rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((0.1, "decoupled", "corected", CONSTANT), "Did you mean 'corrected'"),
        ((0.1, "decoupled", "logtime", CONSTANT), "horizon is missing"),
        ((0.1, "decoupled", "corrected", [0.0]), "none of the 1 lrs is above 0"),
        ((0.1, "decoupled", "corrected", [-1.0]), "lr=-1"),
        ((-0.1, "decoupled", "corrected", CONSTANT), "weight_decay=-0.1"),
    ],
)
def test_what_has_no_meaning_is_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        convert_along(*arguments)


def test_muons_two_rules_agree_where_data_follows_parameters_and_part_where_it_does_not():
    k = 2.5
    assert muon_width_weight_decay(0.4, k) == pytest.approx(muon_horizon_weight_decay(0.4, 1, k**2))
    assert muon_horizon_weight_decay(0.4, 1, 1) / muon_width_weight_decay(0.4, k) == pytest.approx(k**2)
    # The published sweep, of which the rule is a rounding: the exponent of a straight line in logarithms.
    x = [math.log(width) for width in (512, 768, 1024, 1280)]
    y = [math.log(best) for best in (0.40, 0.22, 0.10, 0.08)]
    middle = sum(x) / 4
    slope = sum((a - middle) * b for a, b in zip(x, y, strict=True)) / sum((a - middle) ** 2 for a in x)
    assert -2.0 < slope < -1.7
    assert over_training_weight_decay(0.1, 9) == pytest.approx(0.3)


@pytest.mark.parametrize("rule", [muon_width_weight_decay, over_training_weight_decay])
def test_one_rule_twice_is_the_rule_of_the_product(rule):
    assert rule(rule(0.3, 2.0), 3.0) == pytest.approx(rule(0.3, 6.0))
    assert rule(0.3, 1.0) == 0.3
    with pytest.raises(ValueError, match="k=0"):
        rule(0.3, 0.0)
