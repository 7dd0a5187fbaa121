"""Equilibria under the later decays, against the library's Adam on random orthogonal gradients."""

import math

import pytest
from test_theory_equilibrium import SIZE, TENSORS, simulated

import weightdecay as wd
from weightdecay.theory import equilibrium, later

LR, STRENGTH = 0.02, 0.5
BETAS = (0.9, 0.998)
CASES = {
    "corrected at half the peak": (wd.Corrected(), later.corrected(LR, 2 * LR, STRENGTH, SIZE)),
    "independent at half the peak": (wd.Independent(), later.independent(LR, 2 * LR, 2 * LR * STRENGTH, SIZE)),
}


@pytest.mark.parametrize("name", CASES)
def test_simulated_norms_and_angles(name):
    """Within 5 standard errors and 1.5 %: the forms are of first order, and v̂ of 2,000 weights adds some."""
    decay, found = CASES[name]
    strength = 2 * LR * STRENGTH if name.startswith("independent") else STRENGTH

    def build(weight):
        return wd.Adam([weight], lr=LR, betas=BETAS, weight_decay=strength, decay=decay, peak_lr=2 * LR, eps=0.0)

    for values, expected in zip(simulated(build, found.norm, 150, 150), (found.norm, found.angle), strict=True):
        error = values.std().item() / math.sqrt(TENSORS)
        assert abs(values.mean().item() - expected) < 5 * error + 0.015 * expected


def test_a_norm_target_settles_above_its_radius():
    found = later.norm_target(LR, STRENGTH, 4.0, SIZE)

    def build(weight):  # the rows are one tensor, whose radius this is
        return wd.Adam(
            [weight], lr=LR, betas=BETAS, weight_decay=STRENGTH, decay=wd.NormTarget(4.0 * math.sqrt(TENSORS)), eps=0.0
        )

    norms, angles = simulated(build, found.norm, 150, 150)
    assert norms.square().mean().sqrt().item() == pytest.approx(found.norm, rel=0.02)
    assert angles.mean().item() == pytest.approx(found.angle, rel=0.02)
    assert found.norm > equilibrium.adamw(LR, STRENGTH, SIZE).norm > 4.0


def test_half_the_strength_does_not_stand_for_cautious_decay():
    """Momentum has carried the weights against the update, so that less than half of them decay."""
    halved = equilibrium.adamw(LR, STRENGTH / 2, SIZE)

    def build(weight):
        return wd.Adam([weight], lr=LR, betas=BETAS, weight_decay=STRENGTH, decay=wd.Cautious(), eps=0.0)

    norms, _ = simulated(build, 1.2 * halved.norm, 150, 150)
    assert norms.mean().item() > 1.15 * halved.norm


@pytest.mark.parametrize("beta1", [0.0, 0.9])
def test_hyperball_turns_as_adamw_does_once_it_has_settled(beta1):
    """But for what momentum takes from it: the radial part of an update, which the sphere takes back."""
    settled = equilibrium.adamw(LR, STRENGTH, SIZE, beta1)
    lr = later.hyperball_lr(settled)

    def build(weight):  # all tensors are rows of one matrix, and of one norm
        betas = (beta1, BETAS[1])
        return wd.Adam([weight], lr=lr, betas=betas, weight_decay=1.0, decay=wd.Hyperball(), eps=0.0)

    norms, angles = simulated(build, settled.norm, 60, 100)
    measured = angles.mean().item()
    radial = beta1 / (1 - beta1) * measured
    assert norms.square().mean().sqrt().item() == pytest.approx(settled.norm, rel=1e-4)
    assert measured == pytest.approx(settled.angle * math.sqrt(1 - radial**2), rel=0.01)
    assert (radial > 0.2) is (beta1 > 0)


@pytest.mark.parametrize("beta1", [0.0, 0.9])
@pytest.mark.parametrize("pull", [1e-8, 1e-4, 0.3])
def test_angle_and_weight_decay_are_inverse(pull, beta1):
    settled = equilibrium.adamw(1e-3, pull / 1e-3, 100, beta1)
    assert later.hyperball_weight_decay(later.hyperball_lr(settled), 1e-3, beta1) == pytest.approx(
        pull / 1e-3, rel=1e-9
    )


def test_corrected_keeps_the_norm_while_the_lr_falls_and_adamw_does_not():
    corrected = [later.corrected(lr, 1e-3, 0.1, SIZE) for lr in (1e-3, 1e-5)]
    adamw = [equilibrium.adamw(lr, 0.1, SIZE) for lr in (1e-3, 1e-5)]
    assert corrected[1].norm == pytest.approx(corrected[0].norm, rel=1e-3)
    assert adamw[1].norm == pytest.approx(adamw[0].norm / 10, rel=1e-3)
    assert corrected[1].angle == pytest.approx(corrected[0].angle / 100, rel=1e-3)
    assert adamw[1].angle == pytest.approx(adamw[0].angle / 10, rel=1e-3)


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda: later.corrected(1e-3, 0.0, 0.1, 10), "peak_lr"),
        (lambda: later.independent(1e-3, 1e-3, 0.0, 10), "weight_decay"),
        (lambda: later.norm_target(1e-3, 0.1, -1.0, 10), "radius"),
        (lambda: later.hyperball_weight_decay(-0.1, 1e-3), "angle_lr"),
    ],
)
def test_numbers_out_of_range_are_named(ask, says):
    with pytest.raises(ValueError, match=says):
        ask()
