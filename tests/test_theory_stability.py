"""Definitions 1 and 2, Theorem 1 and Eq. 9: what moves, against the losses and optimizers themselves."""

import math
from itertools import pairwise

import pytest
import torch

import weightdecay
from weightdecay import theory

SPECTRUM = torch.tensor([2.0, 0.1, 1e-3, 0.0], dtype=torch.float64)
MODEL = theory.Quadratic(SPECTRUM, minimum=[1.0, -2.0, 3.0, 4.0])
SCHEDULES = {
    "constant": theory.constant(40, 0.1),
    "step": theory.drops(40, 0.1),
    "cosine": theory.cosine(40, 0.1),
}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_minimum_moves_under_vanilla_whenever_the_lr_does_and_never_under_coupled(schedule):
    lrs = SCHEDULES[schedule]
    assert theory.movement(MODEL, lrs, theory.Coupled(1e-3)).stable
    assert not theory.movement(MODEL, lrs, theory.Coupled(1e-3)).distances.any()
    moved = theory.movement(MODEL, lrs, theory.Vanilla(1e-4))
    assert moved.stable == (schedule == "constant")
    assert torch.equal(moved.distances > 0, lrs.diff() != 0)
    assert theory.movement(MODEL, lrs, theory.Vanilla(0.0)).stable


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_minimum_is_a_stationary_point_of_its_loss(schedule):
    """By autograd: ∇[L + λ₀/(2η_t)‖θ‖²] is 0 there, and the distances are between these points."""
    lrs, points = SCHEDULES[schedule], []
    moved = theory.movement(MODEL, lrs, theory.Vanilla(1e-4))
    for lr, strength in zip(lrs.tolist(), moved.strengths.tolist(), strict=True):
        assert strength == pytest.approx(1e-4 / lr, rel=1e-14)
        point = (SPECTRUM / (SPECTRUM + strength) * MODEL.minimum).requires_grad_()
        loss = 0.5 * (SPECTRUM * (point - MODEL.minimum).square()).sum() + 1e-4 / (2 * lr) * point.square().sum()
        (gradient,) = torch.autograd.grad(loss, point)
        assert gradient.abs().max() < 1e-14
        points.append(point.detach())
    walked = torch.stack([(b - a).norm() for a, b in pairwise(points)])
    torch.testing.assert_close(moved.distances, walked, rtol=0, atol=1e-13)
    assert moved.span == pytest.approx((points[-1] - points[0]).norm().item(), abs=1e-13)


def test_at_lr_zero_vanilla_pulls_to_the_origin():
    moved = theory.movement(MODEL, [0.1, 0.0], theory.Vanilla(1e-4))
    first = SPECTRUM / (SPECTRUM + 1e-3) * MODEL.minimum
    assert moved.distances.item() == pytest.approx(first.norm().item())
    assert not moved.stable
    assert theory.movement(MODEL, [0.1, 0.0], theory.Coupled(1e-3)).stable


@pytest.mark.parametrize("scale", [1e-9, 1e-4, 1.0, 1e6])
@pytest.mark.parametrize(("apart", "stable"), [(0.0, True), (2e-13, True), (5e-12, False), (1e-9, False), (0.5, False)])
def test_strengths_are_one_where_they_differ_by_less_than_1e_12_of_the_largest(scale, apart, stable):
    """Whatever their unit is, whichever comes first, and however short the time that one is another."""
    lrs = [0.1, 0.1 * (1 + apart), 0.1]
    for order in (lrs, lrs[:2], lrs[1:]):
        assert theory.movement(MODEL, order, theory.Vanilla(0.1 * scale if scale <= 1 else 0.1)).stable == stable
        strengths = scale / torch.tensor(order, dtype=torch.float64)
        assert theory.Movement(strengths, torch.zeros(len(order) - 1), 0.0).stable == stable


def test_strengths_that_are_not_finite_are_not_stable_and_no_strength_at_all_is():
    none, every = (torch.full((3,), value, dtype=torch.float64) for value in (0.0, math.inf))
    assert theory.Movement(none, torch.zeros(2), 0.0).stable
    assert not theory.Movement(every, torch.zeros(2), 0.0).stable
    assert not theory.Movement(torch.cat([none + 1e-3, every]), torch.zeros(5), 0.0).stable


def test_gradient_that_appears_at_a_stationary_point_when_the_lr_changes():
    """The step in Theorem 1's proof, by autograd on f_t and f_{t+1}."""
    lrs, decay = [0.1, 0.07, 0.02], 1e-3
    gaps = theory.gradient_gap(lrs, decay)
    for t in (0, 1):
        point = (SPECTRUM / (SPECTRUM + decay / lrs[t]) * MODEL.minimum).requires_grad_()
        loss = (
            0.5 * (SPECTRUM * (point - MODEL.minimum).square()).sum() + decay / (2 * lrs[t + 1]) * point.square().sum()
        )
        (gradient,) = torch.autograd.grad(loss, point)
        torch.testing.assert_close(gradient, gaps[t] * point.detach(), rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_no_common_schedule_satisfies_theorem_1(schedule):
    """Not to the end: constant and step do not change there, and cosine by 3/4 η_max (π/T)² only, here 4.6e-4."""
    lrs = SCHEDULES[schedule]
    for delta in (1e-2, 1e-3, 5e-4):
        found = theory.hypothesis(lrs, delta)
        assert found.from_step is None
        assert found.share < 1
        assert int(found.holds.sum()) <= found.at_most


def test_a_linear_schedule_satisfies_it_only_as_long_as_it_lasts():
    lrs = torch.linspace(0.1, 0.0025, 40, dtype=torch.float64)
    found = theory.hypothesis(lrs, 0.0025)
    assert (found.from_step, found.share, found.at_most) == (0, 1.0, 39)


def test_a_triangular_cycle_satisfies_it_for_ever_and_does_not_converge():
    """What Theorem 1 says, seen: under Eq. 1 the weights go on moving, under Eq. 2 they stop."""
    cycle = torch.tensor([0.1, 0.08, 0.06, 0.04, 0.02, 0.04, 0.06, 0.08], dtype=torch.float64)
    lrs = cycle.repeat(3000)
    found = theory.hypothesis(lrs, 0.02)
    assert (found.from_step, found.at_most) == (0, None)
    at = tuple(range(lrs.numel() - 8, lrs.numel() + 1))
    model = theory.Quadratic([2.0, 0.1], minimum=[1.0, -2.0])
    moving = theory.expected(model, lrs, theory.Vanilla(1e-3), at)
    still = theory.expected(model, lrs, theory.Coupled(1e-2), at)
    assert moving.diff(dim=0).norm(dim=1).min() > 1e-5
    assert still.diff(dim=0).abs().max() < 1e-12


def settled(build, second_moment, steps=2500):
    """The library's optimizer with v held as given: its second moment is so slow that it stays there."""
    weight = torch.nn.Parameter(torch.zeros(4, dtype=torch.float64))
    optimizer = build([weight], betas=(0.0, 1 - 1e-9), eps=0.0)
    weight.grad = torch.zeros_like(weight)
    optimizer.step()
    content = optimizer.state_dict()
    (state,) = content["state"].values()
    state["step"] = torch.as_tensor(1e12) if isinstance(state["step"], torch.Tensor) else 10**12
    state["exp_avg_sq"] = torch.tensor(second_moment, dtype=torch.float64)
    content["weightdecay"]["v_sum"] = {0: sum(second_moment)}
    optimizer.load_state_dict(content)
    for _ in range(steps):
        weight.grad = (weight.detach() - minimum()) * curvature()
        optimizer.step()
    return weight.detach()


def curvature():
    return torch.tensor([2.0, 0.5, 0.2, 0.1], dtype=torch.float64)


def minimum():
    return torch.tensor([1.0, -2.0, 3.0, 4.0], dtype=torch.float64)


SECOND_MOMENTS = {"equal": [1e-2] * 4, "unequal": [4e-2, 1e-2, 1e-3, 1e-4]}


@pytest.mark.parametrize("name", SECOND_MOMENTS)
@pytest.mark.parametrize("kind", ["AdamW", "AdamS", "element-wise"])
def test_optimizers_settle_where_equation_9_says(name, kind):
    """Deterministic gradients, v fixed but for 1e-9·g²/v a step: agreement to 1e-5."""
    v, model = SECOND_MOMENTS[name], theory.Quadratic(curvature(), minimum())
    build, wanted = {
        "AdamW": (
            lambda p, **o: weightdecay.AdamW(p, lr=4e-3, weight_decay=0.5, **o),
            theory.decoupled_bias(model, 0.5, v),
        ),
        "AdamS": (
            lambda p, **o: weightdecay.AdamS(p, lr=4e-3, weight_decay=0.05, **o),
            theory.stable_bias(model, 0.05, v),
        ),
        "element-wise": (
            lambda p, **o: weightdecay.Adam(p, lr=4e-3, weight_decay=0.05, decay=weightdecay.Elementwise(), **o),
            theory.bias(model, 0.05),
        ),
    }[kind]
    torch.testing.assert_close(settled(build, v) - minimum(), wanted, rtol=0, atol=1e-5)


def test_a_common_factor_of_v_moves_adamw_and_not_adams():
    model, v = theory.Quadratic(SPECTRUM, 1.0), torch.tensor([1e-2, 1e-3, 1e-4, 1e-5], dtype=torch.float64)
    torch.testing.assert_close(
        theory.stable_bias(model, 0.05, v), theory.stable_bias(model, 0.05, v / 100), rtol=1e-12, atol=0
    )
    apart = theory.decoupled_bias(model, 0.05, v) - theory.decoupled_bias(model, 0.05, v / 100)
    assert apart[:3].abs().min() > 1e-5
    # With equal v all three agree on the form: λ√v for AdamW, λ for the stable ones.
    torch.testing.assert_close(theory.stable_bias(model, 0.05, 1e-4), theory.bias(model, 0.05), rtol=1e-12, atol=0)
    torch.testing.assert_close(theory.decoupled_bias(model, 5.0, 1e-4), theory.bias(model, 0.05), rtol=1e-12, atol=0)


def test_equation_9_of_a_dense_hessian_is_where_the_update_vanishes():
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(5, 5, dtype=torch.float64, generator=generator)
    target = torch.randn(5, dtype=torch.float64, generator=generator)
    v = torch.rand(5, dtype=torch.float64, generator=generator) + 0.1
    hessian = a @ a.T
    model = theory.Quadratic(hessian, target)
    point = target + theory.decoupled_bias(model, 0.3, v)
    assert (hessian @ (point - target) / v.sqrt() + 0.3 * point).abs().max() < 1e-12
    point = target + theory.stable_bias(model, 0.3, v)
    assert (hessian @ (point - target) / v.sqrt() + 0.3 * point / v.mean().sqrt()).abs().max() < 1e-12
    diagonal = theory.decoupled_bias(theory.Quadratic(SPECTRUM, 1.0), 0.3, 0.2)
    torch.testing.assert_close(
        theory.decoupled_bias(theory.Quadratic(SPECTRUM.diag(), 1.0), 0.3, 0.2), diagonal, rtol=0, atol=1e-13
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.hypothesis([0.1, 0.2], 0.0), "delta=0.0"),
        (lambda: theory.gradient_gap([0.1, 0.0], 0.1), r"lrs\[1\] = 0"),
        (lambda: theory.gradient_gap([0.1], -0.1), "weight_decay=-0.1"),
        (lambda: theory.movement(theory.Quadratic([-1.0]), [0.1], theory.Coupled(0.1)), "is not positive"),
        (lambda: theory.decoupled_bias(MODEL, 0.1, 0.0), r"second_moment\[0\] = 0"),
        (lambda: theory.decoupled_bias(MODEL, 0.1, [1.0]), "second_moment has shape"),
        (lambda: theory.decoupled_bias(theory.Quadratic([-1.0]), 0.1, 1.0), "direction 0 has no regularised"),
        (lambda: theory.stable_bias(theory.Quadratic(-torch.eye(2)), 0.1, 1.0), "not positive definite"),
        (lambda: theory.stable_bias(MODEL, -0.1, 1.0), "weight_decay=-0.1"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_schedule_of_one_step_changes_nothing():
    found = theory.hypothesis([0.1], 0.01)
    assert (found.share, found.from_step) == (0.0, None)
    assert not math.isnan(theory.movement(MODEL, [0.1], theory.Vanilla(0.1)).span)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_change_of_exactly_delta_counts_in_the_precision_of_the_schedule(dtype):
    """A linear decay in 1,000 steps: as often as a schedule that only falls can satisfy it."""
    found = theory.hypothesis(torch.linspace(0.1, 0.0, 1001, dtype=dtype), delta=1e-4)
    assert (int(found.holds.sum()), found.at_most, found.from_step) == (1000, 1000, 0)
    assert not theory.hypothesis(torch.linspace(0.1, 0.0, 1001, dtype=dtype), delta=1.01e-4).holds.any()


def test_a_delta_within_rounding_is_refused():
    with pytest.raises(ValueError, match=r"delta=1e-09: .* within the rounding .* Use a larger δ, or float64"):
        theory.hypothesis(torch.linspace(0.1, 0.0, 11), delta=1e-9)
