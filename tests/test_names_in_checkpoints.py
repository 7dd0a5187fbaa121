"""What a checkpoint says by name is taken by name; what users keep in state and groups is theirs and survives."""

import copy
import io

import pytest
import torch
from cases import METHODS
from drive import assert_close

import weightdecay as wd

ENGINES = ("reference", "foreach", "fused", "auto")
SHAPES = {"body.weight": (3, 4), "body.bias": (4,), "head.weight": (3, 4), "head.bias": (4,)}
ORDERS = {
    "another order": ["head.bias", "body.weight", "head.weight", "body.bias"],
    "reversed": list(reversed(SHAPES)),
}


def weights():
    rng = torch.Generator().manual_seed(0)
    return {name: torch.nn.Parameter(torch.randn(s, generator=rng, dtype=torch.float64)) for name, s in SHAPES.items()}


def step(optimizer, params, times):
    for t in times:
        for i, p in enumerate(params.values()):
            p.grad = torch.sin(torch.arange(p.numel(), dtype=p.dtype) + 3 * t + i).reshape(p.shape)
        optimizer.step()


def copied(params):
    return {name: torch.nn.Parameter(p.detach().clone()) for name, p in params.items()}


def named(params, order=SHAPES):
    return [(name, params[name]) for name in order]


def through_a_file(state_dict):
    buffer = io.BytesIO()
    torch.save(state_dict, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("cls", [wd.AdamS, wd.AdamW, wd.SGDS, wd.AMSGradS])
def test_a_named_checkpoint_loads_into_another_order_by_name(cls, order, engine):
    options = {"momentum": 0.9} if cls is wd.SGDS else {}
    if cls is wd.AMSGradS and engine == "fused":
        return  # refused, as another test sees
    params = weights()
    optimizer = cls(named(params), lr=1e-2, engine=engine, **options)
    step(optimizer, params, range(3))
    other = copied(params)
    new = cls(named(other, ORDERS[order]), lr=1e-2, engine=engine, **options)
    new.load_state_dict(through_a_file(optimizer.state_dict()))
    assert new.param_groups[0]["param_names"] == ORDERS[order]
    for name in SHAPES:
        ours, theirs = new.state[other[name]], optimizer.state[params[name]]
        assert_close([ours[k] for k in theirs if k != "v_sum"], [v for k, v in theirs.items() if k != "v_sum"], 0)
    step(optimizer, params, range(3, 6))
    step(new, other, range(3, 6))
    assert_close([other[name].detach() for name in SHAPES], [params[name].detach() for name in SHAPES])


def test_names_are_found_across_the_tensors_of_a_group_with_its_own_options():
    """Groups are matched by position, tensors within them by name."""
    params = weights()
    groups = [
        {"params": named(params, ["body.weight", "head.weight"]), "lr": 1e-2},
        {"params": named(params, ["body.bias", "head.bias"]), "lr": 1e-3, "weight_decay": 0.0},
    ]
    optimizer = wd.AdamS(groups)
    step(optimizer, params, range(3))
    other = copied(params)
    groups = [
        {"params": named(other, ["head.weight", "body.weight"]), "lr": 1e-2},
        {"params": named(other, ["head.bias", "body.bias"]), "lr": 1e-3, "weight_decay": 0.0},
    ]
    new = wd.AdamS(groups)
    new.load_state_dict(through_a_file(optimizer.state_dict()))
    step(optimizer, params, range(3, 6))
    step(new, other, range(3, 6))
    assert_close([other[name].detach() for name in SHAPES], [params[name].detach() for name in SHAPES])


@pytest.mark.filterwarnings("ignore:the checkpoint was written with:UserWarning")
@pytest.mark.parametrize("order", ORDERS)
def test_a_named_checkpoint_of_torch_loads_by_name(order):
    params = weights()
    theirs = torch.optim.AdamW(named(params), lr=1e-2, weight_decay=0.1)
    step(theirs, params, range(3))
    other = copied(params)
    ours = wd.AdamW(named(other, ORDERS[order]), lr=1e-2, weight_decay=0.1)
    ours.load_state_dict(through_a_file(theirs.state_dict()))
    step(theirs, params, range(3, 6))
    step(ours, other, range(3, 6))
    assert_close([other[name].detach() for name in SHAPES], [params[name].detach() for name in SHAPES])


@pytest.mark.parametrize("which", ["saved", "loading"])
def test_where_one_side_has_no_names_the_position_counts(which):
    params = weights()
    optimizer = wd.AdamS(list(params.values()) if which == "loading" else named(params), lr=1e-2)
    step(optimizer, params, range(3))
    other = copied(params)
    new = wd.AdamS(named(other) if which == "loading" else list(other.values()), lr=1e-2)
    new.load_state_dict(through_a_file(optimizer.state_dict()))
    if which == "loading":
        assert new.param_groups[0]["param_names"] == list(SHAPES)
    step(optimizer, params, range(3, 6))
    step(new, other, range(3, 6))
    assert_close([p.detach() for p in other.values()], [p.detach() for p in params.values()])


def test_a_name_that_is_not_in_the_checkpoint_is_named_with_the_nearest():
    params = weights()
    optimizer = wd.AdamS(named(params), lr=1e-2)
    step(optimizer, params, range(3))
    other = copied(params)
    renamed = [(name.replace("head", "heads"), p) for name, p in other.items()]
    new = wd.AdamS(renamed, lr=1e-2)
    before = [p.detach().clone() for p in other.values()]
    with pytest.raises(ValueError, match=r"heads\.(weight|bias)") as raised:
        new.load_state_dict(optimizer.state_dict())
    assert "head.weight" in str(raised.value) or "head.bias" in str(raised.value)
    assert not new.state
    assert [name for name, _ in renamed] == new.param_groups[0]["param_names"]
    step(new, other, range(1))
    assert not torch.equal(other["body.weight"], before[0])


def test_names_of_another_model_do_not_load_by_chance():
    """The shapes are the same: by position it would load, and be wrong."""
    params = weights()
    optimizer = wd.AdamS(named(params))
    step(optimizer, params, range(2))
    new = wd.AdamS([(f"encoder.{i}", p) for i, p in enumerate(copied(params).values())])
    with pytest.raises(ValueError, match=r"encoder\.0"):
        new.load_state_dict(optimizer.state_dict())


# ---------------------------------------------------------------- what users keep


def lookahead(optimizer, params):
    """Timm's Lookahead and others keep a slow copy of the weight beside our state."""
    for p in params.values():
        optimizer.state[p]["slow_buffer"] = p.detach().clone()
        optimizer.state[p]["note"] = "mine"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("before_the_first_step", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("method", METHODS, ids=str)
def test_entries_in_a_state_are_their_owners(method, before_the_first_step, engine):
    params, plain = weights(), weights()

    def build(params):
        options = {"lr": method.lr, "weight_decay": 1e-3, "decay": wd.Stable(), **method.variants[1]}
        return method.cls(list(params.values()), engine=engine, **options)

    try:
        optimizer, reference = build(params), build(plain)
    except ValueError as error:
        assert 'Use engine="' in str(error)  # noqa: PT017 - refusals are another test's
        return
    if before_the_first_step:
        lookahead(optimizer, params)
    step(optimizer, params, range(2))
    if not before_the_first_step:
        lookahead(optimizer, params)
    kept = {name: optimizer.state[p]["slow_buffer"].clone() for name, p in params.items()}
    step(optimizer, params, range(2, 4))
    other = copied(params)
    new = build(other)
    new.load_state_dict(through_a_file(optimizer.state_dict()))
    step(new, other, range(4, 6))
    step(optimizer, params, range(4, 6))
    step(reference, plain, range(6))
    for one, weights_ in ((optimizer, params), (new, other)):
        assert_close([p.detach() for p in weights_.values()], [p.detach() for p in plain.values()])
        for name, p in weights_.items():
            assert_close([one.state[p]["slow_buffer"]], [kept[name]], 0)
            assert one.state[p]["note"] == "mine"


def test_an_entry_of_another_shape_and_type_survives():
    params = weights()
    optimizer = wd.AdamS(list(params.values()))
    step(optimizer, params, range(2))
    first = params["body.weight"]
    optimizer.state[first]["ranks"] = torch.arange(7)
    optimizer.state[first]["history"] = [1, 2, {"a": 3.0}]
    new = wd.AdamS(list(copied(params).values()))
    new.load_state_dict(through_a_file(optimizer.state_dict()))
    state = new.state[new.param_groups[0]["params"][0]]
    assert torch.equal(state["ranks"], torch.arange(7))
    assert state["ranks"].dtype == torch.int64
    assert state["history"] == [1, 2, {"a": 3.0}]


@pytest.mark.parametrize("engine", ENGINES)
def test_entries_under_a_text_are_their_owners(engine):
    """Some libraries keep one entry for the whole model: optimizer.state["lookahead_step"]."""
    params = weights()
    optimizer = wd.AdamS(list(params.values()), engine=engine)
    optimizer.state["lookahead_step"] = 5
    optimizer.state["shared"] = {"norm": torch.ones(2)}
    step(optimizer, params, range(2))
    saved = through_a_file(optimizer.state_dict())
    new = wd.AdamS(list(copied(params).values()), engine=engine)
    new.load_state_dict(saved)
    step(new, dict(zip(SHAPES, new.param_groups[0]["params"], strict=True)), range(2, 3))
    assert new.state["lookahead_step"] == 5
    assert torch.equal(new.state["shared"]["norm"], torch.ones(2))
    assert copy.deepcopy(new).state["lookahead_step"] == 5


OWN_KEYS = {
    "no_weight_decay": True,
    "name": "backbone",
    "layer_id": 3,
    "lr_scale": 0.5,
    "weight_decay_scale": 0.1,
    "initial_weight_decay": 0.1,
    "base_momentum": 0.8,
    "fix_step": True,
    "lr_mult": 1.0,
    "group_name": "decay",
}


@pytest.mark.parametrize("key", OWN_KEYS)
@pytest.mark.parametrize("cls", [wd.AdamS, wd.SGDS, wd.AMSGradW])
def test_a_key_of_the_users_own_is_no_slip(cls, key):
    params = weights()
    optimizer = cls([{"params": list(params.values()), key: OWN_KEYS[key]}])
    step(optimizer, params, range(2))
    assert optimizer.param_groups[0][key] == OWN_KEYS[key]
    new = cls([{"params": list(copied(params).values()), key: OWN_KEYS[key]}])
    new.load_state_dict(through_a_file(optimizer.state_dict()))
    assert new.param_groups[0][key] == OWN_KEYS[key]


@pytest.mark.parametrize("slip", ["weight_decy", "weight_decays", "weightdecay"])
def test_a_slip_is_still_one(slip):
    with pytest.raises(ValueError, match="Did you mean 'weight_decay'"):
        wd.AdamS([{"params": list(weights().values()), slip: 0.1}])


CLASSES = sorted(
    {*(m.cls for m in METHODS), *(wd.catalog.OPTIMIZERS[name].cls for name in wd.available())},
    key=lambda cls: cls.__name__,
)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_a_class_takes_its_own_defaults(cls):
    """So do timm, Lightning's tuners and every tool that builds an optimizer anew for another model."""
    params, others = ({k: p for k, p in weights().items() if cls is not wd.Muon or p.dim() > 1} for _ in range(2))
    optimizer = cls(list(params.values()), lr=1e-2)
    again = cls(list(others.values()), **optimizer.defaults)
    groups = [
        {k: repr(v) for k, v in o.param_groups[0].items() if k not in ("params", "peak_lr")} for o in (optimizer, again)
    ]
    assert groups[0] == groups[1]
    step(optimizer, params, range(3))
    step(again, others, range(3))
    assert_close([p.detach() for p in others.values()], [p.detach() for p in params.values()], 0)
