"""The spectrum of a network: against the dense matrix of a tiny one, and laws that hold for any."""

from __future__ import annotations

import inspect
import math

import pytest
import torch
from scipy.sparse.linalg import eigsh
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader, TensorDataset

from weightdecay.spectrum import GGN, Hessian, below, density, lanczos, measure, top_eigenvalues, trace, within


def network(seed=0, dropout=0.5):
    torch.manual_seed(seed)
    return nn.Sequential(
        *(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten()),
        *(nn.Dropout(dropout), nn.Linear(12, 4)),
    ).double()


def images(count=40, seed=1):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 1, 6, 6, generator=generator, dtype=torch.float64)
    return inputs, torch.randint(0, 4, (count,), generator=generator)


def batches(*sizes):
    inputs, targets = images(sum(sizes))
    return list(zip(inputs.split(sizes), targets.split(sizes), strict=True))


def dense_hessian(model, loss, inputs, targets):
    """By torch.func, over a dictionary of parameters: nothing of ours in it."""
    model.eval()
    names, shapes, values = zip(
        *((n, p.shape, p.detach().reshape(-1)) for n, p in model.named_parameters()), strict=True
    )
    sizes = [v.numel() for v in values]

    def f(flat):
        given = {n: part.view(s) for n, part, s in zip(names, flat.split(sizes), shapes, strict=True)}
        return loss(torch.func.functional_call(model, given, (inputs,)), targets)

    return torch.func.jacrev(torch.func.jacrev(f))(torch.cat(values))


def dense_ggn(model, inputs, targets):
    """Jᵀ (diag p − ppᵀ) J / N for cross entropy."""
    model.eval()
    names, shapes, values = zip(
        *((n, p.shape, p.detach().reshape(-1)) for n, p in model.named_parameters()), strict=True
    )
    sizes = [v.numel() for v in values]

    def f(flat):
        given = {n: part.view(s) for n, part, s in zip(names, flat.split(sizes), shapes, strict=True)}
        return torch.func.functional_call(model, given, (inputs,))

    flat = torch.cat(values)
    jacobian = torch.func.jacrev(f)(flat)  # (N, classes, n)
    p = f(flat).softmax(-1)
    inner = torch.diag_embed(p) - p.unsqueeze(-1) * p.unsqueeze(-2)
    return torch.einsum("nci,ncd,ndj->ij", jacobian, inner, jacobian) / len(inputs)


def matrix_of(curvature):
    return torch.stack([curvature @ column for column in torch.eye(curvature.size, dtype=curvature.dtype)])


KINDS = {"hessian": (Hessian, lambda m, x, y: dense_hessian(m, nn.CrossEntropyLoss(), x, y)), "ggn": (GGN, dense_ggn)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", [(40,), (16, 16, 8), (39, 1)], ids=str)
def test_products_are_those_of_the_dense_matrix_however_the_data_is_cut(kind, sizes):
    build, dense = KINDS[kind]
    model = network()
    found = matrix_of(build(model, nn.CrossEntropyLoss(), batches(*sizes)))
    assert torch.allclose(found, dense(model, *images()), atol=1e-12)


class Reads(nn.Module):
    """Attention and a recurrent layer over (n, time, 4), whose fast kernels have no second derivatives."""

    def __init__(self):
        super().__init__()
        self.recurrent, self.last = nn.LSTM(4, 3, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        x = nn.functional.scaled_dot_product_attention(x, self.last.weight[:3].expand(len(x), 3, 4), x[:, :3])
        return self.last(nn.functional.pad(self.recurrent(x)[0][:, -1], (0, 1)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_attention_and_recurrent_layers_are_differentiated_twice(kind, dtype):
    build, dense = KINDS[kind]
    torch.manual_seed(0)
    model = Reads().double()
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(9, 5, 4, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, 3, (9,), generator=generator)
    with sdpa_kernel(SDPBackend.MATH):
        exact = dense(model, inputs, targets)
    model.to(dtype)
    data = [(inputs[:5].to(dtype), targets[:5]), (inputs[5:].to(dtype), targets[5:])]
    found = matrix_of(build(model, nn.CrossEntropyLoss(), data)).double()
    assert torch.allclose(found, exact, atol=1e-12 if dtype == torch.float64 else 1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_float32_products_agree_to_1e_4(kind):
    build, dense = KINDS[kind]
    exact = dense(network(), *images())
    data = [(x.float(), y) for x, y in batches(24, 16)]
    found = matrix_of(build(network().float(), nn.CrossEntropyLoss(), data))
    assert (found.double() - exact).norm() < 1e-4 * exact.norm()


@pytest.mark.parametrize(
    ("kind", "end"),
    # The smallest of a GGN are zeros, a space without eigenvectors of its own.
    [("hessian", "largest"), ("hessian", "smallest"), ("hessian", "magnitude"), ("ggn", "largest")],
)
def test_top_eigenvalues_are_those_of_the_dense_matrix(kind, end):
    build, dense = KINDS[kind]
    model = network()
    values, vectors = torch.linalg.eigh(dense(model, *images()))
    order = {"largest": (-values), "smallest": values, "magnitude": -values.abs()}[end].argsort()[:8]
    matrix = build(model, nn.CrossEntropyLoss(), batches(20, 20))
    quick = top_eigenvalues(matrix, 8, end=end)
    assert torch.allclose(quick.values, values[order], rtol=1e-5)
    assert quick.products == matrix.products
    found = top_eigenvalues(matrix, 8, end=end, tolerance=1e-8)
    assert torch.allclose(found.values, values[order], rtol=1e-12, atol=1e-14)
    overlap = (found.vectors @ vectors[:, order]).abs().diagonal()
    assert (overlap - 1).abs().max() < 1e-10


def test_a_squares_loss_in_several_dimensions_is_averaged_as_torch_does():
    torch.manual_seed(0)
    model = nn.Linear(3, 2).double()
    inputs, targets = torch.randn(10, 3).double(), torch.randn(10, 2).double()
    exact = dense_hessian(model, nn.MSELoss(), inputs, targets)
    data = [(inputs[:7], targets[:7]), (inputs[7:], targets[7:])]
    for build in (Hessian, GGN):  # a linear model: the two are one
        assert torch.allclose(matrix_of(build(model, nn.MSELoss(), data)), exact, atol=1e-12)


def test_the_network_is_measured_in_eval_mode_and_left_as_it_was():
    model = network(dropout=0.9).train()
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for build in (Hessian, GGN):
        matrix = build(model, nn.CrossEntropyLoss(), batches(20, 20))
        vector = torch.ones(matrix.size, dtype=torch.float64)
        assert torch.equal(matrix @ vector, matrix @ vector)
    assert model[5].training
    assert not model[1].training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_a_product_is_right_where_gradients_are_off_and_for_a_part_of_the_parameters():
    model = network()
    exact = dense_hessian(model, nn.CrossEntropyLoss(), *images())
    last = list(model[6].parameters())
    with torch.no_grad():
        part = matrix_of(Hessian(model, nn.CrossEntropyLoss(), batches(40), last))
    size = sum(p.numel() for p in last)
    assert torch.allclose(part, exact[-size:, -size:], atol=1e-12)


def test_hutch_plus_plus_is_unbiased_and_its_error_is_that_of_the_rest():
    matrix = Hessian(network(), nn.CrossEntropyLoss(), batches(40))
    exact = dense_hessian(network(), nn.CrossEntropyLoss(), *images()).trace().item()
    found = [trace(matrix, 12, seed=seed) for seed in range(60)]
    values = torch.tensor([each.value for each in found])
    assert abs(values.mean().item() - exact) < 3 * values.std().item() / math.sqrt(60)
    claimed = torch.tensor([each.error for each in found]).square().mean().sqrt().item()
    assert 0.6 < claimed / values.std().item() < 1.6  # of 60 samples of 4


def test_the_trace_of_a_matrix_of_low_rank_is_exact():
    """Rank 2 × 3 classes: with 12 products in each third nothing is left outside."""
    torch.manual_seed(0)
    model = nn.Linear(20, 3, bias=False).double()
    inputs, targets = torch.randn(2, 20).double(), torch.tensor([0, 1])
    exact = dense_hessian(model, nn.CrossEntropyLoss(), inputs, targets).trace().item()
    found = trace(Hessian(model, nn.CrossEntropyLoss(), [(inputs, targets)]), 36)
    assert found.value == pytest.approx(exact, rel=1e-10)
    assert found.error < 1e-10
    assert found.products < 36  # the sketch has fewer directions than products


def test_a_measure_integrates_polynomials_below_degree_2m():
    matrix = Hessian(network(), nn.CrossEntropyLoss(), batches(40))
    exact = dense_hessian(network(), nn.CrossEntropyLoss(), *images())
    vector = torch.randn(matrix.size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = measure(matrix, vector, 4)
    assert len(found.nodes) == 4
    power = vector.clone()
    for degree in range(8):
        assert (found.weights * found.nodes**degree).sum() == pytest.approx((vector @ power).item(), rel=1e-9), degree
        power = exact @ power


def test_lanczos_to_the_end_finds_every_eigenvalue_and_stops_where_the_space_does():
    matrix = Hessian(network(), nn.CrossEntropyLoss(), batches(40))
    exact = torch.linalg.eigvalsh(dense_hessian(network(), nn.CrossEntropyLoss(), *images()))
    start = torch.randn(matrix.size, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    tridiagonal, basis = lanczos(matrix, start, 10_000)
    assert len(basis) <= matrix.size
    assert torch.allclose(basis @ basis.T, torch.eye(len(basis), dtype=torch.float64), atol=1e-10)
    found = torch.linalg.eigvalsh(tridiagonal)
    distances = (exact.unsqueeze(1) - found).abs().amin(1)
    assert distances.max() < 1e-8
    eigenvector = torch.linalg.eigh(dense_hessian(network(), nn.CrossEntropyLoss(), *images())).eigenvectors[:, -1]
    assert len(lanczos(matrix, eigenvector, 20)[0]) <= 2  # one, or one more of rounding


class OnlyOnce:
    """Data whose second pass is empty."""

    def __init__(self, data):
        self.iterator = iter(data)

    def __iter__(self):
        return self.iterator


@pytest.mark.parametrize(
    "loss", [nn.CrossEntropyLoss(ignore_index=2), nn.CrossEntropyLoss(torch.arange(1.0, 5).double())]
)
def test_what_a_loss_counts_is_averaged_alike_however_the_data_is_cut(loss):
    exact = dense_hessian(network(), loss, *images())
    for sizes in ((40,), (17, 3, 20), (*(1,) * 8, 32)):  # of single ones, some are ignored altogether
        assert torch.allclose(matrix_of(Hessian(network(), loss, batches(*sizes))), exact, atol=1e-12), sizes


def test_a_loader_leaves_the_random_state_alone_and_may_shuffle():
    inputs, targets = images()
    loader = DataLoader(TensorDataset(inputs, targets), batch_size=7, shuffle=True)
    state = torch.random.get_rng_state()
    found = matrix_of(Hessian(network(), nn.CrossEntropyLoss(), loader))
    assert not torch.equal(state, torch.random.get_rng_state())  # network() draws
    torch.manual_seed(5)
    matrix, state = Hessian(network(), nn.CrossEntropyLoss(), loader), torch.random.get_rng_state()
    matrix @ torch.ones(88, dtype=torch.float64)
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.allclose(found, dense_hessian(network(), nn.CrossEntropyLoss(), inputs, targets), atol=1e-12)


def test_a_matrix_of_zeros_has_zeros_for_eigenvalues():
    matrix = Hessian(nn.Linear(3, 2).double(), lambda o, t: o.mean(), [(torch.ones(4, 3).double(), torch.zeros(4))])
    found = top_eigenvalues(matrix, 3)
    assert not found.values.any()
    assert torch.equal(found.vectors @ found.vectors.T, torch.eye(3, dtype=torch.float64))
    assert trace(matrix).value == 0


def test_of_one_weight_the_trace_is_exact():
    model = nn.Linear(1, 1, bias=False).double()
    matrix = Hessian(model, nn.MSELoss(), [(torch.full((2, 1), 3.0).double(), torch.zeros(2, 1).double())])
    assert trace(matrix)[:2] == (pytest.approx(18.0), 0.0)


class Known(Hessian):
    """A diagonal matrix of these eigenvalues."""

    def __init__(self, values):
        model = nn.Linear(len(values), 1, bias=False).double()
        super().__init__(model, nn.MSELoss(), [(torch.ones(1, len(values)).double(), torch.zeros(1, 1).double())])
        self.values = values

    def product(self, vector):
        return self.values * vector


def test_the_guess_of_a_share_is_near_the_truth_where_a_bulk_at_0_is_far_below_the_next_node():
    """Like a network: 90 % of 2,000 eigenvalues at 1e-6, a tail, and ten outliers; a bulk within one node."""
    values = torch.cat(
        [torch.full((1800,), 1e-6), torch.logspace(-2, 0, 190), torch.linspace(1, 20, 10)]
    ).double()  # fmt: skip
    found = density(Known(values), probes=8, steps=40)
    for value in (1e-4, 5e-4, 2e-3):
        share = found.share_within(value)
        assert share.guess == pytest.approx(0.9, abs=0.03), value
        assert share.low <= share.guess <= share.high


def test_the_density_has_the_moments_and_shares_of_the_eigenvalues():
    matrix = Hessian(network(), nn.CrossEntropyLoss(), batches(40))
    exact = torch.linalg.eigvalsh(dense_hessian(network(), nn.CrossEntropyLoss(), *images()))
    found = density(matrix, probes=200, steps=12)
    assert found.moments[0] == pytest.approx(
        exact.mean().item(), abs=4 * exact.std().item() / math.sqrt(200 * len(exact))
    )
    for value in (1e-3, 0.1, 0.3):
        share = found.share_within(value)
        truth = (exact.abs() < value).double().mean().item()
        assert share.low - 4 * share.error <= truth <= share.high + 4 * share.error, value
    nodes, counts = found.spectrum()
    assert counts.sum() == pytest.approx(matrix.size)
    assert nodes.diff().min() >= 0
    points = torch.linspace(exact.min().item() - 1, exact.max().item() + 1, 4001, dtype=torch.float64)
    curve = found.at(points, width=0.05)
    assert torch.trapezoid(curve, points) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 5, 12, 30])
@pytest.mark.parametrize("value", [-0.2, -1e-3, 0.0, 1e-4, 0.02, 0.3, 5.0])
def test_the_bounds_of_a_share_hold_for_the_vector_at_any_number_of_steps(steps, value):
    """Chebyshev, Markov and Stieltjes: against the vector's own energy along the dense matrix's eigenvectors."""
    matrix = Hessian(network(), nn.CrossEntropyLoss(), batches(40))
    values, vectors = torch.linalg.eigh(dense_hessian(network(), nn.CrossEntropyLoss(), *images()))
    for seed in range(3):
        vector = torch.randn(matrix.size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        energy = (vector @ vectors).square() / vector.square().sum()
        found = measure(matrix, vector, steps)
        for rule, inside in ((below, values < value), (within, values.abs() < value))[: 1 + (value >= 0)]:
            guess, low, high = rule(found, value)
            assert low - 1e-9 <= energy[inside].sum() <= high + 1e-9
            assert low <= guess <= high


def test_everything_is_a_function_of_the_seed_and_draws_from_nobody_elses():
    def run(seed):
        matrix = Hessian(network(), nn.CrossEntropyLoss(), batches(24, 16))
        state = torch.random.get_rng_state()
        found = (
            top_eigenvalues(matrix, 3, seed=seed).vectors,
            torch.tensor(trace(matrix, 12, seed=seed)[:2]),
            torch.cat([one.nodes for one in density(matrix, probes=2, steps=5, seed=seed).probes]),
        )
        assert torch.equal(state, torch.random.get_rng_state())
        return found

    first, again, other = run(0), run(0), run(1)
    assert all(map(torch.equal, first, again))
    assert not any(map(torch.equal, first, other))


def test_progress_is_told_after_every_product():
    seen = []
    matrix = Hessian(network(), nn.CrossEntropyLoss(), batches(40), on_product=seen.append)
    found = density(matrix, probes=2, steps=3)
    assert seen == [1, 2, 3, 4, 5, 6]
    assert len(found.probes) == 2


@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(),
        nn.functional.cross_entropy,
        nn.NLLLoss(),
        nn.functional.nll_loss,
        nn.NLLLoss(weight=torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64), ignore_index=2),
    ],
    ids=["CrossEntropyLoss", "cross_entropy", "NLLLoss", "nll_loss", "weighted NLLLoss"],
)
def test_how_data_with_ignored_targets_is_cut_changes_nothing(loss):
    model, (inputs, targets) = network(), images(40)
    if loss not in (nn.functional.cross_entropy,) and not isinstance(loss, nn.CrossEntropyLoss):
        model.append(nn.LogSoftmax(1))
    targets[:15] = getattr(loss, "ignore_index", -100)
    vector = torch.linspace(-1, 1, 88, dtype=torch.float64)
    whole, cut = (
        Hessian(model, loss, list(zip(inputs.split(size), targets.split(size), strict=True))) @ vector
        for size in (40, 13)
    )
    torch.testing.assert_close(cut, whole, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(whole, dense_hessian(model, loss, inputs, targets) @ vector, rtol=1e-9, atol=1e-12)


def test_the_same_call_gives_the_same_bits_where_the_subspace_is_exhausted():
    """Of rank 1: ARPACK has to start anew, with vectors of its own."""
    if "rng" not in inspect.signature(eigsh).parameters:
        pytest.skip("this scipy cannot be told what to start anew with")
    model = nn.Linear(12, 1, bias=False).double()
    data = [(torch.arange(12.0).double()[None], torch.zeros(1, 1).double())]
    first, second = (top_eigenvalues(Hessian(model, nn.MSELoss(), data), 3) for _ in range(2))
    assert torch.equal(first.values, second.values)
    assert torch.equal(first.vectors, second.vectors)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m, d: Hessian(m, nn.CrossEntropyLoss(), iter(d)), "generator.*list"),
        (
            lambda m, d: Hessian(m, lambda o, t: nn.functional.cross_entropy(o, t), [(d[0][0], d[0][1] * 0 - 100)]),
            "hold -100",
        ),
        (lambda m, d: Hessian(m, lambda o, t: o.detach().mean(), d) @ torch.ones(88), "does not depend on the param"),
        (lambda m, d: Hessian(m, nn.CrossEntropyLoss(), []), "no targets"),
        (lambda m, d: Hessian(m.requires_grad_(False), nn.CrossEntropyLoss(), d), "no parameter"),
        (lambda m, d: Hessian(m, nn.CrossEntropyLoss(reduction="none"), d), "reduction='mean'"),
        (lambda m, d: Hessian(m, nn.CrossEntropyLoss(reduction="sum"), d), "reduction='mean'"),
        (lambda m, d: Hessian(m, lambda o, t: o.sum(1), d) @ torch.ones(88), "shape.*one number, the mean"),
        (lambda m, d: Hessian(m, nn.CrossEntropyLoss(), d) @ torch.full((88,), math.nan), "not finite"),
        (lambda m, d: Hessian(m, nn.CrossEntropyLoss(), d[0]), r"not \(inputs, targets\)"),
        (lambda m, d: Hessian(m, nn.CrossEntropyLoss(), d, list(network().parameters())), "not of this model"),
        (lambda m, d: Hessian(m, nn.CrossEntropyLoss(), d, [*m.parameters(), m[0].bias]), "named twice"),
        (lambda m, d: Hessian(m, nn.CrossEntropyLoss(), OnlyOnce(d)) @ torch.ones(88), "for 40 at first and for 0 now"),
        (lambda m, d: Hessian(m, nn.CrossEntropyLoss(), DataLoader(d, shuffle=True, drop_last=True)), "other examples"),
        (lambda m, d: Hessian(m.half(), nn.CrossEntropyLoss(), d), r"float16: curvature needs model.float\(\)"),
        (lambda m, d: GGN(m, nn.CrossEntropyLoss(ignore_index=0), d), "ignores no targets. Use the Hessian"),
        (lambda m, d: GGN(m, nn.CrossEntropyLoss(weight=torch.arange(4.0).double()), d), "no class weights"),
        (lambda m, d: GGN(m, nn.CrossEntropyLoss(), [d[0], (d[1][0] * math.nan, d[1][1])]), "nan: a diverged"),
        (lambda m, d: top_eigenvalues(Hessian(m, nn.CrossEntropyLoss(), d), 1.5), "count=1.5"),
        (lambda m, d: top_eigenvalues(Hessian(m, nn.CrossEntropyLoss(), d), 2, tolerance=math.nan), "tolerance=nan"),
        (lambda m, d: Hessian(m, nn.CrossEntropyLoss(), d) @ torch.ones(3), r"shape \(3,\).*\(88,\)"),
        (lambda m, d: Hessian(m, lambda o, t: o.sum() * math.nan, d) @ torch.ones(88), "nan.*diverged"),
        (lambda m, d: GGN(m, nn.functional.cross_entropy, d), "needs nn.CrossEntropyLoss"),
        (lambda m, d: top_eigenvalues(Hessian(m, nn.CrossEntropyLoss(), d), 88), "1 to 87"),
        (lambda m, d: top_eigenvalues(Hessian(m, nn.CrossEntropyLoss(), d), 2, end="top"), "largest, smallest"),
        (lambda m, d: trace(Hessian(m, nn.CrossEntropyLoss(), d), 5), "products=5.*6 at least"),
        (lambda m, d: density(Hessian(m, nn.CrossEntropyLoss(), d), probes=0), "probes=0"),
        (lambda m, d: density(Hessian(m, nn.CrossEntropyLoss(), d), steps=0), "steps=0"),
        (lambda m, d: lanczos(Hessian(m, nn.CrossEntropyLoss(), d), torch.zeros(88), 3), "vector of zeros"),
        (lambda m, d: Hessian(m, nn.CrossEntropyLoss(), [(x.numpy(), y.numpy()) for x, y in d]), "of ndarray, ndarray"),
        (lambda m, d: Hessian(m, nn.CrossEntropyLoss(), [{"inputs": x} for x, _ in d]), "two tensors, but a dict"),
        (lambda m, d: Hessian(lambda x: x, nn.CrossEntropyLoss(), d), "must be a torch.nn.Module"),
        (
            lambda m, d: Hessian(m, lambda *_: 3.0, d) @ torch.ones(88),
            "the loss of a batch is 3.0: it must be a tensor",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make(network(), batches(20, 20))
