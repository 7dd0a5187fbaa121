"""Given tensors as anchors, and anchors that are kept in two bytes."""

import numpy as np
import pytest
import torch
from drive import assert_close, drive, flat, gradients, joined, weights
from test_ports import METHODS, STEPS, build, lrs_of, naive
from toys import Toy

import weightdecay as wd

pytestmark = pytest.mark.filterwarnings("ignore:.*of every weight of group")

GIVEN = {tuple(p.shape): np.full(tuple(p.shape), 0.25) - 0.5 * p.detach().numpy() for g in weights() for p in g}
TOWARD = Toy(wd.Toward("start", wd.Stable()), strength=1.0)
ORACLE = Toy(
    TOWARD.decay,
    pull=lambda s: s.lr * s.strength * s.mean_gain,
    anchor=lambda s: GIVEN[s.weight.shape],
    strength=1.0,
)


def given(params):
    return [torch.tensor(GIVEN[tuple(p.shape)]) for p in joined(params)]


@pytest.mark.parametrize("engine", ["reference", "foreach", "auto"])
@pytest.mark.parametrize("name", ["Adam", "SGD"])
def test_given_anchors_walk_the_naive_path_and_travel_in_a_checkpoint(name, engine, tmp_path):
    method, run, params = METHODS[name], gradients(STEPS), weights()
    start = [[p.detach().numpy().copy() for p in group] for group in params]
    lrs = lrs_of(method.lr)
    first = build(method, TOWARD, params, engine)
    wd.set_anchors(first, given(params))
    torch.save(first.state_dict(), tmp_path / "before.pt")  # also before the first step
    second = build(method, TOWARD, params, engine)
    second.load_state_dict(torch.load(tmp_path / "before.pt", weights_only=True))
    drive(second, params, run[:8], lrs)
    torch.save(second.state_dict(), tmp_path / "half.pt")
    third = build(method, TOWARD, params, engine)
    third.load_state_dict(torch.load(tmp_path / "half.pt", weights_only=True))
    drive(third, params, run[8:], lrs, start=8)
    assert_close(flat(params), naive(method, ORACLE, start, run)[0])


def test_to_give_the_weights_themselves_changes_nothing():
    paths = []
    for gives in (False, True):
        params = weights(torch.float32)
        optimizer = build(METHODS["Adam"], TOWARD, params, "auto")
        if gives:
            wd.set_anchors(optimizer, flat(params))
        drive(optimizer, params, gradients(STEPS), lrs_of(1e-2))
        paths.append(flat(params))
    assert_close(*paths, 0)


def pulled(optimizer, model, steps=60):
    """Take steps without a gradient of the loss; return how far each weight is from 1."""
    for _ in range(steps):
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        optimizer.step()
    return max((p - 1).abs().max().item() for p in model.parameters())


ONES = {"weight": torch.ones(1, 2), "bias": torch.ones(1), "a buffer": torch.zeros(3)}


@pytest.mark.parametrize(
    "make",
    [
        lambda m: (wd.SGD(m.named_parameters(), lr=1.0, weight_decay=0.5, decay="toward(start)"), ONES, None),
        lambda m: (wd.SGD(m.parameters(), lr=1.0, weight_decay=0.5, decay="toward(start)"), ONES, m),
        lambda m: (
            wd.SGD(m.named_parameters(), lr=1.0, weight_decay=0.5, decay="cautious(toward(start))"),
            {f"module._orig_mod.{name}": value for name, value in ONES.items()},
            None,
        ),
    ],
    ids=["names of the groups", "names of the model", "wrapped names"],
)
def test_a_state_dict_is_matched_by_name(make):
    model = torch.nn.Linear(2, 1)
    optimizer, anchors, named = make(model)
    wd.set_anchors(optimizer, anchors, named)
    assert pulled(optimizer, model) < 1e-6


def test_under_attach_after_the_first_step():
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, weight_decay=0.5)
    wd.attach(optimizer, "toward(start)")
    with pytest.raises(ValueError, match="has not taken a step yet"):
        wd.set_anchors(optimizer, ONES, model)
    pulled(optimizer, model, 1)
    wd.set_anchors(optimizer, ONES, model)
    assert pulled(optimizer, model) < 1e-6


def test_complex_anchors():
    p = torch.nn.Parameter(torch.zeros(2, 2, dtype=torch.complex64))
    optimizer = wd.SGD([p], lr=1.0, weight_decay=0.5, decay="toward(start)")
    wd.set_anchors(optimizer, [torch.full((2, 2), 1 + 0j)])
    with pytest.raises(ValueError, match=r"is torch.float32, the parameter torch.complex64"):
        wd.set_anchors(optimizer, [torch.ones(2, 2)])
    p.grad = torch.zeros_like(p)
    for _ in range(60):
        optimizer.step()
    assert_close([torch.view_as_real(p.detach())], [torch.view_as_real(torch.full((2, 2), 1 + 0j))], 1e-6)


@pytest.mark.parametrize(
    ("anchors", "error", "says"),
    [
        (
            {"weight": torch.ones(2, 1), "bias": torch.ones(1)},
            ValueError,
            r"'weight' has the shape \(2, 1\)",
        ),
        ({"weight": torch.ones(1, 2), "bia": torch.ones(1)}, ValueError, r"called 'bias'. Did you mean 'bia'\?"),
        ({"weight": torch.ones(1, 2), "bias": 1.0}, TypeError, r"the anchor of 'bias' is a float, and no tensor"),
        ({"weight": torch.full((1, 2), float("nan")), "bias": torch.ones(1)}, ValueError, r"'weight' .* not finite"),
        ([torch.ones(1, 2)], ValueError, r"1 tensors for 2 parameters, of which the first is 'weight'"),
    ],
)
def test_what_does_not_fit_is_refused_by_name_and_changes_nothing(anchors, error, says):
    model = torch.nn.Linear(2, 1)
    optimizer = wd.AdamW(model.named_parameters(), decay="toward(start)")
    with pytest.raises(error, match=says):
        wd.set_anchors(optimizer, anchors)
    assert not any(optimizer.state.values())


def test_names_that_nobody_knows_and_decays_without_an_anchor_are_refused():
    p = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match=r"parameter 0, in group 0 has no name here. Pass model="):
        wd.set_anchors(wd.AdamW([p], decay="toward(start)"), {"p": torch.ones(2)})
    with pytest.raises(ValueError, match=r"no group has a decay towards 'start'. Build it with"):
        wd.set_anchors(wd.AdamW([p]), [torch.ones(2)])


# ---------------------------------------------------------------- two bytes

SMALL = Toy(wd.Toward("start", keep="bfloat16"), strength=2.0)


@pytest.mark.parametrize("engine", ["reference", "foreach"])
def test_a_small_anchor_is_the_start_rounded_once(engine, tmp_path):
    """The path is that towards the rounded start, and the anchor keeps its bits through steps and a checkpoint."""
    rounded = {tuple(p.shape): p.detach().bfloat16().double().numpy() for group in weights() for p in group}
    oracle = Toy(SMALL.decay, anchor=lambda s: rounded[s.weight.shape], strength=2.0)
    params, run, lrs = weights(), gradients(STEPS), lrs_of(1e-2)
    start = [[p.detach().numpy().copy() for p in group] for group in params]
    first = build(METHODS["Adam"], SMALL, params, engine)
    drive(first, params, run[:8], lrs)
    torch.save(first.state_dict(), tmp_path / "half.pt")
    second = build(METHODS["Adam"], SMALL, params, engine)
    second.load_state_dict(torch.load(tmp_path / "half.pt", weights_only=True))
    drive(second, params, run[8:], lrs, start=8)
    assert_close(flat(params), naive(METHODS["Adam"], oracle, start, run)[0])
    kept = [second.state[p]["start"] for p in joined(params)]
    assert {each.dtype for each in kept} == {torch.bfloat16}
    assert all(np.array_equal(each.double().numpy(), rounded[tuple(each.shape)]) for each in kept)


def test_a_small_anchor_inside_a_modifier_under_attach_and_as_text():
    text = wd.decay.parse("cautious(toward(start, stable, keep=bfloat16))")
    assert text == wd.Cautious(wd.Toward("start", wd.Stable(), keep="bfloat16")) == wd.decay.parse(repr(text))
    p = torch.nn.Parameter(torch.tensor([1.001]))
    optimizer = torch.optim.SGD([p], lr=0.1, weight_decay=0.1)
    wd.attach(optimizer, "cautious(toward(start, keep=bfloat16))")
    p.grad = torch.ones(1)
    optimizer.step()
    assert torch.equal(optimizer.state[p]["start"], torch.ones(1, dtype=torch.bfloat16))
    assert repr(wd.Toward("start")) == "Toward(target='start', decay=Decoupled())"  # as older checkpoints name it


@pytest.mark.parametrize("text", ["toward(1.0, keep=bfloat16)", "toward(start, keep='int8')"])
def test_only_a_start_is_kept_and_only_in_bf16(text):
    with pytest.raises(ValueError, match=r"keep is 'bfloat16', for the anchor 'start', or None"):
        wd.decay.parse(text)
