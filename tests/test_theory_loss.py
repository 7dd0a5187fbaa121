"""Expected loss and its parts: against naive loops and simulated runs."""

import math

import pytest
import theory_oracles as oracle
import torch

import weightdecay
from weightdecay import theory

SPECTRUM = torch.tensor([4.0, 1.0, 0.1, 1e-2, 1e-4, 0.0], dtype=torch.float64)
MINIMUM = torch.tensor([1.0, -1.0, 2.0, 0.5, 1.0, 3.0], dtype=torch.float64)
START = torch.tensor([0.0, 2.0, -1.0, 1.0, 4.0, 1.0], dtype=torch.float64)
MODEL = theory.Quadratic(SPECTRUM, MINIMUM, START, noise=0.3)
LRS = theory.cosine(200, 0.3)


@pytest.mark.parametrize("lrs", [LRS, theory.drops(200, 0.3)], ids=["cosine", "drops"])
@pytest.mark.parametrize("decay", [theory.Coupled(0.0), theory.Coupled(0.05), theory.Vanilla(0.01)])
@pytest.mark.parametrize("weights", [None, [1.0, 1.0, 1.0, 0.0, 2.0, 1.0]])
def test_the_parts_add_up_to_the_naive_loss(lrs, decay, weights):
    found = theory.excess_loss(MODEL, lrs, decay, weights)
    naive = oracle.excess(
        SPECTRUM.tolist(), MINIMUM.tolist(), START.tolist(), [0.3] * 6, lrs.tolist(), decay.weight_decay,
        isinstance(decay, theory.Vanilla), weights,
    )  # fmt: skip
    assert found.total == pytest.approx(naive, rel=1e-12)
    assert found.bias >= 0
    assert found.variance > 0


def test_each_part_is_what_its_name_says():
    lrs, law = theory.constant(40_000, 0.3), theory.Coupled(0.01)
    curved = theory.Quadratic(SPECTRUM[:4], MINIMUM[:4], START[:4], noise=0.3)
    found = theory.excess_loss(curved, lrs, law)
    assert abs(found.unconverged) < 1e-12  # after infinitely many steps
    assert found.bias == pytest.approx(
        0.5 * (SPECTRUM[:4] * theory.bias(curved, 0.01).square()).sum().item(), rel=1e-12
    )
    stationary = theory.stationary_variance(curved, 0.3, 0.01)
    assert found.variance == pytest.approx(0.5 * (SPECTRUM[:4] * stationary).sum().item(), rel=1e-12)
    assert theory.excess_loss(curved, lrs, theory.Coupled(0.0)).bias == 0
    silent = theory.Quadratic(SPECTRUM, MINIMUM, START)
    assert theory.excess_loss(silent, LRS, law).variance == 0


@pytest.mark.parametrize("steps", [1, 7])
@pytest.mark.parametrize("weights", [None, [1.0, 1.0, 1.0, 0.0, 2.0, 1.0]])
def test_where_every_lr_is_0_coupled_weights_stay_and_vanilla_ones_go_to_the_origin(steps, weights):
    """The bias is that of the regularised loss: λθ*/(h+λ), all of θ* under the infinite strength λ₀/0, 0 without λ."""
    ends = {
        theory.Coupled(0.0): lambda h, m: 0.0,
        theory.Coupled(0.05): lambda h, m: 0.05 * m / (h + 0.05),
        theory.Vanilla(0.0): lambda h, m: 0.0,
        theory.Vanilla(0.01): lambda h, m: m,
    }
    for decay, end in ends.items():
        left = (1 - decay.weight_decay) ** steps if isinstance(decay, theory.Vanilla) else 1.0
        bias = mean = 0.0
        for h, m, s, w in zip(
            *(x.tolist() for x in (SPECTRUM, MINIMUM, START)), weights or SPECTRUM.tolist(), strict=True
        ):
            bias += 0.5 * w * end(h, m) ** 2
            mean += 0.5 * w * (left * s - m) ** 2
        found = theory.excess_loss(MODEL, [0.0] * steps, decay, weights)
        assert found.bias == pytest.approx(bias, rel=1e-12), decay
        assert (found.mean, found.total) == (pytest.approx(mean, rel=1e-12), pytest.approx(mean, rel=1e-12))
        assert found.unconverged == pytest.approx(mean - bias, rel=1e-12)
        assert found.variance == 0


def test_simulated_loss_of_the_library_s_optimizer_is_the_expected_one():
    """6,000 runs of SGDW: within 5 standard errors, measured from the runs."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter(START.repeat(6_000, 1))
    optimizer = weightdecay.SGDW([weight], lr=0.3, weight_decay=0.05)
    for lr in theory.cosine(60, 0.3).tolist():
        noise = torch.randn(weight.shape, dtype=torch.float64, generator=generator)
        weight.grad = (weight.detach() - MINIMUM) * SPECTRUM + 0.3 * noise
        optimizer.param_groups[0]["lr"] = lr
        optimizer.step()
    losses = 0.5 * ((weight.detach() - MINIMUM).square() * SPECTRUM).sum(1)
    wanted = theory.excess_loss(MODEL, theory.cosine(60, 0.3), theory.Coupled(0.05)).total
    assert abs(losses.mean().item() - wanted) < 5 * losses.std().item() / math.sqrt(6_000)


def test_an_ensemble_is_the_mean_over_its_draws():
    """500 draws, each with its exact loss: within 5 standard errors."""
    ensemble = theory.Ensemble(SPECTRUM, minimum=MINIMUM.abs(), start=2.0, noise=0.1)
    answers, generator = theory.Responses(LRS), torch.Generator().manual_seed(0)
    for decay in (theory.Coupled(0.02), theory.Vanilla(0.004)):
        draws = torch.tensor(
            [theory.excess_loss(ensemble.draw(generator), answers, decay).total for _ in range(500)],
            dtype=torch.float64,
        )
        wanted = theory.excess_loss(ensemble, answers, decay).total
        assert abs(draws.mean().item() - wanted) < 5 * draws.std().item() / math.sqrt(500)


@pytest.mark.parametrize("decay", [theory.Coupled(0.05), theory.Vanilla(0.001)])
@pytest.mark.parametrize("steps", [1, 80, 120, 200])
def test_after_some_of_the_steps_it_is_that_of_a_schedule_of_these(steps, decay):
    """The bias is of the last lr used, not of the schedule's."""
    lrs = theory.drops(200, 0.3)
    answers = theory.Responses(lrs, at=(steps,))
    assert theory.excess_loss(MODEL, answers, decay) == theory.excess_loss(MODEL, lrs[:steps], decay)


@pytest.mark.parametrize("apart", [1e-3, 1e-6, 1e-9, 0.0])
def test_next_to_nothing_is_expected_with_all_its_digits(apart):
    """Squares are added up, not moments that cancel: a start near the minimum, without decay."""
    curved = [1.0, 0.3, 0.01]
    found = theory.excess_loss(theory.Quadratic(curved, 1.0, 1.0 + apart), [0.1] * 30, theory.Coupled(0.0)).total
    exact = sum(0.5 * h * ((1 - 0.1 * h) ** 30 * (1.0 + apart - 1.0)) ** 2 for h in curved)
    assert found == pytest.approx(exact, rel=1e-6, abs=1e-30)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.excess_loss(MODEL, LRS, theory.Coupled(0.1), [-1.0] * 6), "curvature has -1 in direction 0"),
        (lambda: theory.excess_loss(theory.Quadratic([-0.1]), LRS, theory.Coupled(0.2)), "the Hessian has -0.1"),
        (lambda: theory.excess_loss(MODEL, LRS, theory.Coupled(0.1), [1.0]), "curvature has shape"),
        (lambda: theory.Ensemble([1.0], start=-1.0), "negative deviation"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
