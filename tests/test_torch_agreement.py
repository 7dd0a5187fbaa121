"""Second witness: torch.optim, where torch has the method. Weights to 1e-12, and its checkpoints are ours."""

import copy
import functools

import pytest
import torch
from drive import assert_close, drive, flat, gradients, joined, schedule, weights

import weightdecay as wd

SGD = {"lr": 0.05, "weight_decay": 0.01}
ADAM = {"lr": 1e-3, "weight_decay": 0.1, "betas": (0.8, 0.99), "eps": 1e-6}

TWINS = {
    "SGD": (wd.SGD, torch.optim.SGD, SGD),
    "SGD momentum": (wd.SGD, torch.optim.SGD, {**SGD, "momentum": 0.9}),
    "SGD dampening": (wd.SGD, torch.optim.SGD, {**SGD, "momentum": 0.9, "dampening": 0.4}),
    "SGD nesterov": (wd.SGD, torch.optim.SGD, {**SGD, "momentum": 0.9, "nesterov": True}),
    "SGD maximize": (wd.SGD, torch.optim.SGD, {**SGD, "momentum": 0.9, "maximize": True}),
    "Adam": (wd.Adam, torch.optim.Adam, ADAM),
    "Adam maximize": (wd.Adam, torch.optim.Adam, {**ADAM, "maximize": True}),
    "AdamW": (wd.AdamW, torch.optim.AdamW, ADAM),
    "AdamW maximize": (wd.AdamW, torch.optim.AdamW, {**ADAM, "maximize": True}),
    "AMSGrad": (wd.AMSGrad, lambda p, **k: torch.optim.Adam(p, amsgrad=True, **k), ADAM),
    "AMSGradW": (wd.AMSGradW, lambda p, **k: torch.optim.AdamW(p, amsgrad=True, **k), ADAM),
    "RAdam": (wd.RAdam, torch.optim.RAdam, ADAM),
    "RAdam W": (
        lambda p, **k: wd.RAdam(p, decay=wd.Decoupled(), **k),
        lambda p, **k: torch.optim.RAdam(p, decoupled_weight_decay=True, **k),
        ADAM,
    ),
}
for _name, _decoupled in (("NAdam", False), ("NAdam W", True)):
    TWINS[_name] = (
        functools.partial(wd.NAdam, decay=wd.Decoupled() if _decoupled else wd.L2()),
        functools.partial(torch.optim.NAdam, decoupled_weight_decay=_decoupled),
        {**ADAM, "momentum_decay": 0.02},
    )
STEPS = 16


@pytest.fixture(autouse=True)
def _products_in_float64():
    """NAdam's product is of the default type in torch."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def _pair(ours, theirs, options, dtype=torch.float64):
    built = []
    for make in (ours, theirs):
        params = weights(dtype)
        groups = [{"params": params[0]}, {"params": params[1], "lr": 0.3 * options["lr"], "weight_decay": 0.02}]
        built.append((params, make(groups, **options)))
    return built


@pytest.mark.parametrize("scale", [1.0, 1e-6])
@pytest.mark.parametrize("name", TWINS)
def test_equals_torch(name, scale):
    ours, theirs, options = TWINS[name]
    (a, mine), (b, torchs) = _pair(ours, theirs, options)
    run, lrs = gradients(STEPS, scale), [schedule(STEPS, options["lr"]), schedule(STEPS, 0.3 * options["lr"])]
    drive(mine, a, run, lrs)
    drive(torchs, b, run, lrs)
    assert_close(flat(a), flat(b))
    for p, q in zip(joined(a), joined(b), strict=True):
        theirs_state = {k: v for k, v in torchs.state[q].items() if v is not None and k != "step"}
        assert theirs_state.keys() == mine.state[p].keys() - {"step"}
        assert_close([mine.state[p][k] for k in theirs_state], list(theirs_state.values()))


@pytest.mark.parametrize("name", ["AdamW", "SGD momentum", "AMSGradW", "RAdam"])
def test_equals_torch_with_complex_weights(name):
    ours, theirs, options = TWINS[name]
    start = torch.randn(4, 3, dtype=torch.complex128)
    a, b = (torch.nn.Parameter(start.clone()) for _ in range(2))
    mine, torchs = ours([a], **options), theirs([b], **options)
    for _ in range(20):
        a.grad = torch.randn_like(a)
        b.grad = a.grad.clone()
        mine.step()
        torchs.step()
    assert (a - b).abs().max() < 1e-12


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", TWINS)
def test_continues_a_checkpoint_of_torch(name, dtype):
    """Moments are taken over: after loading, the twin walks torch's path. Our λ is kept, with one warning."""
    ours, theirs, options = TWINS[name]
    (a, mine), (b, torchs) = _pair(ours, theirs, options, dtype)
    run = gradients(STEPS)
    drive(torchs, b, run[: STEPS // 2])
    with torch.no_grad():
        for p, q in zip(joined(a), joined(b), strict=True):
            p.copy_(q)
    saved = copy.deepcopy(torchs.state_dict())
    saved["param_groups"][0]["weight_decay"] = 0.77
    with pytest.warns(UserWarning, match=r"written with an optimizer of torch, weight_decay=0.77") as said:
        mine.load_state_dict(saved)
    assert len(said) == 1
    assert mine.param_groups[0]["weight_decay"] == options["weight_decay"]
    assert mine.param_groups[1]["weight_decay"] == 0.02
    drive(mine, a, run[STEPS // 2 :])
    drive(torchs, b, run[STEPS // 2 :])
    assert_close(flat(a), flat(b), 1e-12 if dtype == torch.float64 else 1e-5)


def test_complex_checkpoint_of_torch_is_continued():
    start = torch.randn(4, 3, dtype=torch.complex128)
    a, b = (torch.nn.Parameter(start.clone()) for _ in range(2))
    mine, torchs = wd.AdamW([a], **ADAM), torch.optim.AdamW([b], **ADAM)
    grads = [torch.randn_like(start) for _ in range(10)]
    for i, grad in enumerate(grads):
        b.grad = grad.clone()
        torchs.step()
        if i == 4:
            a.data.copy_(b.data)
            with pytest.warns(UserWarning, match="optimizer of torch"):
                mine.load_state_dict(torchs.state_dict())
        elif i > 4:
            a.grad = grad.clone()
            mine.step()
    assert (a - b).abs().max() < 1e-12


def test_signature_and_defaults_are_those_of_torch():
    for ours, theirs in [
        (wd.AdamW, torch.optim.AdamW),
        (wd.Adam, torch.optim.Adam),
        (wd.SGD, torch.optim.SGD),
        (wd.RAdam, torch.optim.RAdam),
        (wd.NAdam, torch.optim.NAdam),
        (wd.Muon, torch.optim.Muon),
    ]:
        mine = ours([torch.zeros(1, 1, requires_grad=True)]).param_groups[0]
        torchs = theirs([torch.zeros(1, 1, requires_grad=True)]).param_groups[0]
        shared = (mine.keys() & torchs.keys()) - {"params"}
        assert {"lr", "weight_decay"} <= shared
        assert {k: mine[k] for k in shared} == {k: torchs[k] for k in shared}
    # A call written for torch, with its switches left off, works unchanged.
    wd.AdamW(
        [torch.zeros(1, requires_grad=True)], 1e-3, (0.9, 0.95), 1e-8, 0.1, foreach=None, fused=False, amsgrad=False
    )
