"""bf16 and fp16: arithmetic in float32, rounded once, and a decay that does not vanish in rounding."""

import pytest
import torch
from cases import METHODS, PAIRS
from drive import assert_close, drive, flat, gradients, joined, weights

import weightdecay as wd
from weightdecay.optim.rounding import noise, stochastic_round

LOW = [torch.bfloat16, torch.float16]


@pytest.mark.filterwarnings("ignore:.*rounding to nearest")
@pytest.mark.parametrize("dtype", LOW, ids=str)
@pytest.mark.parametrize(("method", "case"), PAIRS, ids=str)
def test_one_step_is_the_float32_step_rounded_once(method, case, dtype):
    """Same weights, same gradients, in float32: state equal bit for bit, weights equal after one rounding."""
    low, wide = weights(dtype), weights(dtype)
    wide = [[torch.nn.Parameter(p.detach().float()) for p in group] for group in wide]
    run = gradients(1, missing=False)
    run = [[[torch.as_tensor(g).to(dtype).float().numpy() for g in group] for group in step] for step in run]
    optimizers = [method.cls(joined(p), lr=method.lr, weight_decay=0.05, decay=case.decay) for p in (low, wide)]
    for optimizer, params in zip(optimizers, (low, wide), strict=True):
        drive(optimizer, params, run)
    for p, q in zip(joined(low), joined(wide), strict=True):
        assert torch.equal(p.detach(), q.detach().to(dtype))
        for slot in method.cls.slots:
            if slot in optimizers[1].state[q]:
                assert optimizers[0].state[p][slot].dtype == torch.float32
                assert torch.equal(optimizers[0].state[p][slot], optimizers[1].state[q][slot])


@pytest.mark.parametrize("dtype", LOW, ids=str)
@pytest.mark.parametrize("method", METHODS, ids=str)
def test_decay_with_zero_gradients_stands_near_its_float32_value(method, dtype):
    """1.0, lr 1e-3, λ 1e-2, Decoupled, 1000 steps: 0.990, on average over 4096 weights."""
    p = torch.nn.Parameter(torch.ones(4096, dtype=dtype))
    optimizer = method.cls([p], lr=1e-3, weight_decay=1e-2, decay=wd.Decoupled(), rounding="stochastic")
    p.grad = torch.zeros_like(p)
    for _ in range(1000):
        optimizer.step()
    mean, spread = p.detach().double().mean().item(), p.detach().double().std().item()
    expected = (1 - 1e-5) ** 1000
    assert abs(mean - expected) < 5 * max(spread, 1e-6) / 4096**0.5
    assert abs(mean - 0.990) < 1e-3


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
