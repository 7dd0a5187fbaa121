"""Mean and variance on a quadratic: against naive loops, against the library's own optimizers, and in limits."""

import math

import numpy as np
import pytest
import theory_oracles as oracle
import torch

import weightdecay
from weightdecay import theory
from weightdecay.theory.accumulated import Accumulated
from weightdecay.theory.product import Product

SCHEDULES = {
    "constant": theory.constant(700, 0.3),
    "cosine": theory.cosine(700, 0.3),
    "drops": theory.drops(700, 0.3),
    "warmup": torch.cat([torch.linspace(0.001, 0.3, 100, dtype=torch.float64), theory.cosine(600, 0.3)]),
    "restarts": theory.cosine(100, 0.3).repeat(7),
    "random": 0.3 * torch.rand(700, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
}
# Steep enough that lr·(h+λ) passes 1, down to nothing; 500 so that interpolation is what is tested.
SPECTRUM = torch.cat(
    [torch.zeros(1, dtype=torch.float64), torch.logspace(-9, math.log10(6.4), 499, dtype=torch.float64)]
)
DECAYS = {"none": theory.Coupled(0.0), "coupled": theory.Coupled(0.05), "vanilla": theory.Vanilla(0.004)}


def model_of(spectrum=SPECTRUM, seed=1, noise=0.3):
    generator = torch.Generator().manual_seed(seed)
    minimum, start = torch.randn(2, spectrum.numel(), dtype=torch.float64, generator=generator)
    return theory.Quadratic(spectrum, minimum, start, noise)


def close(found, wanted, relative):
    wanted = torch.as_tensor(wanted, dtype=torch.float64)
    worst = ((found - wanted).abs() / wanted.abs().clamp(min=1e-300)).max().item()
    assert worst <= relative, f"relative error {worst:.3g}"


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("decay", DECAYS)
def test_mean_and_variance_equal_the_naive_recursions(schedule, decay):
    lrs, law, model = SCHEDULES[schedule], DECAYS[decay], model_of()
    vanilla = isinstance(law, theory.Vanilla)
    some = range(0, model.size, 13)
    ours = theory.expected(model, lrs, law)
    naive = [
        oracle.path(h, m, s, lrs.tolist(), law.weight_decay, vanilla)
        for h, m, s in zip(*(x.tolist()[::13] for x in (model.eigenvalues, model.minimum, model.start)), strict=True)
    ]
    # Minimum and start can cancel in a direction: relative to the larger of the two terms.
    scale = model.start.abs() + model.minimum.abs()
    assert ((ours[::13] - torch.tensor(naive, dtype=torch.float64)).abs() / scale[::13]).max() < 1e-12
    spreads = theory.variance(model, lrs, law)
    close(spreads[::13], [oracle.spread(model.eigenvalues[i].item(), 0.3, lrs.tolist(), law.weight_decay, vanilla)
                          for i in some], 1e-11)  # fmt: skip


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("shrink", [0.0, 0.01])
def test_products_and_sums_have_the_error_that_is_stated(schedule, shrink):
    """1e-11 for all products that float64 holds; 1e-11 for the sums. Long enough that most products vanish."""
    lrs = SCHEDULES[schedule].repeat(8)
    at = (1, 1500, lrs.numel())
    x = SPECTRUM
    product, drive, noise = (
        Product(lrs, at, shrink)(x), Accumulated(lrs, at, 1, shrink)(x), Accumulated(lrs, at, 2, shrink)(x)
    )  # fmt: skip
    left, r, q = torch.ones_like(x), torch.zeros_like(x), torch.zeros_like(x)
    for step, lr in enumerate(lrs.tolist(), 1):
        f = (1 - shrink) - lr * x
        left, r, q = left * f, r * f + lr, q * f * f + lr * lr
        if step in at:
            row = at.index(step)
            held = left.abs() > 1e-290
            close(product[row][held], left[held], 1e-11)
            assert (product[row][~held].abs() <= 1e-289).all()
            close(drive[row], r, 1e-11)
            close(noise[row], q, 1e-11)


@pytest.mark.parametrize("shrink", [0.0, 0.01])
def test_every_interval_and_both_of_its_ends(shrink):
    """Short, so that nothing vanishes; lr·x/(1−q) from 0 to 2, at the ends of all intervals too, where signs change."""
    lrs, at = theory.cosine(64, 0.25), (64,)
    ends = [1 - 2.0**-k for k in range(12)] + [2.0**-k for k in range(12)] + [2 - 2.0**-k for k in range(12)]
    u = torch.cat([torch.linspace(0, 2 - shrink, 3001, dtype=torch.float64), torch.tensor(ends, dtype=torch.float64)])
    x = u.clamp(max=2 - 2 * shrink) * (1 - shrink) / 0.25
    left, r, q = torch.ones_like(x), torch.zeros_like(x), torch.zeros_like(x)
    for lr in lrs.tolist():
        f = (1 - shrink) - lr * x
        left, r, q = left * f, r * f + lr, q * f * f + lr * lr
    found = Product(lrs, at, shrink)(x)[0]
    # Beside a zero of one of its factors the product has no more digits than that factor.
    factors = torch.stack([((1 - shrink) - lr * x).abs() for lr in lrs.tolist()]).amin(0)
    assert ((found - left).abs() <= left.abs() * (1e-12 + 1e-14 / factors.clamp(min=1e-12)) + 1e-200).all()
    close(Accumulated(lrs, at, 1, shrink)(x)[0], r, 1e-11)
    close(Accumulated(lrs, at, 2, shrink)(x)[0], q, 1e-12)


def test_a_trajectory_is_the_ends_of_shorter_trainings():
    model, lrs, at = model_of(), SCHEDULES["cosine"], (0, 1, 350, 700)
    for law in DECAYS.values():
        together = theory.expected(model, lrs, law, at)
        spreads = theory.variance(model, lrs, law, at)
        assert torch.equal(together[0], model.start)
        assert not spreads[0].any()
        for row, steps in enumerate(at[1:], 1):
            torch.testing.assert_close(together[row], theory.expected(model, lrs[:steps], law), rtol=0, atol=1e-12)
            torch.testing.assert_close(spreads[row], theory.variance(model, lrs[:steps], law), rtol=1e-11, atol=0)


def test_the_sum_of_theorem_2_is_the_one_of_the_recursion():
    """R = (1 − P)/x: two independent ways to the same number."""
    lrs = SCHEDULES["cosine"].repeat(5)
    x = SPECTRUM[100:]
    close(Accumulated(lrs, (3500,), 1)(x)[0], (1 - Product(lrs, (3500,))(x)[0]) / x, 1e-9)


OPTIMIZERS = {
    "L2": (lambda p, wd: weightdecay.SGD(p, lr=0.1, weight_decay=wd), theory.Coupled),
    "decoupled": (lambda p, wd: weightdecay.SGDW(p, lr=0.1, weight_decay=wd), theory.Coupled),
    "stable": (lambda p, wd: weightdecay.SGDS(p, lr=0.1, weight_decay=wd), theory.Coupled),
    "vanilla": (
        lambda p, wd: weightdecay.SGD(p, lr=0.1, weight_decay=wd, decay=weightdecay.Vanilla()), theory.Vanilla
    ),
}  # fmt: skip


def trained(model, lrs, build, weight_decay, replicas=1, seed=0):
    """The library's own optimizer on the quadratic: replicas in rows, noise from a fixed seed."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.nn.Parameter(model.to_given(model.start).repeat(replicas, 1))
    hessian = (
        torch.diag(model.eigenvalues) if model.basis is None else (model.basis * model.eigenvalues) @ model.basis.T
    )
    noise = model.to_given(torch.diag(model.noise))
    optimizer = build([weight], weight_decay)
    minimum = model.to_given(model.minimum)
    for lr in lrs.tolist():
        xi = torch.randn(replicas, model.size, dtype=torch.float64, generator=generator)
        weight.grad = (weight.detach() - minimum) @ hessian + xi @ noise
        optimizer.param_groups[0]["lr"] = lr
        optimizer.step()
    return weight.detach()


SMALL = torch.tensor([5.0, 1.0, 0.1, 1e-3, 0.0], dtype=torch.float64)


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("schedule", ["cosine", "drops"])
def test_without_noise_the_optimizer_walks_the_closed_form(kind, schedule):
    build, law = OPTIMIZERS[kind]
    model, lrs = model_of(SMALL, noise=0.0), SCHEDULES[schedule][::3]
    wanted = theory.expected(model, lrs, law(0.01))
    torch.testing.assert_close(trained(model, lrs, build, 0.01)[0], wanted, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_mean_and_variance_of_noisy_runs(kind):
    """4,000 runs: mean within 5 standard errors, variance within 5 of its own (σ²√(2/N) for a normal)."""
    build, law = OPTIMIZERS[kind]
    model, lrs, replicas = model_of(SMALL, noise=0.5), theory.cosine(120, 0.3), 4000
    runs = trained(model, lrs, build, 0.02, replicas)
    spread = theory.variance(model, lrs, law(0.02))
    assert ((runs.mean(0) - theory.expected(model, lrs, law(0.02))).abs() < 5 * (spread / replicas).sqrt()).all()
    assert ((runs.var(0) - spread).abs() < 5 * spread * math.sqrt(2 / replicas)).all()


def dense(seed=3, size=6):
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(size, size, dtype=torch.float64, generator=generator)
    minimum, start = torch.randn(2, size, dtype=torch.float64, generator=generator)
    return theory.Quadratic(a @ a.T / size, minimum, start, noise=0.2), a @ a.T / size, minimum, start


@pytest.mark.parametrize("kind", ["sgd", "sgdw", "sgds"])
def test_momentum_is_a_larger_lr_in_the_limit_of_small_steps(kind):
    """What is off shrinks with the lr: 1,000 steps at η/(1 − β₁) = 0.1 and 10,000 at 0.01, 2,000 runs."""
    h, beta, weight_decay, runs = torch.tensor([1.0, 0.1, 0.0], dtype=torch.float64), 0.9, 0.02, 2_000
    model, law = theory.Quadratic(h, minimum=1.0, start=3.0, noise=0.3), theory.Coupled(weight_decay)
    off = []
    for lr, steps in ((0.1, 100), (0.01, 1000)):
        weight = torch.nn.Parameter(torch.full((runs, 3), 3.0, dtype=torch.float64))
        given = weight_decay / (1 - beta) if kind == "sgdw" else weight_decay
        optimizer = weightdecay.create(kind, [weight], lr=lr * (1 - beta), momentum=beta, weight_decay=given)
        generator = torch.Generator().manual_seed(0)
        for _ in range(steps):
            noise = 0.3 * torch.randn(weight.shape, dtype=torch.float64, generator=generator)
            weight.grad = (weight.detach() - 1) * h + noise
            optimizer.step()
        spread = theory.variance(model, theory.constant(steps, lr), law).sqrt()
        mean = theory.expected(model, theory.constant(steps, lr), law)
        off.append(((weight.detach().mean(0) - mean).abs().max() / 2).item())
        wide = weight.detach().std(0) / spread
        assert (wide - 1).abs().max() < (0.2 if lr == 0.1 else 0.05 + 4 / math.sqrt(2 * runs)), wide
    assert off[0] < 0.05
    assert off[1] < 0.01


def test_a_dense_hessian_is_answered_in_its_own_basis():
    model, hessian, minimum, start = dense()
    lrs, weight_decay = theory.cosine(50, 0.3), 0.1
    x = start
    for lr in lrs.tolist():
        x = (1 - lr * weight_decay) * x - lr * hessian @ (x - minimum)
    torch.testing.assert_close(theory.expected(model, lrs, theory.Coupled(weight_decay)), x, rtol=0, atol=1e-12)
    identity = torch.eye(6, dtype=torch.float64)
    settled = torch.linalg.solve(hessian + weight_decay * identity, hessian @ minimum)
    torch.testing.assert_close(minimum + theory.bias(model, weight_decay), settled, rtol=0, atol=1e-12)
    runs = trained(model, lrs, OPTIMIZERS["L2"][0], weight_decay, replicas=4000)
    spread = theory.variance(model, lrs, theory.Coupled(weight_decay))
    assert ((runs.var(0) - spread).abs() < 5 * spread * math.sqrt(2 / 4000)).all()


@pytest.mark.parametrize("law", [theory.Coupled(0.02), theory.Coupled(0.0)], ids=["λ", "λ=0"])
def test_after_infinitely_many_steps_only_bias_and_stationary_variance_are_left(law):
    model = model_of(SMALL[:3])
    lrs = theory.constant(30_000, 0.3)
    limit = model.minimum + theory.bias(model, law.weight_decay)
    torch.testing.assert_close(theory.expected(model, lrs, law), limit, rtol=1e-12, atol=1e-13)
    stationary = theory.stationary_variance(model, 0.3, law.weight_decay)
    torch.testing.assert_close(theory.variance(model, lrs, law), stationary, rtol=1e-12, atol=0)


def test_limits_of_no_decay_and_no_curvature():
    flat = theory.Quadratic([0.0, 0.0], minimum=[1.0, -2.0], start=[3.0, 4.0], noise=0.1)
    lrs = theory.cosine(1000, 0.1)
    # λ → 0 and H → 0: nothing moves, and noise adds up.
    assert torch.equal(theory.expected(flat, lrs, theory.Coupled(0.0)), flat.start)
    close(theory.variance(flat, lrs, theory.Coupled(0.0)), [0.01 * lrs.square().sum().item()] * 2, 1e-13)
    # H → 0 with λ: only the start is forgotten, at ηλ per step; the minimum is of no account.
    left = math.prod(1 - lr * 0.02 for lr in lrs.tolist())
    close(theory.expected(flat, lrs, theory.Coupled(0.02)), (left * flat.start).tolist(), 1e-12)
    assert torch.equal(theory.bias(flat, 0.02), -flat.minimum)
    # λ → 0 is continuous where there is curvature.
    model = model_of(SMALL[:3])
    apart = theory.expected(model, lrs, theory.Coupled(1e-12)) - theory.expected(model, lrs, theory.Coupled(0.0))
    assert apart.abs().max() < 1e-9
    assert theory.bias(model, 1e-12).abs().max() < 1e-10
    assert not theory.bias(model, 0.0).any()


def test_vanilla_at_constant_lr_is_coupled_with_the_quotient():
    model, lrs = model_of(), theory.constant(400, 0.25)
    torch.testing.assert_close(
        theory.expected(model, lrs, theory.Vanilla(0.005)), theory.expected(model, lrs, theory.Coupled(0.02)),
        rtol=0, atol=1e-12,
    )  # fmt: skip


@pytest.mark.parametrize("factor", [0.5, 1 / math.e, 1e-3])
def test_times_are_those_after_which_the_distance_has_shrunk(factor):
    lr, weight_decay = 0.1, 0.003
    model = theory.Quadratic([3.0, 0.1, 0.0], minimum=1.0, start=5.0)
    times = theory.steps_to_converge(model.eigenvalues, lr, weight_decay, factor)
    limit = model.minimum + theory.bias(model, weight_decay)
    for i, time in enumerate(times.tolist()):
        before, after = (
            abs(oracle.path(model.eigenvalues[i].item(), 1.0, 5.0, [lr] * steps, weight_decay) - limit[i].item())
            for steps in (math.floor(time), math.floor(time) + 1)
        )
        first = abs(5.0 - limit[i].item())
        assert after <= factor * first * (1 + 1e-9)
        assert before >= factor * first * (1 - 1e-9)


def test_the_time_constant_is_the_limit_of_small_steps():
    for lr in (1e-3, 1e-5):
        exact = theory.steps_to_converge(SMALL, lr, 1e-3)
        close(exact, theory.time_constant(SMALL, lr, 1e-3).tolist(), 3 * lr)
    assert theory.steps_to_converge([0.0, 2.0, 1.0], 1.0, 0.0).tolist() == [math.inf, math.inf, 0.0]


def test_the_share_that_decay_decides_counts_both_signs():
    assert theory.share_decided_by_decay([1.0, 1e-4, -1e-4, 5e-5], 1e-3) == 0.75
    assert theory.share_decided_by_decay([1.0, 1e-4, -1e-4, 5e-5], 1e-3, factor=20) == 0.25


BAD = [
    (lambda: theory.expected(model_of(SMALL), [0.5], theory.Coupled(0.1)), "direction 0 diverges: .* by 1.55 per step"),
    (lambda: theory.expected(model_of(SMALL), [0.5], theory.Vanilla(0.1)), "is above 1.9, so it grows by 1.6 per step"),
    (lambda: theory.expected(theory.Quadratic([1.0, -0.1]), [0.5], theory.Coupled(0.05)), r"saddle.*\+ 0\.025 per"),
    (lambda: theory.steps_to_converge([-1e-6], 0.1, 0.0), r"grows by 1 \+ 1e-07 per step"),
    (lambda: theory.expected(model_of(SMALL), [0.1], 0.1), r"decay=0\.1: use Coupled"),
    (lambda: theory.expected(model_of(SMALL), 0.1, theory.Coupled(0.1)), r"one per step, as constant\(steps, 0\.1\)"),
    (lambda: theory.expected(model_of(SMALL), "cosine", theory.Coupled(0.1)), "lrs='cosine': it must be a number"),
    (lambda: theory.expected(model_of(SMALL), [0.1], theory.Coupled(0.1), at=5), "at=5: give whole numbers"),
    (lambda: theory.expected(model_of(SMALL), [0.1], theory.Coupled(0.1), at=(1.0,)), "give whole numbers"),
    (lambda: theory.expected(theory.Ensemble([1.0]), [0.1], theory.Coupled(0.1)), "model is an Ensemble"),
    (lambda: theory.variance(theory.Ensemble([1.0]), [0.1], theory.Coupled(0.1)), "model is an Ensemble"),
    (lambda: theory.bias(theory.Ensemble([1.0]), 0.1), "model is an Ensemble"),
    (lambda: theory.movement(theory.Ensemble([1.0]), [0.1], theory.Coupled(0.1)), "model is an Ensemble"),
    (lambda: theory.decoupled_bias(theory.Ensemble([1.0]), 0.1, 1.0), "model is an Ensemble"),
    (lambda: theory.Coupled(None), "weight_decay=None: it must be one number"),
    (lambda: theory.Coupled([0.1, 0.2]), "it must be one number"),
    (lambda: theory.Quadratic(torch.zeros(0, 0)), r"shape \(0, 0\)"),
    (lambda: theory.cosine(2.5, 0.1), "steps=2.5: it must be a whole number"),
    (lambda: theory.cosine(math.nan, 0.1), "steps=nan"),
    (lambda: theory.outliers_and_bulk(30, largest=math.inf), "largest=inf"),
    (lambda: theory.expected(theory.Quadratic([-0.1]), [0.5], theory.Vanilla(0.01)), "Use a λ₀ of at least 0.05"),
    (lambda: theory.variance(model_of(SMALL), [0.5], theory.Coupled(0.0)), "Use an lr of at most 0.4"),
    (lambda: theory.Coupled(-1.0), r"weight_decay=-1\.0: it must be a finite number"),
    (lambda: theory.Coupled(math.nan), "weight_decay=nan"),
    (lambda: theory.Vanilla(1.0), "at least 0 and below 1"),
    (lambda: theory.Quadratic([1.0, 2.0], minimum=[1.0]), r"minimum has shape \(1,\).*vector of 2"),
    (lambda: theory.Quadratic([1.0, math.inf]), r"hessian\[1\] = inf"),
    (lambda: theory.Quadratic(torch.ones(2, 3)), r"shape \(2, 3\): a matrix must be square"),
    (lambda: theory.Quadratic(torch.tensor([[1.0, 0.5], [0.0, 1.0]])), r"differs from its transpose by 0\.5"),
    (lambda: theory.Quadratic(torch.full((2, 2), math.nan)), "not finite"),
    (lambda: theory.Quadratic([1.0], noise=-1.0), r"noise\[0\] = -1\.0"),
    (lambda: theory.Quadratic([]), r"shape \(0,\)"),
    (lambda: theory.expected(model_of(SMALL), [-0.1], theory.Coupled(0.0)), r"lrs\[0\] = -0\.1"),
    (lambda: theory.expected(model_of(SMALL), [], theory.Coupled(0.0)), "lrs has shape"),
    (lambda: theory.expected(model_of(SMALL), [0.1], theory.Coupled(0.0), at=(2,)), "within 0 … 1"),
    (lambda: theory.expected(model_of(SMALL), [0.1, 0.1], theory.Coupled(0.0), at=(2, 1)), "must ascend"),
    (lambda: theory.bias(theory.Quadratic([1.0, -0.1]), 0.05), "direction 1 has no regularised minimum"),
    (lambda: theory.stationary_variance(theory.Quadratic([0.0]), 0.1, 0.0), "direction 0 has no regularised"),
    (lambda: theory.steps_to_converge([1.0], 0.1, 0.0, factor=1.0), "factor=1.0: it must lie between"),
    (lambda: theory.steps_to_converge([30.0], 0.1, 0.0), "changes sign"),
    (lambda: theory.constant(0, 0.1), "steps=0"),
    (lambda: theory.outliers_and_bulk(3, outliers=3), "outliers=3 of size=3"),
    (lambda: theory.outliers_and_bulk(30, edge=5.0), "outliers from 10 × edge"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), BAD, ids=[message[:30] for _, message in BAD])
def test_bad_input_says_what_diverges_or_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_numbers_may_come_as_a_generator_a_scalar_tensor_or_in_float32():
    model, law = model_of(SMALL), theory.Coupled(0.02)
    wanted = theory.expected(model, [0.1, 0.05], law)
    read_only = np.array([0.1, 0.05])
    read_only.flags.writeable = False
    for lrs in (
        (lr for lr in (0.1, 0.05)),
        map(float, ("0.1", "0.05")),
        (0.1, 0.05),
        np.array([0.05, 0.1])[::-1],
        read_only,
        torch.tensor([0.1, 0.05], dtype=torch.float64, requires_grad=True),
    ):
        assert torch.equal(theory.expected(model, lrs, law), wanted)
    assert theory.Coupled(torch.tensor(0.25)) == theory.Coupled(0.25)
    assert type(theory.Vanilla(torch.tensor(0.25)).weight_decay) is float
    assert theory.constant(1e1, 0.1).numel() == 10
    with pytest.raises(ValueError, match="400 is not a share of the training"):
        theory.drops(1000, 0.1, at=(400, 800))
    with pytest.raises(ValueError, match="hessian is complex"):
        theory.Quadratic(np.array([1.0 + 1j]))
    square = torch.randn(40, 40, generator=torch.Generator().manual_seed(0))
    rounded = square @ square.T  # in float32, where it need not be symmetric to the last bit
    rounded[0, 1] *= 1 + 3e-7
    assert theory.Quadratic(rounded).size == 40


@pytest.mark.parametrize("shrink", [0.003, 0.01, 0.2])
def test_vanilla_right_up_to_where_it_diverges(shrink):
    """η(h) from 2(1 − λ₀), where the sums leave the disc that they are interpolated in, to 2 − λ₀."""
    lrs, law = theory.cosine(200, 1.0), theory.Vanilla(shrink)
    model = model_of(torch.linspace(0, 2 - shrink - 1e-9, 400, dtype=torch.float64))
    naive = [
        oracle.path(h, m, s, lrs.tolist(), shrink, True)
        for h, m, s in zip(*(x.tolist()[-30:] for x in (model.eigenvalues, model.minimum, model.start)), strict=True)
    ]
    torch.testing.assert_close(
        theory.expected(model, lrs, law)[-30:], torch.tensor(naive, dtype=torch.float64), rtol=1e-11, atol=1e-12
    )
    spreads = [oracle.spread(h, 0.3, lrs.tolist(), shrink, True) for h in model.eigenvalues.tolist()[-30:]]
    close(theory.variance(model, lrs, law)[-30:], spreads, 1e-11)


@pytest.mark.parametrize("above", [0.0, 1e-13, 1e-6, 0.1])
def test_at_and_just_above_a_saddle_that_decay_cancels(above):
    """H = −λ: every step adds ηhθ*, whatever the weights are."""
    lrs = theory.cosine(60, 0.5)
    model = theory.Quadratic([-0.1 + above], minimum=1.0, start=3.0)
    wanted = oracle.path(-0.1 + above, 1.0, 3.0, lrs.tolist(), 0.1)
    assert theory.expected(model, lrs, theory.Coupled(0.1)).item() == pytest.approx(wanted, rel=1e-12)
    if above:
        found = theory.excess_loss(model, lrs, theory.Coupled(0.1), curvature=1.0)
        assert found.total == pytest.approx(0.5 * (wanted - 1) ** 2, rel=1e-12)
    else:
        assert wanted == pytest.approx(3.0 - 0.1 * lrs.sum().item())
        with pytest.raises(ValueError, match="direction 0 has no regularised minimum"):
            theory.excess_loss(model, lrs, theory.Coupled(0.1), curvature=1.0)


def test_only_the_steps_that_are_asked_about_need_to_be_stable():
    model = theory.Quadratic([1.0])
    assert theory.expected(model, [0.1, 0.1, 5.0], theory.Coupled(0.0), at=(0, 2)).shape == (2, 1)
    with pytest.raises(ValueError, match="diverges"):
        theory.expected(model, [0.1, 0.1, 5.0], theory.Coupled(0.0))


def test_without_decay_adaptive_minima_have_no_bias_and_nothing_is_decided_by_it():
    model = theory.Quadratic([1.0, 0.0])
    assert not theory.decoupled_bias(model, 0.0, [1.0, 2.0]).any()
    assert not theory.stable_bias(model, 0.0, 1.0).any()
    assert theory.share_decided_by_decay([0.0, 1.0], 0.0) == 0.0


def test_one_outlier_is_the_largest():
    assert theory.outliers_and_bulk(100, outliers=1, largest=10.0).max() == 10.0
    assert theory.outliers_and_bulk(100, outliers=0).max() == pytest.approx(0.1)


def test_a_saddle_that_decay_outweighs_is_no_saddle():
    model = theory.Quadratic([-0.1], minimum=1.0, start=2.0)
    found = theory.expected(model, [0.5] * 40, theory.Coupled(0.3)).item()
    assert found == pytest.approx(oracle.path(-0.1, 1.0, 2.0, [0.5] * 40, 0.3), rel=1e-12)
    assert "eigenvalues -0.1 to -0.1" in repr(model)
