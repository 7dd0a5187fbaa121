"""The later decays: each against a naive float64 loop in every engine, and the laws that pin it."""

import copy

import numpy as np
import pytest
import torch
from drive import assert_close, drive, flat, gradients, set_gradients, weights
from test_ports import METHODS, STEPS, build, lrs_of, naive
from toys import Toy

import weightdecay as wd
from weightdecay.decay import parse, spelled

pytestmark = pytest.mark.filterwarnings("ignore:.*of every weight of group")

PEAK = 1e-2
FIRST = {tuple(p.shape): p.detach().numpy().copy() for group in weights() for p in group}


def rows(s):
    others = tuple(range(1, s.grad.ndim))
    return (s.grad != 0).any(axis=others, keepdims=True)


def capped(s):
    gain = np.where(s.gain < 1e7, s.gain, 0.0)  # 1/ε: an element that never had a gradient
    return s.lr * s.strength * gain / max(1, np.sqrt(((s.weight * gain) ** 2).mean()) / 0.5)


TOYS = [
    Toy(wd.Corrected(), pull=lambda s: s.strength * s.lr**2 / PEAK, strength=5.0),
    Toy(wd.LogTime(horizon=7), pull=lambda s: s.strength * s.lr / PEAK / (1 + s.t / 7)),
    Toy(wd.Cautious(), mask=lambda s: s.update * s.weight >= 0, strength=0.5),
    Toy(
        wd.Cautious(wd.Toward(1.0, wd.Stable())),
        pull=lambda s: s.lr * s.strength * s.mean_gain,
        anchor=lambda s: 1.0,
        mask=lambda s: s.update * (s.weight - 1) >= 0,
    ),
    Toy(wd.Toward("start"), anchor=lambda s: FIRST[s.weight.shape], strength=2.0),
    Toy(wd.TouchedRows(), mask=rows, strength=0.5),
    Toy(
        wd.NormTarget(0.5),
        mask=lambda s: 1 - 0.5 / np.sqrt((s.weight**2).sum()),
        elementwise=False,
        strength=0.5,
    ),
    Toy(
        wd.Elementwise(max_rms=0.5),
        pull=capped,
        elementwise=False,
        strength=2.0,
    ),
]
CASES = [pytest.param(name, toy, id=f"{name}-{toy.decay!r}") for name in ("Adam", "SGD") for toy in TOYS]


def holes(run):
    """Some rows have no gradient in some steps."""
    for t, step in enumerate(run):
        if step[0][0] is not None:
            step[0][0][t % 3] = 0.0
        if step[0][1] is not None:
            step[0][1][t % 5] = 0.0
    return run


@pytest.mark.parametrize("engine", ["reference", "foreach", "auto"])
@pytest.mark.parametrize(("name", "toy"), CASES)
def test_every_engine_walks_the_naive_path(name, toy, engine):
    method, run, params = METHODS[name], holes(gradients(STEPS)), weights()
    start = [[p.detach().numpy().copy() for p in group] for group in params]
    drive(build(method, toy, params, engine), params, run, lrs_of(method.lr))
    expected, _, _ = naive(method, toy, start, run)
    assert_close(flat(params), expected)
    without, _, _ = naive(method, toy, start, run, strengths=[0.0] * 3)
    assert max(np.abs(a - b).max() for a, b in zip(expected, without, strict=True)) > 1e-3


@pytest.mark.parametrize("engine", ["reference", "foreach", "auto"])
@pytest.mark.parametrize(("name", "toy"), CASES)
def test_a_checkpoint_in_mid_run_resumes_bit_exactly(name, toy, engine, tmp_path):
    method, run, whole, half = METHODS[name], gradients(STEPS), weights(torch.float32), weights(torch.float32)
    lrs = lrs_of(method.lr)
    drive(build(method, toy, whole, engine), whole, run, lrs)
    first = build(method, toy, half, engine)
    drive(first, half, run[:8], lrs)
    torch.save(first.state_dict(), tmp_path / "file.pt")
    second = build(method, toy, half, engine)
    second.load_state_dict(torch.load(tmp_path / "file.pt", weights_only=True))
    drive(second, half, run[8:], lrs, start=8)
    assert_close(flat(half), flat(whole), 0)


@pytest.mark.parametrize("rounding", ["stochastic", "compensated"])
@pytest.mark.parametrize(("name", "toy"), CASES)
def test_sixteen_bits_round_as_the_reference_does(name, toy, rounding):
    outcome = []
    for engine in ("foreach", "reference"):
        params = weights(torch.bfloat16)
        drive(build(METHODS[name], toy, params, engine, rounding=rounding), params, gradients(12), lrs_of(PEAK))
        outcome.append(torch.cat([p.double().flatten() for p in flat(params)]))
    assert (outcome[0] == outcome[1]).double().mean() > 0.9
    assert ((outcome[0] - outcome[1]).abs() <= 2.0**-6 * outcome[1].abs().clamp(min=1e-3)).all()


@pytest.mark.parametrize("toy", TOYS, ids=lambda toy: repr(toy.decay))
@pytest.mark.parametrize("engine", ["reference", "foreach"])
def test_complex_weights_are_pairs_of_reals(toy, engine):
    def run(real):
        pairs = torch.tensor(np.random.default_rng(0).standard_normal((3, 4, 2)))
        p = torch.nn.Parameter(pairs if real else torch.view_as_complex(pairs))
        optimizer = wd.Adam([p], lr=PEAK, weight_decay=0.5, decay=toy.decay, engine=engine)
        for t in range(5):
            grad = torch.tensor(np.random.default_rng(t + 1).standard_normal((3, 4, 2)))
            grad[t % 3] = 0.0
            p.grad = grad if real else torch.view_as_complex(grad)
            optimizer.step()
        return p.detach() if real else torch.view_as_real(p.detach())

    assert_close([run(False)], [run(True)])


# ---------------------------------------------------------------- laws


def walk(decay, strength=0.5, steps=20, cls=wd.Adam, edit=lambda g, t: g, lr=0.05, engine="auto", factors=None):
    p = torch.nn.Parameter(torch.linspace(-1, 2, 12, dtype=torch.float64).reshape(4, 3))
    optimizer = cls([p], lr=lr, weight_decay=strength, decay=decay, engine=engine)
    draw = torch.Generator().manual_seed(2)
    for t in range(steps):
        optimizer.param_groups[0]["lr"] = lr * (factors[t] if factors else 1.0)
        p.grad = edit(torch.randn(4, 3, generator=draw, dtype=torch.float64), t)
        optimizer.step()
    return p.detach()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (wd.Corrected(), wd.Decoupled()),  # at η = η_max
        (wd.LogTime(horizon=1e15), wd.Independent()),
        (wd.Toward(0.0), wd.Decoupled()),
        (wd.Toward(0.0, wd.Vanilla()), wd.Vanilla()),
        (wd.TouchedRows(wd.Stable()), wd.Stable()),  # every row has a gradient
        (wd.Elementwise(max_rms=1e9), wd.Elementwise()),
    ],
    ids=repr,
)
def test_limits_that_are_another_decay(one, other):
    assert_close([walk(one, 0.05)], [walk(other, 0.05)])


def test_corrected_follows_the_schedule_squared():
    factors = [1 / (1 + t) for t in range(10)]
    p = walk(wd.Corrected(), steps=10, factors=factors, edit=lambda g, t: 0 * g)
    q = walk(wd.Decoupled(), steps=10, factors=[f * f for f in factors], edit=lambda g, t: 0 * g)
    assert_close([p], [q])


def test_cautious_where_all_signs_agree_and_where_none_does():
    def along(sign):
        p = torch.nn.Parameter(torch.tensor([[-1.0, 2.0]], dtype=torch.float64))

        def go(decay, strength=0.5):
            q = torch.nn.Parameter(p.detach().clone())
            optimizer = wd.SGD([q], lr=0.01, weight_decay=strength, decay=decay)
            for _ in range(3):
                q.grad = sign * q.detach()
                optimizer.step()
            return q.detach()

        return go

    assert torch.equal(along(1)(wd.Cautious()), along(1)(wd.Decoupled()))
    assert torch.equal(along(-1)(wd.Cautious()), along(-1)(wd.Decoupled(), 0.0))
    assert not torch.equal(along(-1)(wd.Cautious()), along(-1)(wd.Decoupled()))


def test_an_untouched_row_keeps_its_bits():
    def without_second_row(g, t):
        g[1] = 0
        return g

    start = torch.linspace(-1, 2, 12, dtype=torch.float64).reshape(4, 3)
    end = walk(wd.TouchedRows(), cls=wd.SGD, edit=without_second_row)
    assert torch.equal(end[1], start[1])
    assert not torch.equal(walk(wd.Decoupled(), cls=wd.SGD, edit=without_second_row)[1], start[1])


def test_toward_is_still_at_its_anchor_and_ends_there():
    start = torch.linspace(-1, 2, 12, dtype=torch.float64).reshape(4, 3)
    assert torch.equal(walk(wd.Toward("start"), edit=lambda g, t: 0 * g), start)
    assert_close([walk(wd.Toward(1.0, wd.Vanilla()), 1.0, cls=wd.SGD, edit=lambda g, t: 0 * g)], [torch.ones(4, 3)])


@pytest.mark.parametrize("engine", ["reference", "foreach", "auto"])
def test_the_start_is_that_under_this_decay_where_it_comes_in_mid_run(engine):
    params = weights()
    optimizer = wd.Adam([{"params": g} for g in params], lr=0.01, weight_decay=0.1, decay="decoupled", engine=engine)
    run = gradients(6, missing=False)
    drive(optimizer, params, run[:3])
    for group in optimizer.param_groups:
        group["decay"] = "toward(start)"
    before = flat(params)
    set_gradients(params, run[3])
    optimizer.step()
    for p, old in zip((p for g in params for p in g), before, strict=True):
        assert torch.equal(optimizer.state[p]["start"], old)


def test_norm_target_rests_at_its_radius_and_pulls_to_it():
    norm = walk(wd.NormTarget(0.7), 1.0, steps=600, cls=wd.SGD, edit=lambda g, t: 0 * g).norm()
    assert norm.item() == pytest.approx(0.7, rel=1e-6)
    assert walk(wd.NormTarget(50.0), 1.0, cls=wd.SGD, edit=lambda g, t: 0 * g).norm() > 4.5


# ---------------------------------------------------------------- constraints


def hyperball(old, new, lr):
    radius, change = np.linalg.norm(old), new - old
    turned = old + lr * radius * change / np.linalg.norm(change)
    return turned * radius / np.linalg.norm(turned)


def brake(old, new, lr):
    before, after = np.linalg.norm(old), np.linalg.norm(new)
    scale = 0.5 if after > before else 0.25
    return new / after * (before + scale * (after - before))


@pytest.mark.parametrize("engine", ["reference", "foreach", "auto"])
@pytest.mark.parametrize(("decay", "oracle"), [(wd.Hyperball(), hyperball), (wd.RadialBrake(0.5, 0.25), brake)])
def test_constraints_walk_the_naive_path(decay, oracle, engine):
    draw = np.random.default_rng(3)
    theta = [draw.standard_normal(shape) for shape in ((3, 4), (2, 5), (2, 2, 2))]
    params = [torch.nn.Parameter(torch.tensor(each)) for each in theta]
    optimizer = wd.SGD(params, lr=0.1, weight_decay=1.0, decay=decay, engine=engine)
    for t in range(20):
        for i, p in enumerate(params):
            grad = None if t % 4 == i else draw.standard_normal(tuple(p.shape))
            p.grad = None if grad is None else torch.tensor(grad)
            theta[i] = theta[i] if grad is None else oracle(theta[i], theta[i] - 0.1 * grad, 0.1)
        optimizer.step()
    assert_close([p.detach() for p in params], theta)


def test_hyperball_keeps_the_norm_for_ten_thousand_steps():
    p = torch.nn.Parameter(torch.arange(1.0, 7.0, dtype=torch.float64).reshape(2, 3))
    before, optimizer = p.norm().item(), wd.SGD([p], lr=0.02, weight_decay=1.0, decay="hyperball")
    p.grad = torch.ones_like(p)
    for t in range(10_000):
        p.grad[t % 2, t % 3] *= -1
        optimizer.step()
    assert p.norm().item() == pytest.approx(before, rel=1e-6)


def test_a_brake_of_one_does_nothing_and_of_zero_fixes_the_norm():
    assert_close([walk(wd.RadialBrake(1.0, 1.0))], [walk(wd.Decoupled(), 0.0)])
    norm = torch.linspace(-1, 2, 12, dtype=torch.float64).norm().item()
    assert walk(wd.RadialBrake(0.0, 0.0)).norm().item() == pytest.approx(norm, rel=1e-12)


# ---------------------------------------------------------------- texts, and what is refused


@pytest.mark.parametrize(
    ("text", "decay"),
    [
        ("cautious(stable)", wd.Cautious(wd.Stable())),
        ("toward(start, decoupled)", wd.Toward("start", wd.Decoupled())),
        ("Cautious(toward(1.0, stable()))", wd.Cautious(wd.Toward(1.0, wd.Stable()))),
        ("logtime(horizon=1000)", wd.LogTime(1000)),
        ("radialbrake(0.25)", wd.RadialBrake(0.25)),
        ("elementwise", wd.Elementwise()),
        ("elementwise(max_rms=1)", wd.Elementwise(1.0)),
    ],
)
def test_texts_round_trip(text, decay):
    assert parse(text) == decay == parse(spelled(decay)) == parse(repr(decay))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cautios(stable)", "Did you mean 'cautious'"),
        ("toward('strt')", "Did you mean 'start'"),
        ("cautious(l2)", r"L2\(\) enters the gradient"),
        ("cautious(toward(1.0, l2))", r"L2\(\) enters the gradient"),
        ("toward(1.0, cautious)", r"Write Cautious\(Toward"),
        ("logtime(0)", "above 0"),
        ("normtarget(-1)", "above 0"),
        ("radialbrake(2)", "from 0 to 1"),
        ("elementwise(max_rms=0)", "above 0, or None"),
    ],
)
def test_what_has_no_meaning_is_refused_when_built(text, says):
    with pytest.raises(ValueError, match=says):
        parse(text)


def test_a_cap_is_the_rms_of_the_whole_decay():
    """One step without an update: what goes is ηλ·max_rms in the mean over the tensor, and all of Eq. 10 below it."""
    for cap, rms in ((0.25, 0.25), (None, torch.linspace(-1, 2, 12, dtype=torch.float64).square().mean().sqrt() / 2)):
        p = torch.nn.Parameter(torch.linspace(-1, 2, 12, dtype=torch.float64).reshape(4, 3))
        q = torch.nn.Parameter(p.detach().clone())
        for weight, strength in ((p, 0.1), (q, 0.0)):
            weight.grad = torch.full_like(p, 2.0)  # a gain of 1/2
            wd.Adam([weight], lr=0.1, weight_decay=strength, eps=0.0, decay=wd.Elementwise(cap)).step()
        assert (q - p).detach().square().mean().sqrt().item() == pytest.approx(0.1 * 0.1 * float(rms), rel=1e-12)


@pytest.mark.parametrize("decay", ["hyperball", "cautious(radialbrake)"])
def test_a_constraint_that_is_off_everywhere_says_so(decay):
    matrix, vector = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2))
    with pytest.warns(UserWarning, match=r"does nothing at weight_decay=0: λ switches it on"):
        wd.Adam([matrix], decay=decay)
    with pytest.warns(UserWarning, match=r"does nothing at weight_decay=0"):
        wd.attach(torch.optim.SGD([matrix], lr=0.1), decay)
    # Off for what is not a matrix, on for the rest: meant, and no warning. Switched on there too, it is refused.
    optimizer = wd.Adam([{"params": [matrix], "weight_decay": 1.0}, {"params": [vector]}], decay=decay)
    optimizer.param_groups[1]["weight_decay"] = 1.0
    matrix.grad, vector.grad = torch.ones(2, 2), torch.ones(2)
    with pytest.raises(ValueError, match="is not a matrix"):
        optimizer.step()


@pytest.mark.parametrize("decay", ["hyperball", "radialbrake"])
@pytest.mark.parametrize(("value", "says"), [(torch.ones(3), "is not a matrix"), (torch.zeros(2, 2), "has the norm 0")])
def test_constraints_refuse_vectors_and_zero(decay, value, says):
    with pytest.raises(ValueError, match=says):
        wd.Adam([torch.nn.Parameter(value)], weight_decay=0.1, decay=decay)


def test_a_copy_keeps_its_start():
    params = weights()
    optimizer = wd.Adam([{"params": g} for g in params], lr=0.01, weight_decay=0.1, decay="toward(start)")
    run = gradients(8)
    drive(optimizer, params, run[:4])
    twins, twin = copy.deepcopy((params, optimizer))
    drive(optimizer, params, run[4:])
    drive(twin, twins, run[4:])
    assert_close(flat(twins), flat(params), 0)
