"""bf16 and fp16: arithmetic in float32, rounded once, and a decay that does not vanish in rounding."""

import pytest
import torch
from cases import PAIRS, THOROUGH
from drive import assert_close, drive, flat, gradients, joined, weights

import weightdecay as wd
from weightdecay.optim.rounding import noise, remainder, stochastic_round

LOW = [torch.bfloat16, torch.float16]


@pytest.mark.filterwarnings("ignore:.*rounding to nearest")
@pytest.mark.parametrize("engine", ["reference", "foreach"])
@pytest.mark.parametrize("dtype", LOW, ids=str)
@pytest.mark.parametrize(("method", "case"), PAIRS, ids=str)
def test_one_step_is_the_float32_step_rounded_once(method, case, dtype, engine):
    """Same weights, same gradients, in float32: state equal bit for bit, weights equal after one rounding."""
    low, wide = weights(dtype), weights(dtype)
    wide = [[torch.nn.Parameter(p.detach().float()) for p in group] for group in wide]
    run = gradients(1, missing=False)
    run = [[[torch.as_tensor(g).to(dtype).float().numpy() for g in group] for group in step] for step in run]
    options = {"lr": method.lr, "weight_decay": 0.05, "decay": case.decay, "engine": engine}
    optimizers = [method.cls(joined(p), **options) for p in (low, wide)]
    for optimizer, params in zip(optimizers, (low, wide), strict=True):
        drive(optimizer, params, run)
    for p, q in zip(joined(low), joined(wide), strict=True):
        assert torch.equal(p.detach(), q.detach().to(dtype))
        for slot in method.cls.slots:
            if slot in optimizers[1].state[q]:
                assert optimizers[0].state[p][slot].dtype == torch.float32
                assert torch.equal(optimizers[0].state[p][slot], optimizers[1].state[q][slot])


ENGINES = ["reference", "foreach", pytest.param("compiled", marks=pytest.mark.slow)]


@pytest.mark.parametrize("moments", [None, torch.bfloat16], ids=str)
@pytest.mark.parametrize("rounding", ["stochastic", "compensated"])
@pytest.mark.parametrize("dtype", LOW, ids=str)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("method", THOROUGH, ids=str)
def test_decay_with_zero_gradients_stands_near_its_float32_value(method, engine, dtype, rounding, moments):
    """1.0, lr 1e-3, λ 0.2, Decoupled, 25 steps: 0.995, on average over 1024 weights, or in each when compensated."""
    graphs = [(None, "stochastic"), *([(torch.bfloat16, "compensated")] if method.cls in (wd.Adam, wd.SGD) else [])]
    if engine == "compiled" and not (dtype == torch.bfloat16 and (moments, rounding) in graphs):
        pytest.skip("a graph or two a method are enough: half a minute each")
    if dtype == torch.float16 and engine == "foreach" and method.cls not in (wd.Adam, wd.SGD):
        pytest.skip("the rounding of float16 is that of bfloat16 with another spacing: two methods tell")
    p = torch.nn.Parameter(torch.ones(1024, dtype=dtype))
    options = {"rounding": rounding, "moments": moments, "engine": engine}
    optimizer = method.cls([p], lr=1e-3, weight_decay=0.2, decay=wd.Decoupled(), **options)
    p.grad = torch.zeros_like(p)
    for _ in range(25):  # each of less than half a spacing, which rounding to nearest loses
        optimizer.step()
    expected = (1 - 2e-4) ** 25
    float32 = 25 * 2.0**-24  # the rounding of the arithmetic itself, once per step
    if rounding == "compensated":
        exact = p.detach().double() + optimizer.state[p]["compensation"].double()
        assert abs(exact.mean().item() - expected) < 5 * exact.std().item() / 1024**0.5 + float32
        assert (exact - expected).abs().max() < 1e-3
        assert (p.detach().double() - expected).abs().max() <= torch.finfo(dtype).eps
        return
    mean, spread = p.detach().double().mean().item(), p.detach().double().std().item()
    assert abs(mean - expected) < 5 * spread / 1024**0.5 + float32
    assert abs(mean - 0.995) < 1e-3


@pytest.mark.parametrize("dtype", LOW, ids=str)
@pytest.mark.parametrize("method", THOROUGH, ids=str)
def test_compensation_follows_the_float32_path(method, dtype):
    """Fifty steps beside the same steps in float32; rounding to nearest is left far behind."""
    run = gradients(50, missing=False)
    run = [[[torch.as_tensor(g).to(dtype).float().numpy() for g in group] for group in step] for step in run]
    paths = {}
    for rounding in ("float32", "compensated", "nearest"):
        params = weights(dtype)
        if rounding == "float32":
            params = [[torch.nn.Parameter(p.detach().float()) for p in group] for group in params]
        options = {} if rounding == "float32" else {"rounding": rounding}
        # Steps of a hundredth of a spacing, which rounding to nearest loses.
        optimizer = method.cls(joined(params), lr=1e-2 * method.lr, **options)
        drive(optimizer, params, run)
        kept = [optimizer.state[p].get("compensation", torch.zeros(())).float() for p in joined(params)]
        paths[rounding] = torch.cat(
            [(p.detach().float() + c).flatten() for p, c in zip(joined(params), kept, strict=True)]
        )
    error = {name: (paths[name] - paths["float32"]).abs().mean() for name in ("compensated", "nearest")}
    assert error["compensated"] < 0.2 * error["nearest"]


@pytest.mark.parametrize("rounding", ["stochastic", "compensated"])
@pytest.mark.parametrize("moments", [None, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("method", "case"), PAIRS, ids=str)
def test_foreach_rounds_as_the_reference_does(method, case, moments, rounding):
    """The noise is a function of (seed, tensor, step, element): both engines round the same way, up to a rare ulp."""
    outcome = []
    for engine in ("reference", "foreach"):
        params = weights(torch.bfloat16)
        options = {"rounding": rounding, "moments": moments, "engine": engine, "weight_decay": case.strength}
        drive(method.cls(joined(params), lr=method.lr, decay=case.decay, **options), params, gradients(8))
        outcome.append(torch.cat([p.detach().float().flatten() for p in joined(params)]))
    a, b = outcome
    assert ((a - b).abs() <= 0.008 * a.abs().clamp(min=1e-3)).float().mean() > 0.9
    assert (a == b).float().mean() > 0.6


def test_bf16_moments_are_kept_in_bf16_and_a_second_moment_still_shrinks():
    """Rounded to nearest, v·0.999 is v: a burst of large gradients would hold every later step down for ever."""
    p = torch.nn.Parameter(torch.ones(4096))
    optimizer = wd.AdamW([p], moments=torch.bfloat16, weight_decay=0.0)
    p.grad = torch.full_like(p, 1.0)
    optimizer.step()
    p.grad = torch.zeros_like(p)
    for _ in range(1000):
        optimizer.step()
    state = optimizer.state[p]
    assert state["exp_avg"].dtype == state["exp_avg_sq"].dtype == torch.bfloat16
    assert state["exp_avg_sq"].double().mean().item() == pytest.approx(1e-3 * 0.999**1000, rel=0.05)


@pytest.mark.parametrize("rounding", ["stochastic", "compensated"])
def test_compensation_and_bf16_moments_travel_with_the_checkpoint(rounding):
    run, whole, half = gradients(20), weights(torch.bfloat16), weights(torch.bfloat16)
    options = {"rounding": rounding, "moments": torch.bfloat16}
    drive(wd.AdamS(joined(whole), **options), whole, run)
    first = wd.AdamS(joined(half), **options)
    drive(first, half, run[:9])
    second = wd.AdamS(joined(half), **options)
    second.load_state_dict(first.state_dict())
    drive(second, half, run[9:])
    assert_close(flat(half), flat(whole), 0)


@pytest.mark.parametrize("dtype", LOW, ids=str)
def test_rounding_to_nearest_loses_it_and_says_so(dtype):
    p = torch.nn.Parameter(torch.ones(8, dtype=dtype))
    with pytest.warns(UserWarning, match=r'rounding to nearest loses every pull .* rounding="stochastic"'):
        optimizer = wd.AdamW([p], lr=1e-3, weight_decay=1e-2)
    p.grad = torch.zeros_like(p)
    for _ in range(100):
        optimizer.step()
    assert torch.equal(p.detach(), torch.ones(8, dtype=dtype))


@pytest.mark.parametrize("dtype", LOW, ids=str)
@pytest.mark.parametrize("value", [1.0009, -0.3331, 3e-6, 1e-7, 123.456, 0.0])
def test_stochastic_rounding_is_unbiased_and_goes_to_a_neighbour(dtype, value):
    n = 200_000
    x = torch.full((n,), value)
    r = stochastic_round(x, dtype, noise(x, 1, 0, 1)).double()
    levels = r.unique()
    assert len(levels) <= 2
    assert levels.min() <= x[0].double() <= levels.max()
    gap = (levels.max() - levels.min()).item()
    assert abs(r.mean().item() - x[0].double().item()) <= 5 * gap / 2 / n**0.5


@pytest.mark.parametrize("dtype", LOW, ids=str)
def test_stochastic_rounding_keeps_what_is_representable(dtype):
    info = torch.finfo(dtype)
    exact = torch.tensor([0.0, -0.0, 1.0, -2.5, info.max, info.min, info.tiny, info.tiny * info.eps, float("inf")])
    for seed in range(20):
        assert torch.equal(stochastic_round(exact, dtype, noise(exact, seed, 0, 1)), exact.to(dtype))
    assert stochastic_round(torch.tensor([float("nan")]), dtype, torch.zeros(1)).isnan().all()


@pytest.mark.parametrize("dtype", LOW, ids=str)
def test_the_remainder_is_what_rounding_to_nearest_leaves(dtype):
    x = torch.randn(10_000, generator=torch.Generator().manual_seed(0)) * 10.0 ** torch.linspace(-9, 4, 10_000)
    assert torch.equal(remainder(x, dtype), x - x.to(dtype).float())
    for value in (0.0, float("inf"), float("nan"), 1e38):
        assert not remainder(torch.tensor([value]), torch.float16).any()


def test_stochastic_rounding_resumes_bit_exactly_and_depends_on_the_seed():
    run = gradients(20)

    def walk(seed, stop=None):
        params = weights(torch.bfloat16)
        optimizer = wd.AdamS(joined(params), rounding="stochastic", seed=seed)
        drive(optimizer, params, run[:stop])
        return params, optimizer

    whole, _ = walk(1)
    half, first = walk(1, 10)
    second = wd.AdamS(joined(half), rounding="stochastic", seed=99)
    second.load_state_dict(first.state_dict())
    drive(second, half, run[10:])
    assert_close(flat(half), flat(whole), 0)
    assert any(not torch.equal(a, b) for a, b in zip(flat(walk(2)[0]), flat(whole), strict=True))
