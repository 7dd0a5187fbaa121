"""The transfer rules: their laws, and simulation with our own optimizers where a rule is exact."""

from __future__ import annotations

import math

import pytest
import torch

import weightdecay
from weightdecay import monitor
from weightdecay.decay import L2, Decoupled, Independent, Stable, Vanilla
from weightdecay.transfer import (
    adam_gain,
    batch_weight_decay,
    convert,
    independent_width,
    length_weight_decay,
    linear_lr,
    normalized_weight_decay,
    power_lines_timescale,
    power_lines_weight_decay,
    sgd_gain,
    square_root,
    square_root_width,
    table3_weight_decay,
    timescale_epochs,
    timescale_steps,
    timescale_weight_decay,
)
from weightdecay.transfer.setting import OPTIMIZERS

DECAY_OF = {L2: "l2", Decoupled: "decoupled", Stable: "stable", Vanilla: "vanilla", Independent: "independent"}

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
    with pytest.raises(ValueError, match=r"k=11 is too much for beta1=0\.9.*reaches k = 10"):
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


# ------------------------------------------------------------------------------------- conversions


@pytest.mark.parametrize("family", ["sgd", "adam"])
@pytest.mark.parametrize("old", ["l2", "decoupled", "stable", "vanilla", "independent"])
@pytest.mark.parametrize("new", ["l2", "decoupled", "stable", "vanilla", "independent"])
def test_a_conversion_and_its_inverse_cancel(old, new, family):
    there = convert(0.3, old, new, lr=0.05, family=family, gain=10.0)
    back = convert(there.weight_decay, new, old, lr=0.05, family=family, gain=10.0)
    assert back.weight_decay == pytest.approx(0.3)
    assert back.holds == there.holds


@pytest.mark.parametrize("through", ["decoupled", "independent"])
def test_a_conversion_does_not_depend_on_the_way(through):
    direct = convert(5e-4, "stable", "vanilla", lr=0.1, family="sgd", gain=10.0).weight_decay
    middle = convert(5e-4, "stable", through, lr=0.1, family="sgd", gain=10.0).weight_decay
    assert convert(middle, through, "vanilla", lr=0.1, family="sgd", gain=10.0).weight_decay == pytest.approx(direct)


def test_the_papers_numbers():
    assert convert(5e-4, "l2", "decoupled", lr=1e-3).weight_decay == pytest.approx(0.5)
    assert convert(5e-4, "l2", "stable", lr=1e-3).weight_decay == 5e-4
    assert convert(5e-4, "l2", "decoupled", lr=0.1, family="sgd", gain=sgd_gain(0.9)).weight_decay == pytest.approx(
        5e-3
    )


def walk(make, steps=30, lrs=None, seed=0):
    """The path of an optimizer over prescribed noise and a quadratic, in float64."""
    generator = torch.Generator().manual_seed(seed)
    curvature = torch.rand(6, dtype=torch.float64, generator=generator)
    weight = torch.nn.Parameter(torch.randn(6, dtype=torch.float64, generator=generator))
    optimizer = make([weight])
    path = []
    for step in range(steps):
        if lrs is not None:
            optimizer.param_groups[0]["lr"] = lrs(step)
        weight.grad = curvature * (weight.detach() - 1) + 0.3 * torch.randn(6, dtype=torch.float64, generator=generator)
        optimizer.step()
        path.append(weight.detach().clone())
    return torch.stack(path)


def halved(step):
    return 0.1 if step < 15 else 0.05


def sgd(weight_decay, decay, momentum=0.9, dampening=0.0, **more):
    return lambda params: weightdecay.SGD(params, 0.1, momentum, dampening, weight_decay, decay=decay, **more)


@pytest.mark.parametrize("lrs", [None, halved], ids=["constant", "schedule"])
@pytest.mark.parametrize("dampening", [0.0, 0.5])
def test_sgds_and_sgdw_at_the_converted_strength_walk_one_path(lrs, dampening):
    found = convert(0.02, "stable", "decoupled", lr=0.1, family="sgd", gain=sgd_gain(0.9, dampening))
    assert found.holds == "exact"
    stable = walk(sgd(0.02, Stable(), dampening=dampening), lrs=lrs)
    assert torch.allclose(stable, walk(sgd(found.weight_decay, Decoupled(), dampening=dampening), lrs=lrs), atol=1e-13)


@pytest.mark.parametrize("lrs", [None, halved], ids=["constant", "schedule"])
def test_independent_and_decoupled_walk_one_path_under_any_schedule(lrs):
    found = convert(0.2, "decoupled", "independent", lr=0.1, family="sgd", gain=10.0)
    assert found.holds == "exact"
    decoupled, independent = walk(sgd(0.2, Decoupled()), lrs=lrs), walk(sgd(found.weight_decay, Independent()), lrs=lrs)
    assert torch.allclose(decoupled, independent, atol=1e-13)


def test_vanilla_and_decoupled_walk_one_path_while_the_lr_is_constant_and_part_when_it_drops():
    found = convert(0.2, "decoupled", "vanilla", lr=0.1, family="sgd", gain=10.0)
    assert found.holds == "exact at a constant lr"
    vanilla = sgd(found.weight_decay, Vanilla())
    assert torch.allclose(walk(sgd(0.2, Decoupled())), walk(vanilla), atol=1e-13)
    apart = (walk(sgd(0.2, Decoupled()), lrs=halved) - walk(vanilla, lrs=halved)).abs().amax(1)
    assert apart[:15].max() < 1e-13
    assert apart[15:].min() > 1e-4


def test_l2_and_decoupled_are_one_path_without_momentum_and_one_minimum_with_it():
    plain = convert(0.2, "l2", "decoupled", lr=0.1, family="sgd", gain=sgd_gain(0.0))
    assert plain.holds == "exact"
    l2, decoupled = (walk(sgd(0.2, decay, momentum=0.0)) for decay in (L2(), Decoupled()))
    assert torch.allclose(l2, decoupled, atol=1e-13)

    heavy = convert(0.2, "l2", "decoupled", lr=0.1, family="sgd", gain=sgd_gain(0.9))
    assert heavy.holds == "same minimum, another path"
    ends = []
    for decay, strength in ((L2(), 0.2), (Decoupled(), heavy.weight_decay)):
        weight = torch.nn.Parameter(torch.tensor([3.0], dtype=torch.float64))
        optimizer = weightdecay.SGD([weight], 0.1, 0.9, weight_decay=strength, decay=decay)
        path = []
        for _ in range(1500):
            weight.grad = 0.5 * (weight.detach() - 1)
            optimizer.step()
            path.append(weight.item())
        ends.append((path[5], path[-1]))
    (early_l2, last_l2), (early_decoupled, last_decoupled) = ends
    assert last_l2 == pytest.approx(0.5 / 0.7, abs=1e-12)
    assert last_decoupled == pytest.approx(0.5 / 0.7, abs=1e-12)
    assert abs(early_l2 - early_decoupled) > 0.01


def test_adamw_at_the_strength_of_the_moment_takes_the_steps_of_adams():
    """λ_W = λ_S v̄^(−1/2) with the v̄ of each step: the two stay together, step for step."""
    generator = torch.Generator().manual_seed(3)
    start = torch.randn(8, dtype=torch.float64, generator=generator)
    mine, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    stable = weightdecay.AdamS([mine], lr=1e-2, weight_decay=0.05)
    decoupled = weightdecay.AdamW([theirs], lr=1e-2, weight_decay=0.0)
    factors = []
    for _ in range(25):
        gradient = torch.randn(8, dtype=torch.float64, generator=generator) * 0.1
        mine.grad, theirs.grad = gradient.clone(), gradient.clone()
        stable.step()
        mean_square = (1e-2 / monitor.read(stable).effective_lr) ** 2
        found = convert(0.05, "stable", "decoupled", lr=1e-2, gain=adam_gain(mean_square))
        assert found.holds == "exact at one v̄"
        factors.append(found.weight_decay / 0.05)
        decoupled.param_groups[0]["weight_decay"] = found.weight_decay
        decoupled.step()
        assert torch.allclose(mine, theirs, atol=1e-13)
    assert max(factors) / min(factors) > 1.1  # v̄ moves, so one λ_W is not enough


def test_no_lambda_makes_adamw_walk_as_adam_with_l2():
    """The paper's convention is no identity: over a grid of λ_W the paths never meet."""
    l2 = walk(lambda params: weightdecay.Adam(params, lr=0.01, weight_decay=0.1))
    gaps = [
        (l2 - walk(lambda params, wd=wd: weightdecay.AdamW(params, lr=0.01, weight_decay=wd))).abs().max()
        for wd in torch.logspace(-3, 2, 41).tolist()
    ]
    assert min(gaps) > 1e-3


def test_independent_decay_over_widths_is_decoupled_decay_with_lambda_times_the_width():
    lr, wd = independent_width(0.04, 0.5, 4)
    assert lr == 0.01
    narrow = convert(0.5, "decoupled", "independent", lr=0.04).weight_decay
    wide = walk(lambda params: weightdecay.Adam(params, lr=lr, weight_decay=narrow, decay=Independent()))
    assert torch.allclose(wide, walk(lambda params: weightdecay.AdamW(params, lr=lr, weight_decay=wd)), atol=1e-13)


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
    steps, lr, wd = 1600, 0.1, 4e-3

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


# ------------------------------------------------------------------------------------- the table of optimizers


@pytest.mark.parametrize("name", weightdecay.available())
def test_the_table_says_what_every_optimizer_does_with_lambda(name):
    optimizer = weightdecay.create(name, [torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    assert OPTIMIZERS[name].decay == DECAY_OF[type(optimizer.param_groups[0]["decay"])]
    family = OPTIMIZERS[name].family
    assert (family == "sgd") == isinstance(optimizer, weightdecay.SGD)
    assert (family == "adai") == isinstance(optimizer, weightdecay.Adai)


def test_the_table_knows_no_other_optimizer():
    assert sorted(OPTIMIZERS) == weightdecay.available()


# ------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: linear_lr(0.0, 2), ValueError, r"lr=0: .*finite number above 0"),
        (lambda: linear_lr(0.1, math.nan), ValueError, r"k=nan"),
        (lambda: linear_lr(0.1, True), TypeError, r"k=True is not a number"),
        (lambda: linear_lr(torch.tensor(0.1), 2), TypeError, r"item\(\)"),
        (lambda: batch_weight_decay(-1e-4, 2), ValueError, r"weight_decay=-0\.0001"),
        (lambda: length_weight_decay(1e-4, 0), ValueError, r"k=0"),
        (lambda: table3_weight_decay(-1), ValueError, r"epochs=-1"),
        (lambda: square_root(1e-3, 2, beta1=1.0), ValueError, r"beta1=1 is outside \[0, 1\).*0\.9"),
        (lambda: timescale_steps(1e-3, 0.0), ValueError, r"weight_decay=0"),
        (lambda: power_lines_timescale(0, 1e9), ValueError, r"tokens=0"),
        (lambda: independent_width(1e-3, math.inf, 2), ValueError, r"weight_decay=inf"),
        (lambda: sgd_gain(1.0), ValueError, r"momentum=1 .*0\.9"),
        (lambda: sgd_gain(0.9, 1.0), ValueError, r"dampening=1: .*0"),
        (lambda: adam_gain(0.0), ValueError, r"mean_square=0"),
        (lambda: convert(0.1, "stabel", "l2", lr=0.1), ValueError, r"'stabel'. Did you mean 'stable'\?"),
        (lambda: convert(0.1, "l2", "stable", lr=0.1, family="lion"), ValueError, r"no family of optimizers"),
        (lambda: convert(0.1, "stable", "decoupled", lr=0.1, family="sgd"), ValueError, r"needs gain.*sgd_gain"),
    ],
)
def test_a_number_that_makes_no_sense_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
