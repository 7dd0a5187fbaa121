"""Given tensors as anchors, and anchors that are kept in two bytes."""

import copy
import warnings

import numpy as np
import pytest
import torch
from drive import assert_close, drive, flat, gradients, joined, weights
from test_ports import METHODS, STEPS, build, lrs_of, naive
from torch.distributed.tensor import Shard
from toys import Toy

import weightdecay as wd
from weightdecay.optim.blocks import pack, unpack
from weightdecay.optim.member import start_of

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


# ---------------------------------------------------------------- two bytes, and one

SMALL = {keep: Toy(wd.Toward("start", keep=keep), strength=2.0) for keep in ("bfloat16", "int8")}


def rounded_as(keep, value):
    """The start as it is kept, float64: in bfloat16, or in blocks of 32 as their law says, naively."""
    if keep == "bfloat16":
        return value.bfloat16().double().numpy()
    flat = value.double().numpy().reshape(-1)
    kept = np.empty_like(flat)
    for at in range(0, flat.size, 32):
        block = flat[at : at + 32]
        grid = 2.0 ** np.ceil(np.log2(np.abs(block).max() / 127))
        kept[at : at + 32] = np.round(block / grid) * grid
    return kept.reshape(tuple(value.shape))


@pytest.mark.parametrize("keep", SMALL)
@pytest.mark.parametrize("engine", ["reference", "foreach"])
def test_a_small_anchor_is_the_start_rounded_once(engine, keep, tmp_path):
    """The path is that towards the rounded start, and the anchor keeps its bits through steps and a checkpoint."""
    small = SMALL[keep]
    rounded = {tuple(p.shape): rounded_as(keep, p.detach()) for group in weights() for p in group}
    oracle = Toy(small.decay, anchor=lambda s: rounded[s.weight.shape], strength=2.0)
    params, run, lrs = weights(), gradients(STEPS), lrs_of(1e-2)
    start = [[p.detach().numpy().copy() for p in group] for group in params]
    first = build(METHODS["Adam"], small, params, engine)
    drive(first, params, run[:8], lrs)
    torch.save(first.state_dict(), tmp_path / "half.pt")
    second = build(METHODS["Adam"], small, params, engine)
    second.load_state_dict(torch.load(tmp_path / "half.pt", weights_only=True))
    drive(second, params, run[8:], lrs, start=8)
    assert_close(flat(params), naive(METHODS["Adam"], oracle, start, run)[0])
    kept = [(p, second.state[p]["start"]) for p in joined(params)]
    assert {each.dtype for _, each in kept} == {getattr(torch, keep)}
    assert all(np.array_equal(start_of(s, p, torch.float64).numpy(), rounded[tuple(p.shape)]) for p, s in kept)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e30])
def test_blocks_of_int8_move_an_element_by_less_than_a_127th_of_the_largest_of_its_block(dtype, scale):
    value = (torch.randn(5, 77) * torch.logspace(-6, 0, 77) * scale).to(dtype)
    value[0], value[1, 0] = 0, scale
    packed = pack(value)
    assert packed.numel() == 385 + 13  # in bytes: 33/32 of the elements, where float32 takes 4
    back = unpack(packed, value.shape, torch.float64)
    blocks = torch.nn.functional.pad(value.double().reshape(-1), (0, 31)).view(-1, 32)
    largest = blocks.abs().amax(1).repeat_interleave(32)[:385]
    error = (back - value.double()).reshape(-1).abs()
    assert (error <= largest / 127).all()
    assert error.max() > 0
    assert torch.equal(pack(back.float()), packed)
    for cast in (torch.float16, torch.bfloat16, torch.float32):  # as torch's load_state_dict casts states
        assert torch.equal(unpack(packed.to(cast), value.shape, torch.float64), back)


def small_network():
    return torch.nn.Linear(64, 33)  # a bias that ends in half a block


def stepped(model, optimizer, steps, seed=0):
    draw = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        for p in model.parameters():
            p.grad = torch.randn(p.shape, generator=draw)
        optimizer.step()
    return flat([list(model.parameters())])


def built(own, model, keep):
    if own:
        return wd.AdamW(model.parameters(), lr=0.01, weight_decay=5.0, decay=wd.Toward("start", keep=keep))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=5.0)
    wd.attach(optimizer, wd.Toward("start", keep=keep))
    return optimizer


@pytest.mark.parametrize("own", [True, False], ids=["own", "attached"])
def test_an_anchor_in_blocks_travels_in_a_checkpoint_and_can_be_given(own):
    """Torch casts every state of somebody else's optimizer to the type of the weight when it loads it."""
    run, resumed = small_network(), small_network()
    first = built(own, run, "int8")
    stepped(run, first, 2)
    wd.set_anchors(first, [torch.full_like(p, 3.0) for p in run.parameters()])
    resumed.load_state_dict(run.state_dict())
    saved = copy.deepcopy(first.state_dict())
    second = built(own, resumed, "int8")
    second.load_state_dict(saved)
    assert_close(stepped(run, first, 3), stepped(resumed, second, 3), 0)
    starts = [start_of(second.state[p]["start"], p, p.dtype) for p in resumed.parameters()]
    assert all(torch.equal(s, torch.full_like(s, 3.0)) for s in starts)


@pytest.mark.parametrize("keeps", [("int8", None), (None, "int8"), ("int8", "bfloat16")])
def test_an_anchor_takes_another_form_when_another_optimizer_loads_it(keeps):
    run, resumed = small_network(), small_network()
    first, second = built(True, run, keeps[0]), built(True, resumed, keeps[1])
    stepped(run, first, 1)
    was = [start_of(first.state[p]["start"], p, torch.float32) for p in run.parameters()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that its decay is another
        second.load_state_dict(first.state_dict())
    for p, old in zip(resumed.parameters(), was, strict=True):
        kept = second.state[p]["start"]
        assert kept.dtype == (getattr(torch, keeps[1]) if keeps[1] else torch.float32)
        new = start_of(kept, p, torch.float32)
        assert (new - old).abs().max() <= (old.abs().max() / 127 if keeps[1] else 0)
    stepped(resumed, second, 1)


def test_a_decay_that_needs_no_anchor_leaves_it_alone():
    """A group is given another decay in mid-run, with small tensors that are moved side by side."""
    model = torch.nn.Sequential(*(torch.nn.Linear(3, 3) for _ in range(3)))
    optimizer = built(True, model, "int8")
    stepped(model, optimizer, 2)
    before = [optimizer.state[p]["start"].clone() for p in model.parameters()]
    optimizer.param_groups[0]["decay"] = wd.Decoupled()
    stepped(model, optimizer, 2)
    assert all(
        torch.equal(unpacked(optimizer, p), start_of(b, p, torch.float32))
        for p, b in zip(model.parameters(), before, strict=True)
    )


def unpacked(optimizer, p):
    return start_of(optimizer.state[p]["start"], p, torch.float32)


def test_blocks_of_a_tensor_that_is_cut_are_refused():
    p = torch.nn.Parameter(torch.ones(4, 4))
    p.placements = (Shard(0),)  # what the check reads
    with pytest.raises(ValueError, match=r"is cut over processes, .*Use keep='bfloat16'"):
        wd.Toward("start", keep="int8").check({"params": [p]}, "group 0")


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


@pytest.mark.parametrize("text", ["toward(1.0, keep=bfloat16)", "toward(1.0, keep=int8)", "toward(start, keep='int4')"])
def test_only_a_start_is_kept_and_only_in_bf16_or_int8(text):
    with pytest.raises(ValueError, match=r"keep is 'bfloat16' or 'int8', for the anchor 'start', or None"):
        wd.decay.parse(text)
