"""A watch's predictions of equilibrium against simulated weights whose gradients are at right angles to them."""

import math

import pytest
import torch

import weightdecay as wd
from weightdecay.monitor import watch
from weightdecay.theory import equilibrium


def settle(make, count=400, every=20, start=None, size=3000):
    """Step a weight whose gradients are at right angles to it, from its predicted norm; return the watch."""
    draw = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(size, generator=draw, dtype=torch.float64).view(50, -1))
    with torch.no_grad():
        weight.mul_(start / weight.norm())
    optimizer = make([weight])
    seen = watch(optimizer, every=every, tensors=True)
    for _ in range(count):
        w = weight.detach()
        g = torch.randn(w.shape, generator=draw, dtype=torch.float64)
        g -= (g * w).sum() / w.square().sum() * w
        weight.grad = 2.0 * g / g.norm() / w.norm()
        optimizer.step()
    return seen


CASES = {
    "AdamW": (
        lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=1.0, betas=(0.9, 0.99)),
        equilibrium.adamw(0.01, 1.0, 3000),
        "the norm 1.44 times as large and the angle of a step 0.71 times",
    ),
    "SGD": (
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.02),
        equilibrium.sgd(0.1, 0.02, 2.0, momentum=0.9),
        "the norm 1.19 times as large and the angle of a step 0.71 times",
    ),
    "SGDW": (
        lambda p: wd.SGDW(p, lr=0.1, momentum=0.9, weight_decay=0.2),
        equilibrium.sgdw(0.1, 0.2, 2.0, momentum=0.9),
        "the norm 1.21 times as large and the angle of a step 0.71 times",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_weights_in_equilibrium_are_told_with_the_prediction_of_theory(name):
    make, balance, words = CASES[name]
    seen = settle(make, start=balance.norm)
    (one,) = seen.seen
    assert one.scale_invariant
    assert one.equilibrium_norm == pytest.approx(balance.norm, rel=1e-6)
    assert one.equilibrium_angle == pytest.approx(balance.angle, rel=1e-6)
    assert one.in_equilibrium
    assert one.norm_to_equilibrium == pytest.approx(1, abs=0.1)
    angles = [tensors[0].angle for _, _, tensors in seen.history[5:]]
    assert sum(angles) / len(angles) == pytest.approx(balance.angle, rel=0.03)
    said = "\n".join(seen.sentences())
    assert "group0.tensor0 is in equilibrium: the norm was within 10%" in said
    assert words in said


def test_half_the_lambda_has_the_effect_that_is_told():
    """The sentence is not only the formula's: a run at half the λ, from the norm told, stays there."""
    _, balance, _ = CASES["SGD"]
    seen = settle(lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01), start=1.19 * balance.norm)
    assert seen.seen[0].in_equilibrium
    angles = [tensors[0].angle for _, _, tensors in seen.history[5:]]
    assert sum(angles) / len(angles) == pytest.approx(0.71 * balance.angle, rel=0.03)


def test_weights_far_from_equilibrium_are_told_so():
    make, balance, _ = CASES["AdamW"]
    seen = settle(make, count=60, start=30 * balance.norm)
    assert not seen.seen[0].in_equilibrium
    assert "is not in equilibrium: the norm is " in "\n".join(seen.sentences())


def test_a_norm_that_began_near_the_prediction_is_not_called_settled_before_decay_could_act():
    _, balance, _ = CASES["AdamW"]
    seen = settle(lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=1.0, betas=(0.9, 0.99)), 80, start=balance.norm)
    (one,) = seen.seen
    assert one.norm_to_equilibrium == pytest.approx(1, abs=0.1)
    assert not one.in_equilibrium
    said = "\n".join(seen.sentences())
    assert "group0.tensor0 is near the predicted norm" in said
    assert "the pull of all steps is 0.8, and below 1 decay has had no time to act" in said
    assert "not in equilibrium" not in said


def test_nothing_is_predicted_where_theory_has_no_form():
    _, balance, _ = CASES["SGD"]
    for make in (
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.02),
        lambda p: torch.optim.RAdam(p, lr=0.01, weight_decay=0.1),
        lambda p: wd.Adam(p, lr=0.01, weight_decay=1.0, decay="cautious"),
    ):
        seen = settle(make, count=60, start=balance.norm)
        assert seen.seen[0].scale_invariant
        assert math.isnan(seen.seen[0].equilibrium_norm)
        assert "no equilibrium is known" in "\n".join(seen.sentences())
