"""Conversions of λ between decays: their laws, and both optimizers side by side where one is exact."""

from __future__ import annotations

import pytest
import torch

import weightdecay
from weightdecay import monitor
from weightdecay.catalog import OPTIMIZERS
from weightdecay.decay import L2, Corrected, Decoupled, Independent, Stable, Vanilla
from weightdecay.transfer import Setting, adam_gain, convert, independent_width, sgd_gain

DECAY_OF = {L2: "l2", Decoupled: "decoupled", Stable: "stable", Vanilla: "vanilla", Independent: "independent"}
DECAY_OF |= {Corrected: "corrected"}


@pytest.mark.parametrize("family", ["sgd", "adam"])
@pytest.mark.parametrize("old", ["l2", "decoupled", "stable", "vanilla", "independent", "corrected"])
@pytest.mark.parametrize("new", ["l2", "decoupled", "stable", "vanilla", "independent", "corrected"])
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


def test_corrected_and_decoupled_walk_one_path_while_the_lr_is_constant_and_part_when_it_drops():
    found = convert(0.2, "decoupled", "corrected", lr=0.1, family="sgd", gain=10.0)
    assert (found.weight_decay, found.holds) == (0.2, "exact at a constant lr")
    corrected = sgd(found.weight_decay, Corrected())
    assert torch.allclose(walk(sgd(0.2, Decoupled())), walk(corrected), atol=1e-13)
    assert not torch.allclose(walk(sgd(0.2, Decoupled()), lrs=halved), walk(corrected, lrs=halved), atol=1e-3)


def test_vanilla_and_decoupled_walk_one_path_while_the_lr_is_constant_and_part_when_it_drops():
    found = convert(0.2, "decoupled", "vanilla", lr=0.1, family="sgd", gain=10.0)
    assert found.holds == "exact at a constant lr"
    vanilla = sgd(found.weight_decay, Vanilla())
    assert torch.allclose(walk(sgd(0.2, Decoupled())), walk(vanilla), atol=1e-13)
    apart = (walk(sgd(0.2, Decoupled()), lrs=halved) - walk(vanilla, lrs=halved)).abs().amax(1)
    assert apart[:15].max() < 1e-13
    assert apart[15:].min() > 1e-4


@pytest.mark.parametrize(("old", "family"), [("l2", "sgd"), ("stable", "adam")])
def test_what_vanilla_decay_equals_it_equals_at_a_constant_lr(old, family):
    assert convert(0.1, old, "vanilla", lr=0.1, family=family, gain=10.0).why.endswith("and at a constant lr")


def test_l2_and_decoupled_are_one_path_without_momentum_and_one_minimum_with_it():
    plain = convert(0.2, "l2", "decoupled", lr=0.1, family="sgd", gain=sgd_gain(0.0), momentum=0.0)
    assert plain.holds == "exact"
    l2, decoupled = (walk(sgd(0.2, decay, momentum=0.0)) for decay in (L2(), Decoupled()))
    assert torch.allclose(l2, decoupled, atol=1e-13)

    heavy = convert(0.2, "l2", "decoupled", lr=0.1, family="sgd", gain=sgd_gain(0.9), momentum=0.9)
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


def test_a_gain_of_1_with_momentum_is_no_identity():
    """Dampening as large as momentum makes the gain 1; the buffer delays the decay of L2 all the same."""
    for momentum in (0.9, None):
        found = convert(0.2, "l2", "decoupled", lr=0.1, family="sgd", gain=sgd_gain(0.9, 0.9), momentum=momentum)
        assert (found.weight_decay, found.holds) == (pytest.approx(0.2), "same minimum, another path")
    l2, decoupled = (walk(sgd(0.2, decay, dampening=0.9)) for decay in (L2(), Decoupled()))
    assert (l2 - decoupled).abs().max() > 1e-3


@pytest.mark.parametrize("dampening", [0.0, 0.5])
def test_without_momentum_l2_is_a_pull_of_its_gain(dampening):
    """The heavy ball multiplies its gradient by 1 − dampening even then."""
    gain = 1 - dampening
    found = convert(0.2, "l2", "decoupled", lr=0.1, family="sgd", gain=gain, momentum=0.0)
    assert found.holds == "exact"

    def ball(weight_decay, decay):
        return lambda params: weightdecay.HeavyBall(params, 0.1, 0.0, dampening, weight_decay, decay=decay)

    assert torch.allclose(walk(ball(0.2, L2())), walk(ball(found.weight_decay, Decoupled())), atol=1e-13)


@pytest.mark.parametrize("family", ["sgd", "adai"])
def test_l2_and_stable_decay_have_one_lambda_whatever_the_gain(family):
    assert convert(5e-4, "l2", "stable", lr=0.1, family=family).weight_decay == 5e-4
    assert convert(5e-4, "l2", "stable", lr=0.1, family="sgd", momentum=0.0).holds == "exact"
    assert convert(5e-4, "stable", "decoupled", lr=0.1, family="adai").weight_decay == 5e-4


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


# ------------------------------------------------------------------------------------- the table of optimizers


@pytest.mark.parametrize("name", weightdecay.available())
def test_the_table_says_what_every_optimizer_does_with_lambda(name):
    optimizer = weightdecay.create(name, [torch.nn.Parameter(torch.zeros(1, 1))], lr=0.1)
    assert OPTIMIZERS[name].decay == DECAY_OF[type(optimizer.param_groups[0]["decay"])]
    family = OPTIMIZERS[name].family
    assert (family == "sgd") == isinstance(optimizer, weightdecay.SGD)
    assert (family == "adai") == isinstance(optimizer, weightdecay.Adai)


def test_the_table_knows_no_other_optimizer():
    assert sorted(OPTIMIZERS) == weightdecay.available()


@pytest.mark.parametrize("name", [name for name, kind in OPTIMIZERS.items() if kind.family == "sgd"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("dampening", [0.0, 0.5, 0.9])
def test_the_gain_of_a_setting_is_the_optimizers_own(name, momentum, dampening):
    more = {} if name == "tensorflowsgd" else {"dampening": dampening}
    optimizer = weightdecay.create(name, [torch.nn.Parameter(torch.zeros(1))], lr=0.1, momentum=momentum, **more)
    assert Setting(name, 0.1, 5e-4, momentum=momentum, **more).gain == optimizer.gain({}, optimizer.param_groups[0])


@pytest.mark.parametrize("name", [name for name, kind in OPTIMIZERS.items() if kind.family == "adam"])
def test_the_gain_of_a_moment_is_the_optimizers_own_or_refused(name):
    """After so many steps that RAdam's r_t and AdaBound's bounds are no longer at their start."""
    weight = torch.nn.Parameter(torch.ones(8, dtype=torch.float64))
    optimizer = weightdecay.create(name, [weight], lr=0.01)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        weight.grad = 1e-3 * torch.randn(8, dtype=torch.float64, generator=generator)
        optimizer.step()
    measured = monitor.read(optimizer).effective_lr / 0.01
    assert Setting(name, 0.01, 5e-4, measured_gain=measured).gain == measured
    state = optimizer.state[weight]
    square = state["max_exp_avg_sq"] if "max_exp_avg_sq" in state else state["exp_avg_sq"]
    mean_square = (square / (1 - 0.999 ** float(state["step"]))).mean().item()
    if name in ("radam", "adabound"):
        assert measured != pytest.approx(mean_square**-0.5, rel=0.01)
        with pytest.raises(ValueError, match=r"not a power of v̄.*measured_gain"):
            Setting(name, 0.01, 5e-4, mean_square=mean_square)
    else:
        assert Setting(name, 0.01, 5e-4, mean_square=mean_square).gain == pytest.approx(measured, rel=1e-6)
