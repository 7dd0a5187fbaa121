"""The transfer rules: their laws, simulation with our own optimizers, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import weightdecay
from weightdecay.transfer import (
    Setting,
    adam_gain,
    batch_weight_decay,
    convert,
    heavy_ball_gain,
    independent_width,
    length_weight_decay,
    linear_lr,
    lion_from_adamw,
    normalized_weight_decay,
    power_lines_timescale,
    power_lines_weight_decay,
    sgd_gain,
    square_root,
    square_root_pull,
    square_root_width,
    table3_weight_decay,
    timescale_epochs,
    timescale_steps,
    timescale_weight_decay,
)

# Rules as maps of (lr, λ) by a ratio k; β and ε of the square-root rule have a law of their own below.
SCALINGS = {
    "linear": lambda lr, wd, k: (linear_lr(lr, k), wd),
    "batch": lambda lr, wd, k: (lr, batch_weight_decay(wd, k)),
    "length": lambda lr, wd, k: (lr, length_weight_decay(wd, k)),
    "square root": lambda lr, wd, k: square_root(lr, k, 0.9, 0.999, 1e-8, wd)[::4],
    "independent width": independent_width,
    "square-root width": square_root_width,
}


@pytest.mark.parametrize("rule", SCALINGS.values(), ids=SCALINGS)
@pytest.mark.parametrize(("k", "m"), [(2.0, 3.0), (0.25, 8.0), (1.5, 1.0)])
def test_a_rule_at_1_is_the_identity_and_rules_compose_and_invert(rule, k, m):
    assert rule(0.1, 0.02, 1.0) == pytest.approx((0.1, 0.02), rel=1e-15)
    assert rule(*rule(0.1, 0.02, k), m) == pytest.approx(rule(0.1, 0.02, k * m), rel=1e-14)
    assert rule(*rule(0.1, 0.02, k), 1 / k) == pytest.approx((0.1, 0.02), rel=1e-14)


@pytest.mark.parametrize("k", [0.5, 2.0, 8.0])
def test_the_square_root_rule_keeps_averages_over_examples_and_composes(k):
    first = square_root(1e-3, k, 0.9, 0.999, 1e-8, 0.1)
    assert (1 - first.beta1) / k == pytest.approx(0.1)
    assert (1 - first.beta2) / k == pytest.approx(0.001)
    assert first.lr**2 / k == pytest.approx(1e-6)
    assert first.lr * first.weight_decay / k == pytest.approx(1e-4)  # pull of an example
    assert square_root(*_arguments(first, 1.25)) == pytest.approx(square_root(1e-3, 1.25 * k, weight_decay=0.1))


def _arguments(scaled, k):
    return scaled.lr, k, scaled.beta1, scaled.beta2, scaled.eps, scaled.weight_decay


def test_the_square_root_rule_ends_where_a_beta_would_be_negative():
    assert square_root(1e-3, 10).beta1 == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match=r"k=11 is too much for beta1=0\.9.*holds up to k = 10"):
        square_root(1e-3, 11)


@pytest.mark.parametrize(("change", "factor"), [("batch_size", 1), ("samples", -1), ("lr", -1)])
def test_one_timescale_means_lambda_by_batch_data_and_lr(change, factor):
    base = {"lr": 1e-3, "batch_size": 128.0, "samples": 50_000.0}
    tau = timescale_epochs(weight_decay=0.1, **base)
    moved = {**base, change: base[change] * 4}
    assert timescale_weight_decay(tau, **moved) == pytest.approx(0.1 * 4.0**factor)
    assert timescale_epochs(weight_decay=0.1 * 4.0**factor, **moved) == pytest.approx(tau)


def test_power_lines_is_linear_in_batch_and_falls_with_the_tokens_to_the_0_473():
    base = {"lr": 6e-3, "batch_tokens": 5e5, "tokens": 2e10, "parameters": 1e9}
    wd = power_lines_weight_decay(**base)
    assert power_lines_weight_decay(**{**base, "batch_tokens": 1e6}) == pytest.approx(2 * wd)
    assert power_lines_weight_decay(**{**base, "tokens": 4e10}) == pytest.approx(wd * 2**-0.473)
    # its λ has its timescale
    assert timescale_epochs(6e-3, wd, 5e5, 2e10) == pytest.approx(power_lines_timescale(2e10, 1e9))


def test_normalized_decay_keeps_its_normalisation():
    small = normalized_weight_decay(0.05, 128, 50_000, 100)
    assert small / normalized_weight_decay(0.05, 128, 50_000, 400) == pytest.approx(2)
    assert small / normalized_weight_decay(0.05, 512, 50_000, 100) == pytest.approx(0.5)


def test_the_papers_table_3_is_its_default():
    assert table3_weight_decay(200) == pytest.approx(5e-4)


@pytest.mark.parametrize("factor", [3.0, 10.0, 1 / 3])
def test_lion_keeps_adamws_pull(factor):
    lr, weight_decay = lion_from_adamw(1e-3, 0.1, factor)
    assert lr * weight_decay == pytest.approx(1e-4)
    assert lion_from_adamw(lr, weight_decay, 1 / factor) == pytest.approx((1e-3, 0.1))


def test_the_weights_of_adamw_are_an_average_over_the_timescale():
    lr, wd = 0.01, 2.0
    tau = timescale_steps(lr, wd)
    generator = torch.Generator().manual_seed(1)
    start = torch.randn(5, dtype=torch.float64, generator=generator)
    plain, decayed = (torch.nn.Parameter(start.clone()) for _ in range(2))
    free = weightdecay.AdamW([plain], lr=lr, weight_decay=0.0)
    optimizer = weightdecay.AdamW([decayed], lr=lr, weight_decay=wd)
    average = start.clone()
    for _ in range(40):
        before = plain.detach().clone()
        gradient = torch.randn(5, dtype=torch.float64, generator=generator)
        plain.grad, decayed.grad = gradient.clone(), gradient.clone()
        free.step()
        optimizer.step()
        direction = (before - plain.detach()) / lr  # u_t: both see the same gradients
        average = (1 - 1 / tau) * average + (1 / tau) * (-direction / wd)
        assert torch.allclose(decayed, average, atol=1e-12)


@pytest.mark.parametrize(("rule", "length"), [(batch_weight_decay, 1 / 8), (length_weight_decay, 8)])
def test_both_of_the_papers_rules_keep_the_decay_of_a_flat_direction(rule, length):
    """Along H = 0 a weight ends at (1 − ηλ)^steps, which is e^(−ηλ·steps) up to a relative ηλ·(ηλ·steps)."""
    steps, lr, wd = 200, 0.1, 3.2e-2

    def end(count, strength):
        weight = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
        optimizer = weightdecay.SGDW([weight], lr=lr, weight_decay=strength)
        weight.grad = torch.zeros(1, dtype=torch.float64)
        for _ in range(count):
            optimizer.step()
        return weight.item()

    scaled, total = rule(wd, 8), lr * wd * steps
    error = 0.6 * total * lr * max(wd, scaled)  # −log(1 − x) = x + x²/2 + …
    assert end(round(steps * length), scaled) == pytest.approx(end(steps, wd), rel=error)
    assert end(round(steps * length), wd) != pytest.approx(end(steps, wd), rel=10 * error)


@pytest.mark.parametrize("of", [np.float32, np.float64, np.int64, torch.tensor], ids=lambda of: of.__name__)
def test_any_number_is_taken_and_a_float_comes_back(of):
    found = [
        linear_lr(of(2), of(8)),
        batch_weight_decay(of(2), of(8)),
        *independent_width(of(2), of(4), of(2)),
        timescale_epochs(of(2), of(2), of(128), of(50_000)),
        convert(of(2), "stable", "decoupled", lr=of(1), family="sgd", gain=of(10)).weight_decay,
        Setting("sgd", of(2), of(2), batch_size=of(8), momentum=of(0)).batch_size,
    ]
    assert [type(value) for value in found] == [float] * len(found)
    assert found[:4] == [16, 16, 1, 8]


def test_names_are_taken_in_any_case():
    assert Setting("SGD", 0.1, 5e-4, momentum=0.9, decay="Stable").name == "sgd stable"
    assert convert(0.1, "L2", "Stable", lr=0.1, family="SGD").weight_decay == 0.1


# ------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: linear_lr(0.0, 2), r"lr=0: .*finite number above 0"),
        (lambda: linear_lr(0.1, math.nan), r"k=nan"),
        (lambda: linear_lr(0.1, True), r"k=True is not a number"),
        (lambda: linear_lr(torch.tensor([0.1]), 2), r"item\(\)"),
        (lambda: linear_lr("0.1", 2), r"lr='0\.1' is not a number.*float\(\) for a text"),
        (lambda: linear_lr(10**400, 2), r"lr=10.* is beyond what a float holds. Check its unit"),
        (lambda: linear_lr(1e308, 10), r"the result lr is inf"),
        (lambda: table3_weight_decay(1e-320), r"the result weight_decay is inf"),
        (lambda: timescale_steps(1e-300, 1e-300), r"the result timescale is inf"),
        (lambda: power_lines_timescale(1e9, 1e9, exponent=math.nan), r"exponent=nan is not finite"),
        (lambda: power_lines_timescale(1e300, 1e-5, exponent=1e3), r"the result timescale is inf"),
        (lambda: power_lines_timescale(1e300, 1e-300), r"tokens_per_parameter=inf"),
        (lambda: sgd_gain(-0.1), r"momentum=-0\.1 .*change its sign"),
        (lambda: sgd_gain(math.nan), r"momentum=nan .*not a number"),
        (lambda: convert(0.1, None, "l2", lr=0.1), r"decay: None is not a name"),
        (lambda: Setting(None, 0.1, 0.1), r"optimizer: None is not a name"),
        (lambda: Setting("adam", 0.1, 0.1, betas=(0.9,)), r"betas=\(0\.9,\): must be two numbers"),
        (lambda: Setting("lion", 1e-4, 1.0, decay="stable"), r"stable decay under a sign"),
        (lambda: convert(1.0, "l2", "decoupled", lr=1e-4, family="sign"), r"l2 decay under a sign"),
        (lambda: batch_weight_decay(-1e-4, 2), r"weight_decay=-0\.0001"),
        (lambda: length_weight_decay(1e-4, 0), r"k=0"),
        (lambda: table3_weight_decay(-1), r"epochs=-1"),
        (lambda: square_root(1e-3, 2, beta1=1.0), r"beta1=1 is outside \[0, 1\).*0\.9"),
        (lambda: timescale_steps(1e-3, 0.0), r"weight_decay=0"),
        (lambda: power_lines_timescale(0, 1e9), r"tokens=0"),
        (lambda: independent_width(1e-3, math.inf, 2), r"weight_decay=inf"),
        (lambda: sgd_gain(1.0), r"momentum=1 .*0\.9"),
        (lambda: sgd_gain(0.9, 1.0), r"dampening=1 .*stop or turn.*default is 0"),
        (lambda: sgd_gain(0.9, -math.inf), r"dampening=-inf .*amplified"),
        (lambda: adam_gain(0.0), r"mean_square=0"),
        (lambda: convert(0.1, "stabel", "l2", lr=0.1), r"'stabel'. Did you mean 'stable'\?"),
        (lambda: convert(0.1, "l2", "stable", lr=0.1, family="lion"), r"no family of optimizers"),
        (lambda: convert(0.1, "stable", "decoupled", lr=0.1, family="sgd"), r"needs gain.*sgd_gain"),
    ],
)
def test_a_number_that_makes_no_sense_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# Every function with good numbers; each of them is then replaced by what is none.
CALLS = {
    linear_lr: {"lr": 0.1, "k": 2},
    batch_weight_decay: {"weight_decay": 0.1, "k": 2},
    length_weight_decay: {"weight_decay": 0.1, "k": 2},
    table3_weight_decay: {"epochs": 20},
    lion_from_adamw: {"lr": 0.1, "weight_decay": 0.1, "factor": 3},
    normalized_weight_decay: {"normalized": 0.1, "batch_size": 8, "samples": 80, "epochs": 2},
    power_lines_timescale: {"tokens": 1e9, "parameters": 1e8, "constant": 1},
    power_lines_weight_decay: {"lr": 0.1, "batch_tokens": 10, "tokens": 1e9, "parameters": 1e8, "constant": 1},
    square_root: {"lr": 0.1, "k": 2, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.1},
    square_root_pull: {"lr": 0.1, "weight_decay": 0.1, "k": 2},
    timescale_steps: {"lr": 0.1, "weight_decay": 0.1, "gain": 1},
    timescale_epochs: {"lr": 0.1, "weight_decay": 0.1, "batch_size": 8, "samples": 80, "gain": 1},
    timescale_weight_decay: {"epochs": 1, "lr": 0.1, "batch_size": 8, "samples": 80, "gain": 1},
    independent_width: {"lr": 0.1, "weight_decay": 0.1, "k": 2},
    square_root_width: {"lr": 0.1, "weight_decay": 0.1, "k": 2},
    sgd_gain: {"momentum": 0.9, "dampening": 0},
    heavy_ball_gain: {"momentum": 0.9, "dampening": 0},
    adam_gain: {"mean_square": 1, "power": 0.5},
}


@pytest.mark.parametrize("bad", ["0.1", None, math.nan, math.inf, -1.0, 1j, np.ones((9, 1)), 10**400], ids=type)
@pytest.mark.parametrize("rule", CALLS, ids=lambda rule: rule.__name__)
def test_what_is_no_number_is_named_in_one_line_whatever_the_rule(rule, bad):
    for name in CALLS[rule]:
        with pytest.raises(ValueError, match=f"^{name}=") as caught:
            rule(**{**CALLS[rule], name: bad})
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 200
