"""The best λ: against brute force, closed forms, simulated runs, and what was derived of when it is above 0."""

import itertools
import math

import pytest
import theory_oracles as oracle
import torch

from weightdecay import theory

SPECTRUM = torch.tensor([4.0, 1.0, 0.1, 1e-2, 1e-4, 0.0], dtype=torch.float64)
MINIMUM = torch.tensor([1.0, -1.0, 2.0, 0.5, 1.0, 3.0], dtype=torch.float64)
START = torch.tensor([0.0, 2.0, -1.0, 1.0, 4.0, 1.0], dtype=torch.float64)
MODEL = theory.Quadratic(SPECTRUM, MINIMUM, START, noise=0.3)
LRS = theory.cosine(200, 0.3)


SETTINGS = {
    "fixed": (MODEL, None),
    "test loss": (theory.Quadratic(SPECTRUM, MINIMUM, START), (SPECTRUM + 0.1).tolist()),
    "ensemble": (theory.Ensemble(SPECTRUM, minimum=1.0, start=3.0, noise=0.2), None),
}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("decay", [theory.Coupled, theory.Vanilla])
def test_the_best_decay_beats_every_one_of_a_fine_grid(setting, decay):
    model, curvature = SETTINGS[setting]
    best = theory.best_weight_decay(model, LRS, decay, curvature)
    top = 2 / 0.3 - 4.0 if decay is theory.Coupled else 2 - 0.3 * 4.0
    grid = [0.0, *torch.logspace(-6, math.log10(0.999 * top), 400, dtype=torch.float64).tolist()]
    answers = theory.Responses(LRS)
    stable = [wd for wd in grid if decay is theory.Coupled or wd < 1]
    losses = {wd: theory.excess_loss(model, answers, decay(wd), curvature).total for wd in stable}
    assert best.excess.total <= min(losses.values()) * (1 + 1e-9)
    assert best.weight_decay == pytest.approx(min(losses, key=losses.__getitem__), rel=0.05)
    assert best.excess == theory.excess_loss(model, LRS, decay(best.weight_decay), curvature)
    assert not best.edge
    assert best.without.total == losses[0.0]


def test_the_slope_at_zero_is_the_sum_of_the_three_parts_derived():
    """Forgetting, bias and noise, direction by direction, against a difference of the expected loss."""
    curved = SPECTRUM[:5]
    model = theory.Quadratic(curved, MINIMUM[:5], START[:5], noise=0.3)
    slope = 0.0
    for h, m, s in zip(curved.tolist(), MINIMUM.tolist(), START.tolist(), strict=False):
        p = math.prod(1 - lr * h for lr in LRS.tolist())
        x = sum(lr / (1 - lr * h) for lr in LRS.tolist())
        q, dq = 0.0, 0.0
        for lr in LRS.tolist():
            f = 1 - lr * h
            q, dq = f * f * q + lr * lr, f * f * dq - 2 * lr * f * q
        slope += h * (-x * p * p * (s - m) ** 2 - p * (1 - p) / h * (s - m) * m + 0.5 * 0.09 * dq)
    step = 1e-6
    ends = [theory.excess_loss(model, LRS, theory.Coupled(wd)).total for wd in (0.0, step, 2 * step)]
    assert (4 * ends[1] - ends[2] - 3 * ends[0]) / (2 * step) == pytest.approx(slope, rel=1e-5)


@pytest.mark.parametrize("steps", [3, 30, 300])
def test_from_zero_without_noise_no_decay_is_best(steps):
    best = theory.best_weight_decay(theory.Quadratic(SPECTRUM, MINIMUM, start=0.0), theory.cosine(steps, 0.3))
    assert best.weight_decay == 0
    assert not best.falls_from_zero
    assert best.excess == best.without


@pytest.mark.parametrize("x", [0.3, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("ratio", [0.5, 3.0, 9.0])
def test_a_direction_gains_from_decay_if_it_is_flat_for_how_large_it_started(x, ratio):
    """(eˣ − 1)/x < 1 + E θ₀²/E θ*², x = hΣη, in the limit of small steps."""
    model = theory.Ensemble([x / 10.0], minimum=1.0, start=math.sqrt(ratio))
    best = theory.best_weight_decay(model, theory.constant(10_000, 1e-3))
    assert best.falls_from_zero == ((math.exp(x) - 1) / x < 1 + ratio)


def test_with_noise_and_many_steps_some_decay_is_best_and_no_longer_depends_on_their_number():
    model = theory.Quadratic([1.0, 0.3], minimum=1.0, start=0.0, noise=0.5)
    found = [theory.best_weight_decay(model, theory.constant(steps, 0.1)) for steps in (1000, 10_000, 100_000)]
    assert all(best.falls_from_zero and not best.edge for best in found)
    assert found[1].weight_decay == pytest.approx(found[2].weight_decay, rel=1e-3)


def test_where_the_lr_falls_to_0_the_best_decay_goes_on_falling_with_the_noise_that_is_left():
    model = theory.Quadratic([1.0], minimum=1.0, start=0.0, noise=1.0)
    found = [
        theory.best_weight_decay(model, theory.cosine(steps, 0.1)).weight_decay for steps in (1000, 10_000, 100_000)
    ]
    slopes = [math.log10(b / a) for a, b in itertools.pairwise(found)]
    assert all(-0.8 < slope < -0.5 for slope in slopes), slopes  # neither 0 nor −1


def test_steps_that_overshoot_have_no_certain_sign():
    """ηh of 1.5 before a shorter step: the mean is beyond the minimum, and decay draws it back."""
    best = theory.best_weight_decay(theory.Quadratic([1.5], minimum=1.0, start=0.0), [1.0, 0.1])
    assert best.weight_decay > 0.1
    grown = [
        theory.excess_loss(theory.Ensemble([1.5], minimum=0.0, start=1.0), [1.0] * 3, theory.Coupled(wd)).total
        for wd in (0.0, 0.1)
    ]
    assert grown[0] < grown[1]  # the start is not forgotten faster


def test_a_decay_in_another_meaning_is_searched_in_its_own():
    model = theory.Ensemble(SPECTRUM, minimum=1.0, start=3.0)
    plain = theory.best_weight_decay(model, LRS)
    independent = theory.best_weight_decay(model, LRS, lambda wd: theory.Coupled(wd / 0.3))
    assert independent.weight_decay == pytest.approx(0.3 * plain.weight_decay, rel=1e-3)
    steep = theory.Ensemble([19.5], minimum=1.0, start=3.0)  # where the largest stable λ bounds the range
    assert theory.best_weight_decay(steep, [0.1] * 9, lambda wd: theory.Coupled(wd / 0.1)).weight_decay < 0.05


def test_whether_a_little_decay_helps_does_not_depend_on_the_range():
    model = theory.Ensemble([1.0, 1e-3], minimum=1.0, start=3.0)
    far = theory.best_weight_decay(model, [0.5] * 100, low=1.0, high=2.0)
    assert (far.weight_decay, far.edge, far.falls_from_zero) == (0.0, "low", True)


def test_the_range_is_respected_and_its_edges_are_reported():
    model = theory.Ensemble(SPECTRUM, minimum=1.0, start=3.0)
    inner = theory.best_weight_decay(model, LRS)
    below = theory.best_weight_decay(model, LRS, high=inner.weight_decay / 3)
    above = theory.best_weight_decay(model, LRS, low=inner.weight_decay * 3)
    assert (below.edge, above.edge) == ("high", "low")
    assert below.weight_decay == pytest.approx(inner.weight_decay / 3)
    assert above.weight_decay == pytest.approx(inner.weight_decay * 3)


@pytest.mark.parametrize("part", [1.02, 1.1, 1.3])
def test_a_best_decay_just_inside_an_end_of_the_range_is_found(part):
    model = theory.Ensemble(SPECTRUM, minimum=1.0, start=3.0)
    inner = theory.best_weight_decay(model, LRS)
    for ends in ({"high": inner.weight_decay * part}, {"low": inner.weight_decay / part}):
        found = theory.best_weight_decay(model, LRS, **ends)
        assert found.edge == ""
        assert found.weight_decay == pytest.approx(inner.weight_decay, rel=2e-4)


@pytest.mark.parametrize("changed", [4e-4, 1e-4, 1e-5])
def test_a_little_decay_is_better_than_none_with_noise_however_little_that_is(changed):
    """λ* is below the range: 0 is better than what is in it, and both are said."""
    model = theory.Quadratic([1.0], minimum=1.0, start=0.0, noise=2 * math.sqrt(changed / 1000) / 0.1)
    found = theory.best_weight_decay(model, lrs := theory.constant(1000, 0.1))
    assert (found.weight_decay, found.edge, found.falls_from_zero) == (0.0, "low", True)
    without = theory.excess_loss(model, lrs, theory.Coupled(0.0)).total
    assert theory.excess_loss(model, lrs, theory.Coupled(changed / 100)).total < without


def test_without_noise_from_0_no_decay_helps_and_rounding_does_not_say_so():
    for steps in (1, 10, 100, 10_000):
        found = theory.best_weight_decay(theory.Quadratic([5.0, 1.0, 1e-3]), theory.constant(steps, 0.1))
        assert (found.weight_decay, found.edge, found.falls_from_zero) == (0.0, "", False)


FAR = [
    # steps, h·lr, and the largest λ that is tried by itself, times lr: what the docstring says, 100/Ση or 100 h
    (60, 1e-3, 100 / 60),
    (110, 1e-3, 100 / 110),
    (150, 1 / 81, 100 / 81),
    (150, 1 / 105, 100 / 105),
    (30, 0.1, 2 - 0.1),  # 2/lr − h, the largest that is stable
]


@pytest.mark.parametrize("lr", [1e-3, 0.5])
@pytest.mark.parametrize(("steps", "h", "most"), FAR)
def test_a_best_decay_far_out_is_found_and_one_beyond_the_range_is_said_to_be(lr, steps, h, most):
    """With the minimum at 0 one step under λ = 1/lr − h ends there, and so do all: nothing else is as good."""
    model, lrs = theory.Quadratic([h / lr], minimum=0.0, start=1.0), theory.constant(steps, lr)
    best = theory.best_weight_decay(model, lrs)
    assert best.falls_from_zero
    if 1 - h < most:
        # (1 − lr(h + λ))^2T is below 1e-308, a 0 like that of the best, up to this distance from it.
        near = 10 ** (-308 / (2 * steps))
        assert best.edge == ""
        assert best.weight_decay * lr == pytest.approx(1 - h, abs=1.5 * near + 1e-3)
        assert best.excess.total < 1e-100
    else:
        assert best.edge == "high"
        assert best.weight_decay * lr == pytest.approx(most, rel=1e-6)
        assert theory.best_weight_decay(model, lrs, high=1.5 / lr).edge == ""


@pytest.mark.parametrize(("h", "edge"), [(0.4, ""), (0.2, ""), (1e-7, "high")])
def test_a_best_vanilla_decay_near_1_is_found(h, edge):
    """One step of lr 1 with the minimum at 0: λ₀ = 1 − h ends there."""
    best = theory.best_weight_decay(theory.Quadratic([h], minimum=0.0, start=1.0), [1.0], theory.Vanilla)
    assert best.edge == edge
    assert best.weight_decay == pytest.approx(min(1 - h, 1 - 1e-6), abs=1e-4 if not edge else 1e-8)


@pytest.mark.parametrize("vanilla", [False, True])
@pytest.mark.parametrize(("changed", "edge"), [(0.0007, "low"), (0.002, ""), (0.005, "")])
def test_a_best_decay_so_small_that_next_to_nothing_changes_is_found_down_to_a_thousandth(changed, edge, vanilla):
    """Noise asks for σ²η/(4θ*²) of λ, by which a direction changes in all by Ση times that: against a naive search."""
    steps, lr = 1000, 0.1
    noise = 2 * math.sqrt(changed / steps) / lr
    model = theory.Quadratic([1.0], minimum=1.0, start=0.0, noise=noise)
    unit = 1 / steps if vanilla else 1 / (steps * lr)  # λ by which a direction changes by 1
    best = theory.best_weight_decay(model, theory.constant(steps, lr), theory.Vanilla if vanilla else theory.Coupled)

    def loss(part):
        return oracle.excess([1.0], [1.0], [0.0], [noise], [lr] * steps, part * unit, vanilla)

    naive = min((changed * 1.02**k for k in range(-25, 26)), key=loss)
    assert naive == pytest.approx(changed, rel=0.2)
    assert loss(1e-3) < loss(0.0)
    assert best.falls_from_zero
    assert best.edge == edge
    assert best.weight_decay == pytest.approx(1e-3 * unit if edge else naive * unit, rel=1e-9 if edge else 0.02)


def test_the_best_value_that_was_measured_is_not_lost_beside_the_edge_of_stability():
    """An odd number of steps: near the edge a start of the minimum's other sign comes back to it, in a valley so
    narrow that golden section walks out of it.
    """
    model, lrs = theory.Quadratic([1e-3], minimum=-1.0, start=1.2), theory.constant(31, 36.0)
    best = theory.best_weight_decay(model, lrs)
    assert best.edge == "high"
    assert best.excess.total == theory.excess_loss(model, lrs, theory.Coupled(best.weight_decay)).total
    assert best.excess.total < 0.2 * best.without.total


@pytest.mark.parametrize(
    ("spectrum", "noise", "steps", "lr"),
    [([1.0], [1.0], 10**6, 0.9), ([10.0, 1.0], [100.0, 1.0], 10**4, 0.1), ([9.0], [0.3], 10**6, 0.1)],
)
def test_noise_and_many_steps_are_said_to_want_a_little_decay(spectrum, noise, steps, lr):
    """By the slope of the stationary loss at 0, Σ hσ²/2 · d/ds[η/(s(2 − ηs))], where the bias has none."""
    slope = sum(
        s**2 / 2 * h * -lr * (2 - 2 * lr * h) / (h * (2 - lr * h)) ** 2 for h, s in zip(spectrum, noise, strict=True)
    )
    assert slope < 0
    model, lrs = theory.Ensemble(spectrum, noise=noise), theory.constant(steps, lr)
    best = theory.best_weight_decay(model, lrs)
    assert best.falls_from_zero
    assert best.weight_decay > 0
    below = theory.best_weight_decay(model, lrs, low=1e-9, high=1e-8)
    assert (below.edge, below.falls_from_zero) == ("high", True)


def test_where_nothing_in_the_range_helps_the_end_beyond_which_something_does_is_named():
    found = theory.best_weight_decay(theory.Ensemble([1.0, 1e-3], 1.0, 3.0), [0.5] * 100, low=1e-12, high=1e-11)
    assert (found.weight_decay, found.edge, found.falls_from_zero) == (0.0, "high", True)


def test_after_some_of_the_steps_the_best_is_that_of_a_schedule_of_these():
    """Steps that are not asked about may even diverge."""
    model, lrs = theory.Ensemble([1.0, 0.1]), torch.cat([theory.constant(100, 0.1), theory.constant(100, 5.0)])
    assert theory.best_weight_decay(model, theory.Responses(lrs, at=(100,))) == theory.best_weight_decay(
        model, lrs[:100]
    )


def test_the_limit_of_stability_itself_is_an_end_of_the_range():
    for curvature in torch.linspace(0.009, 0.0095, 60, dtype=torch.float64).tolist():
        limit = 2 / 0.0117 - curvature
        found = theory.best_weight_decay(theory.Quadratic([curvature], -1.0, 1.0), [0.0117], high=limit * (1 - 1e-15))
        assert found.edge == "high"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.best_weight_decay(MODEL, LRS, low=1.0, high=0.1), "must go upwards"),
        (lambda: theory.best_weight_decay(MODEL, [0.0, 0.0]), "no step .* has an lr above 0"),
        (lambda: theory.best_weight_decay(MODEL, LRS, high=100.0), "high=100.0: no training .* diverges"),
        (lambda: theory.best_weight_decay(MODEL, LRS, theory.Vanilla, high=1.5), "high=1.5: .*below 1"),
        (lambda: theory.best_weight_decay(MODEL, [0.6]), "direction 0 diverges"),
        (lambda: theory.best_weight_decay(MODEL, LRS, low=-1.0), "low=-1.0"),
        (lambda: theory.best_weight_decay(MODEL, LRS, lambda _: theory.Coupled(0.0)), "has strength 0"),
        (lambda: theory.best_weight_decay(MODEL, theory.Responses(LRS, at=(0,))), "no step .* has an lr above 0"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
