"""Muon, and MuonAdamW beside it: the formula, torch's numbers, every engine, and what is refused."""

import copy
import io

import numpy as np
import oracles
import pytest
import torch
from drive import assert_close, drive, flat, joined, schedule
from torch.optim._muon import _zeropower_via_newtonschulz as torchs_iteration

import weightdecay as wd
from weightdecay.optim import newton_schulz
from weightdecay.optim.muon import COEFFICIENTS
from weightdecay.optim.newton_schulz import ADJUSTMENTS, Polynomial, orthogonal

STEPS = 24
MATRICES = [[(3, 4), (5, 2), (3, 4)], [(4, 3, 2, 2), (3, 4)], [(2, 3, 4), (2, 2, 3, 4)]]
VECTORS = [[(5,), (3, 4), ()], [(7,)]]
EXACT = {"ns_dtype": torch.float64}


def weights(shapes, dtype=torch.float64):
    rng = np.random.default_rng(0)
    return [[torch.nn.Parameter(torch.tensor(rng.standard_normal(s)).to(dtype)) for s in group] for group in shapes]


def gradients(shapes, steps=STEPS):
    """Late joiners, missing gradients, and one that stops."""
    rng = np.random.default_rng(1)
    run = [[[rng.standard_normal(s) for s in group] for group in shapes] for _ in range(steps)]
    for t, step in enumerate(run):
        if t < 4:
            step[1][0] = None
        if t % 5 == 3:
            step[0][1] = None
        if t > steps // 2:
            step[0][2] = None
    return run


def muon(params, engine="auto", **options):
    stacked = [{"params": params[2], "stacked": True, "adjust_lr_fn": "match_rms_adamw"}]
    groups = [{"params": params[0]}, {"params": params[1], "lr": 3e-3, "weight_decay": 0.5, "nesterov": False}]
    return wd.Muon([*groups, *stacked], **{"lr": 1e-2, "weight_decay": 1.0, "engine": engine, **EXACT, **options})


def whole(params, engine="auto", **options):
    groups = [{"params": each, "method": "muon"} for each in params[:2]]
    groups[1].update(lr=3e-3, adjust_lr_fn="spectral_unclamped")
    groups += [{"params": params[2], "method": "muon", "stacked": True}]
    groups += [{"params": each, "method": "adam", "decay": "stable", "weight_decay": 0.01} for each in params[3:]]
    groups[-1].update(betas=(0.7, 0.97), lr=2e-3, decay="decoupled", weight_decay=0.1)
    return wd.MuonAdamW(groups, **{"lr": 1e-2, "weight_decay": 1.0, "engine": engine, **EXACT, **options})


KINDS = {"Muon": (muon, MATRICES), "MuonAdamW": (whole, [*MATRICES, *VECTORS])}


def outcome(optimizer, params):
    return flat(params), [{**optimizer.state[p]} for p in joined(params)]


def assert_same(ours, theirs, tolerance=1e-12):
    assert_close(ours[0], theirs[0], tolerance)
    for a, b in zip(ours[1], theirs[1], strict=True):
        assert set(a) - {"v_sum"} == set(b) - {"v_sum"}
        assert_close([a[k] for k in b if k != "v_sum"], [v for k, v in b.items() if k != "v_sum"], tolerance)


def walked(kind, engine, **options):
    build, shapes = KINDS[kind]
    params = weights(shapes)
    optimizer = build(params, engine, **options)
    drive(optimizer, params, gradients(shapes), [schedule(STEPS, group["lr"]) for group in optimizer.param_groups])
    return outcome(optimizer, params)


# ---------------------------------------------------------------- the formula


@pytest.mark.parametrize("engine", ["reference", "auto"])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_oracle(kind, engine):
    """Which knows singular values only; v̄ is the mean over the Adam part."""
    build, shapes = KINDS[kind]
    params, run = weights(shapes), gradients(shapes)
    start = [[p.detach().numpy().copy() for p in group] for group in params]
    optimizer = build(params, engine)
    lrs = [schedule(STEPS, group["lr"]) for group in optimizer.param_groups]
    drive(optimizer, params, run, lrs)
    # The oracle has one decay for all: a stable one, whose isotropic gain is 1 where the group's is decoupled.
    told = [
        {**{k: v for k, v in group.items() if k not in ("params", "decay")}, "params": w, "lr": lr, "gain": 1.0}
        for group, w, lr in zip(optimizer.param_groups, start, lrs, strict=True)
    ]
    if kind == "MuonAdamW":
        told[-1]["power"] = 0.0
    expected = oracles.run("muon", "stable", told, run)
    assert_close(flat(params), [w for group in expected for w in group], 1e-11)


@pytest.mark.parametrize("engine", ["foreach", "auto"])
@pytest.mark.parametrize("clip", [None, 3.0])
@pytest.mark.parametrize("kind", KINDS)
def test_every_engine_walks_the_references_path(kind, engine, clip):
    """One clipping norm over all tensors."""
    assert_same(walked(kind, engine, max_grad_norm=clip), walked(kind, "reference", max_grad_norm=clip))


@pytest.mark.slow
def test_the_compiled_engine_walks_the_references_path():
    """Seconds a graph, so one of each kind: a clipped step, and the look ahead that v̄ needs."""
    ends = []
    for engine in ("compiled", "reference"):
        params = weights([[(3, 4)], [(2, 3)]])
        muons, adams = ({"params": group, "method": m} for group, m in zip(params, ("muon", "adam"), strict=True))
        groups = [muons, {**adams, "decay": "stable", "weight_decay": 0.01}]
        optimizer = wd.MuonAdamW(groups, lr=1e-2, max_grad_norm=1.0, engine=engine, **EXACT)
        drive(optimizer, params, [[[np.cos(t + np.ones(p.shape)) for p in g] for g in params] for t in range(4)])
        ends.append(outcome(optimizer, params))
    assert_same(*ends)


def test_clipping_is_by_the_norm_of_the_whole_model():
    build, shapes = KINDS["MuonAdamW"]
    params, (step,) = weights(shapes), gradients(shapes, 1)
    optimizer = build(params, max_grad_norm=1.0)
    drive(optimizer, params, [step])
    norm = sum((g**2).sum() for group in step for g in group if g is not None) ** 0.5
    assert float(optimizer.grad_norm) == pytest.approx(norm, rel=1e-12)


@pytest.mark.parametrize("engine", ["reference", "foreach"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_in_mid_run_resumes_bit_exactly(kind, engine):
    build, shapes = KINDS[kind]
    run, params, half = gradients(shapes), weights(shapes), weights(shapes)
    drive(build(params, engine), params, run)
    first = build(half, engine)
    drive(first, half, run[:9])
    memory = io.BytesIO()
    torch.save(first.state_dict(), memory)
    memory.seek(0)
    second = build(half, engine)
    second.load_state_dict(torch.load(memory, weights_only=True))
    drive(second, half, run[9:])
    assert_close(flat(half), flat(params), 0)


# ---------------------------------------------------------------- torch's numbers


@pytest.mark.parametrize("shape", [(3, 4), (64, 64), (40, 100), (100, 40)])
def test_the_direction_is_torchs_bit_for_bit_where_bfloat16_is_multiplied(shape, monkeypatch):
    """Alone and in a stack. Multiplied in float32 it differs, by no more than torch's rounding from the truth."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    how = Polynomial(COEFFICIENTS, 5, 1e-7, torch.bfloat16)
    theirs = torchs_iteration(x, COEFFICIENTS, 5, 1e-7).float() * ADJUSTMENTS["spectral_unclamped"](*shape)
    monkeypatch.setattr(newton_schulz, "multiplies_bfloat16", lambda: True)
    assert torch.equal(orthogonal(x, how, "spectral_unclamped"), theirs)
    assert torch.equal(orthogonal(torch.stack([-x, x]), how, "spectral_unclamped")[1], theirs)
    monkeypatch.setattr(newton_schulz, "multiplies_bfloat16", lambda: False)
    ours = orthogonal(x, how, "spectral_unclamped")
    truth = orthogonal(x, how._replace(dtype=torch.float64), "spectral_unclamped")
    error = (theirs - truth).norm()
    assert 0 < (ours - truth).norm() < 1.5 * error
    assert (ours - theirs).norm() < 2 * error


@pytest.mark.parametrize("adjust", [None, *ADJUSTMENTS])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_equals_torch(dtype, adjust, monkeypatch):
    """And goes on where torch's checkpoint stops."""
    monkeypatch.setattr(newton_schulz, "multiplies_bfloat16", lambda: True)
    shapes, ends = MATRICES[:1], []
    run = gradients([*shapes, [(1,)]])
    run = [step[:1] for step in run]
    options = {"lr": 0.02, "weight_decay": 0.3, "adjust_lr_fn": adjust}
    for kind in (wd.Muon, torch.optim.Muon):
        params = weights(shapes, dtype)
        optimizer = kind(joined(params), **options)
        drive(optimizer, params, run[:12], [schedule(STEPS, 0.02)])
        ends.append((flat(params), optimizer, params))
    tolerance = 1e-12 if dtype == torch.float64 else 1e-6
    assert_close(ends[0][0], ends[1][0], tolerance)
    _, torchs, params = ends[1]
    ours = weights(shapes, dtype)
    for p, q in zip(joined(ours), joined(params), strict=True):
        p.data.copy_(q)
    optimizer = wd.Muon(joined(ours), **options)
    with pytest.warns(UserWarning, match="an optimizer of torch"):
        optimizer.load_state_dict(copy.deepcopy(torchs.state_dict()))
    drive(optimizer, ours, run[12:])
    drive(torchs, params, run[12:])
    assert_close(flat(ours), flat(params), tolerance)


def test_matrices_of_one_shape_go_through_one_iteration(monkeypatch):
    calls, own = [], newton_schulz.multiplied_in
    monkeypatch.setattr(newton_schulz, "multiplied_in", lambda *a: calls.append(1) or own(*a))
    params = weights([[(3, 4)] * 5 + [(4, 3)] * 2])
    optimizer = wd.Muon(joined(params))
    for p in joined(params):
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert len(calls) == 2


def test_a_matrix_without_gradients_stands_still():
    p = torch.nn.Parameter(torch.ones(2, 3))
    p.grad = torch.zeros(2, 3)
    wd.Muon([p], weight_decay=0.0).step()
    assert torch.equal(p.detach(), torch.ones(2, 3))


# ---------------------------------------------------------------- what is refused

VECTOR, MATRIX = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(2, 3))
REFUSED = {
    "a vector": (
        lambda: wd.Muon([MATRIX, VECTOR]),
        r"parameter 1 of group 0 has the shape \(3,\): .* MuonAdamW\(model\)",
    ),
    "a vector in its group": (
        lambda: wd.MuonAdamW([{"params": [("norm.bias", VECTOR)], "method": "muon"}]),
        r"norm.bias of group 0 has the shape \(3,\)",
    ),
    "complex": (lambda: wd.Muon([torch.nn.Parameter(torch.ones(2, 2) * 1j)]), r"is complex"),
    "fused": (lambda: wd.Muon([MATRIX], engine="fused"), r'no fused kernel .*Use engine="foreach"'),
    "fused whole": (
        lambda: wd.MuonAdamW([VECTOR, MATRIX], engine="fused"),
        r'cannot move group 0: torch has no fused kernel of Muon.*Use engine="foreach"',
    ),
    "steps": (lambda: wd.Muon([MATRIX], ns_steps=0), r"ns_steps=0 in group 0 is outside \[1, 100\)"),
    "adjustment": (lambda: wd.Muon([MATRIX], adjust_lr_fn="orignal"), r"Did you mean 'original'\?"),
    "type": (lambda: wd.Muon([MATRIX], ns_dtype="bfloat61"), r"Did you mean 'bfloat16'\?"),
    "no method": (lambda: wd.MuonAdamW([{"params": [MATRIX]}]), r"group 0 names no method: .*'muon', 'adam'"),
    "an unknown method": (lambda: wd.MuonAdamW([{"params": [MATRIX], "method": "moun"}]), r"Did you mean 'muon'\?"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_with_the_way_out(name):
    build, says = REFUSED[name]
    with pytest.raises(ValueError, match=says):
        build()


def test_a_stable_decay_of_an_orthogonal_matrix_is_refused_with_the_choices():
    for build in (
        lambda: wd.Muon([MATRIX], decay="stable"),
        lambda: wd.MuonAdamW([{"params": [MATRIX], "method": "muon", "decay": "stable"}]),
    ):
        with pytest.raises(
            TypeError, match=r"Muon has none, because it makes a matrix orthogonal\. Decoupled.*Corrected.*gain="
        ):
            build()
    wd.Muon([MATRIX], decay="stable", gain=1.0)


def test_a_vector_that_comes_in_mid_run_is_refused_before_anything_moves():
    p, v = torch.nn.Parameter(torch.ones(2, 3)), torch.nn.Parameter(torch.ones(3))
    optimizer = wd.Muon([p])
    optimizer.param_groups[0]["params"].append(v)
    p.grad, v.grad = torch.ones(2, 3), torch.ones(3)
    with pytest.raises(ValueError, match="this is none"):
        optimizer.step()
    assert torch.equal(p.detach(), torch.ones(2, 3))
