"""What is predicted from a spectrum: against sums over eigenvectors, and in limits that are known."""

from __future__ import annotations

import math
import statistics
from fractions import Fraction

import pytest
import torch
from torch import nn

from weightdecay.spectrum import (
    QUESTIONS,
    Curvature,
    Density,
    Hessian,
    Measure,
    Spectrum,
    density,
    expected_loss,
    measure,
    predict,
    predicted_best,
    spectrum_of,
    top_eigenvalues,
    trace,
)


class Dense(Curvature):
    """A matrix that is there."""

    def __init__(self, matrix):
        super().__init__(Flat(len(matrix)), lambda outputs, targets: outputs.sum(), [(torch.zeros(1), torch.zeros(1))])
        self.matrix = matrix

    def product(self, vector):
        return self.matrix @ vector


class Flat(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(size, dtype=torch.float64))


def spectrum_around(matrix, start, end, examples=100):
    dense, n = Dense(matrix), len(matrix)
    return Spectrum(
        top_eigenvalues(dense, 2), trace(dense, 12), density(dense, probes=1, steps=n),
        measure(dense, start, n), measure(dense, end, n), examples,
    )  # fmt: skip


def test_what_is_expected_is_the_sum_over_eigenvectors():
    generator = torch.Generator().manual_seed(0)
    square = torch.randn(8, 8, generator=generator, dtype=torch.float64)
    values, vectors = torch.linalg.eigh(square @ square.T / 8)
    start, end = (torch.randn(8, generator=generator, dtype=torch.float64) for _ in range(2))
    found = spectrum_around(square @ square.T / 8, start, end)
    a, b = (v @ vectors for v in (start, end))
    decays = [0.0, 1e-3, 0.1, 1.0]
    for budget in (3.0, 50.0):
        for question, weights in (("training", values), ("distance", torch.ones(8, dtype=torch.float64))):
            exact = []
            for lam in decays:
                left = torch.exp(-(values + lam) * budget)
                reached = values / (values + lam) * (1 - left)
                exact.append(0.5 * (weights * ((left * a) ** 2 + ((1 - reached) * b) ** 2)).sum())
            assert torch.allclose(
                expected_loss(found, decays, budget, question), torch.stack(exact), rtol=1e-9, atol=1e-12
            )


def test_with_finitely_many_examples_and_time_the_best_lambda_is_that_of_ridge_regression():
    """One curvature h: (hλ²θ² + h²/N)/(h+λ)² is least at λ = 1/(Nθ²), for a θ² that is the mean over directions."""
    size, examples = 6, 50
    matrix = 2.0 * torch.eye(size, dtype=torch.float64)
    end = torch.full((size,), 0.7, dtype=torch.float64)
    found = spectrum_around(matrix, torch.zeros(size, dtype=torch.float64), end, examples)
    assert predicted_best(found, 1e3, "examples").weight_decay == pytest.approx(
        1 / (examples * 0.49), rel=0.06
    )  # the grid's


def test_flat_directions_have_to_be_forgotten_and_the_best_lambda_falls_as_1_over_length():
    values = torch.tensor([5.0, *[1e-9] * 9], dtype=torch.float64)
    start, end = torch.ones(10, dtype=torch.float64), torch.tensor([1.0, *[1e-3] * 9], dtype=torch.float64)
    found = spectrum_around(torch.diag(values), start, end)
    short, long = (predicted_best(found, budget, "distance").weight_decay for budget in (100.0, 10_000.0))
    assert math.log(short / long) / math.log(100) == pytest.approx(1.0, abs=0.25)
    assert (
        predicted_best(found, 100.0, "training").weight_decay < 1e-5
    )  # nothing flat counts, and the steep one has arrived


def test_negative_eigenvalues_are_taken_for_flat():
    matrix = torch.diag(torch.tensor([1.0, 0.5, -0.3, -0.1], dtype=torch.float64))
    flat = torch.diag(torch.tensor([1.0, 0.5, 0.0, 0.0], dtype=torch.float64))
    start, end = torch.full((4,), 2.0, dtype=torch.float64), torch.ones(4, dtype=torch.float64)
    for question in QUESTIONS:
        found, wanted = (
            expected_loss(spectrum_around(one, start, end), [0.0, 1e-3, 0.1], 10.0, question) for one in (matrix, flat)
        )
        assert torch.allclose(found, wanted, rtol=1e-9), question


def test_directions_have_the_bias_and_time_of_the_corollaries_and_none_where_weights_leave():
    matrix = torch.diag(torch.tensor([-0.3, -0.3, -0.3], dtype=torch.float64))
    found = spectrum_around(matrix, torch.ones(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64))
    assert [(one.bias, one.time) for one in found.directions(0.1)] == [(None, None)] * 2
    assert [(one.bias, one.time) for one in found.directions(0.5)] == [pytest.approx((2.5, 5.0))] * 2
    steep = spectrum_around(4.0 * torch.eye(3, dtype=torch.float64), torch.ones(3).double(), torch.ones(3).double())
    assert [(one.eigenvalue, one.bias, one.time) for one in steep.directions(1.0)] == [
        pytest.approx((4.0, 0.2, 0.2))
    ] * 2


def test_a_network_of_ones_own_is_measured_and_asked_in_two_calls():
    torch.manual_seed(0)
    model = nn.Linear(5, 3).double()
    start = torch.cat([p.detach().flatten() for p in model.parameters()]).clone()
    inputs, targets = torch.randn(30, 5, dtype=torch.float64), torch.arange(30) % 3
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    matrix = Hessian(model, nn.CrossEntropyLoss(), [(inputs, targets)])
    found = spectrum_of(matrix, start, examples=30, top=100, probes=2, steps=18)
    assert len(found.top.values) == 17  # n − 1
    assert found.end.weights.sum() == pytest.approx(matrix.weights().square().sum().item())
    assert found.start.weights.sum() == pytest.approx(start.square().sum().item())
    one = predicted_best(found, 20.0, "distance")
    grid = torch.logspace(-6, 0, 145, dtype=torch.float64).tolist()
    assert one.weight_decay == grid[int(expected_loss(found, grid, 20.0, "distance").argmin())]


def test_a_best_lambda_is_at_the_edge_where_its_range_ends_before_it_or_there():
    """Ranges that are cut at values which were tried: 24 a decade are tried of these, too."""
    found = spectrum_around(
        torch.diag(torch.tensor([5.0, 0.1, 1e-3, 1e-5]).double()),
        torch.ones(4).double(),
        torch.tensor([1.0, 0.3, 0.1, 0.1]).double(),
    )
    grid = torch.logspace(-6, 0, 145, dtype=torch.float64).tolist()
    inner = predicted_best(found, 100.0, "distance")
    at = min(range(145), key=lambda i: abs(grid[i] - inner.weight_decay))
    assert 20 < at < 124
    assert not inner.edge
    for low, high, best, edge in [
        (-1, 1, 0, False),  # its neighbours on both sides
        (-1, 0, 0, True),
        (0, 1, 0, True),
        (-1, 9, 0, False),
        (-9, 1, 0, False),
        (-9, -3, -3, True),
        (3, 9, 3, True),
        (-20, 20, 0, False),
    ]:
        one = predicted_best(found, 100.0, "distance", low=grid[at + low], high=grid[at + high])
        assert one.weight_decay == pytest.approx(grid[at + best], rel=1e-9)
        assert one.edge == edge, (low, high)


@pytest.mark.parametrize("weights", [(0.1, 0.3), (0.2, 0.9, 0.4), (0.5, 0.5, 0.1, 0.8, 0.75)])
def test_the_error_of_a_share_is_the_standard_error_of_a_mean_over_probes(weights):
    nodes = torch.tensor([0.0, 1.0], dtype=torch.float64)
    probes = tuple(Measure(nodes, torch.tensor([w, 1 - w], dtype=torch.float64)) for w in weights)
    share = Density(probes, 1000).share_within(0.5)
    assert share.guess == pytest.approx(statistics.fmean(weights))
    assert share.error == pytest.approx(statistics.stdev(weights) / len(weights) ** 0.5)
    assert math.isnan(Density(probes[:1], 1000).share_within(0.5).error)


def test_without_decay_nothing_is_smaller_and_a_long_budget_costs_nothing():
    found = spectrum_around(
        torch.diag(torch.tensor([0.0, 1.0, 2.0]).double()), torch.ones(3).double(), torch.ones(3).double()
    )
    assert found.share(0.0)[:3] == (0.0, 0.0, 0.0)
    left = expected_loss(found, [0.0, 1e-300], 1e6, "distance")  # the flat direction keeps its start, for λ = 0 too
    assert torch.allclose(left, torch.full((2,), 1.0, dtype=torch.float64))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: expected_loss(f, [0.1], 1.0, "test"), "question='test': ask one of training, distance, examples"),
        (lambda f: expected_loss(f, [0.1], 0.0), "budget=0.0"),
        (lambda f: expected_loss(f, [-0.1], 1.0), "weight_decay=-0.1"),
        (lambda f: predicted_best(f, 1.0, low=1.0, high=0.1), "must go upwards"),
        (lambda f: f.share(math.nan), "value=nan"),
        (lambda f: f.density.at(torch.zeros(1), 0.0), "width=0.0"),
        (lambda f: spectrum_of(Dense(torch.eye(3)), torch.ones(4), 9), r"start has shape \(4,\): the matrix is of 3"),
        (lambda f: spectrum_of(Dense(torch.eye(3)), torch.ones(3), 0), "examples=0"),
    ],
)
def test_bad_questions(call, message):
    found = spectrum_around(torch.eye(3, dtype=torch.float64), torch.ones(3).double(), torch.ones(3).double())
    with pytest.raises(ValueError, match=message):
        call(found)


@pytest.mark.parametrize(("h", "lam"), [(100.0, 1e-14), (1e-14, 100.0), (1e-9, 1e-12), (0.0, 0.1), (0.0, 0.0)])
def test_what_is_reached_and_what_is_left_of_it_have_all_their_digits(h, lam):
    """D and 1 − D, with D = h/(h + λ)·(1 − e^−(h+λ)b), in fractions and a series of the exponential."""
    budget, nodes = 0.5, torch.tensor([h], dtype=torch.float64)
    exact_h, exact_lam, x = Fraction(h), Fraction(lam), (Fraction(h) + Fraction(lam)) / 2
    left, term = Fraction(0), Fraction(1)
    for k in range(1, 400):
        left += term
        term *= -x / k
    reached = exact_h / (exact_h + exact_lam) * (1 - left) if h + lam else Fraction(0)
    assert predict._reached(nodes, lam, budget).item() == pytest.approx(float(reached), rel=1e-12)
    assert predict._biased(nodes, lam, budget).item() == pytest.approx(float(1 - reached), rel=1e-12)
