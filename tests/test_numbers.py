"""Whatever is a number is taken as one, everywhere and by every engine; what is none is refused where it is written."""

import io
import math

import numpy as np
import pytest
import torch
from drive import assert_close, flat, gradients, joined, weights
from drive import drive as take

import weightdecay as wd
from weightdecay import checks

ENGINES = ("reference", "foreach", "fused", "auto")
EVERY = (*ENGINES, pytest.param("compiled", marks=pytest.mark.slow))

KINDS = {
    "np.float64": np.float64,
    "np.float32": np.float32,
    "0-d array": lambda x: np.array(x),
    "0-d tensor": lambda x: torch.tensor(x, dtype=torch.float64),
    "float32 tensor": lambda x: torch.tensor(x, dtype=torch.float32),
    "tensor of one": lambda x: torch.tensor([x], dtype=torch.float64),
}
WHOLE = {"int": int, "np.int64": np.int64, "np.int32": np.int32, "an integer tensor": lambda x: torch.tensor(int(x))}
# Powers of two: the same number in float32, so that the paths are the same to the last digit.
VALUES = {
    "lr": (wd.AdamS, 2.0**-7, {}),
    "weight_decay": (wd.AdamS, 2.0**-4, {}),
    "eps": (wd.AdamS, 2.0**-20, {}),
    "peak_lr": (wd.Adam, 2.0**-5, {"decay": wd.Independent(), "weight_decay": 0.01}),
    "momentum": (wd.SGDS, 0.75, {}),
    "dampening": (wd.SGDS, 0.25, {"momentum": 0.75}),
    "max_grad_norm": (wd.AdamS, 2.0, {}),
    "power": (wd.AdamS, 0.25, {}),
    "partial": (wd.Padam, 0.25, {}),
    "final_lr": (wd.AdaBound, 0.5, {}),
}
OF_GROUPS = [name for name in VALUES if name not in ("max_grad_norm", "power")]


def few(step, engine):
    """One tensor of each group for the compiler, to which every tensor, and every set of them, takes seconds."""
    return [step[0][1:], step[1][:1]] if engine == "compiled" else step


def ends(cls, engine, options, group=None, dtype=torch.float64, edit=None):
    """Return the weights after a short run, and the optimizer; None where the engine refuses it."""
    params = few(weights(dtype), engine)
    groups = [{"params": params[0]}, {"params": params[1], **(group or {})}]
    try:
        optimizer = cls(groups, engine=engine, **options)
    except ValueError as error:
        if 'Use engine="' not in str(error):
            raise
        return None
    run = [few(step, engine) for step in gradients(6)]
    take(optimizer, params, run[:3])
    if edit:
        edit(optimizer)
    take(optimizer, params, run[3:])
    return flat(params), optimizer


def check(ours, theirs):
    if ours is None:
        assert theirs is None
        return
    assert_close(ours[0], theirs[0])
    buffer = io.BytesIO()
    torch.save(ours[1].state_dict(), buffer)
    buffer.seek(0)
    torch.load(buffer, weights_only=True)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", VALUES)
def test_a_number_of_any_kind_is_a_float_at_construction(name, kind, engine):
    cls, value, options = VALUES[name]
    ours = ends(cls, engine, {**options, name: KINDS[kind](value)})
    check(ours, ends(cls, engine, {**options, name: value}))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", OF_GROUPS)
def test_a_number_of_any_kind_is_a_float_in_a_group(name, kind, engine):
    cls, value, options = VALUES[name]
    ours = ends(cls, engine, options, {name: KINDS[kind](value)})
    check(ours, ends(cls, engine, options, {name: value}))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", OF_GROUPS)
def test_a_number_of_any_kind_is_a_float_in_mid_run(name, kind, engine):
    cls, value, options = VALUES[name]

    def write(x):
        def edit(optimizer):
            optimizer.param_groups[1][name] = x

        return edit

    ours = ends(cls, engine, options, edit=write(KINDS[kind](value)))
    check(ours, ends(cls, engine, options, edit=write(value)))


@pytest.mark.parametrize("engine", EVERY)
@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("name", ["lr", "weight_decay", "max_grad_norm", "eps", "peak_lr"])
def test_a_whole_number_is_a_float(name, kind, engine):
    cls, _, options = VALUES[name]
    if engine == "compiled" and (name, kind) != ("weight_decay", "int"):
        return
    ours = ends(cls, engine, {**options, name: WHOLE[kind](1)})
    check(ours, ends(cls, engine, {**options, name: 1.0}))


BETAS = {
    "a list": [0.75, 0.875],
    "an array": np.array([0.75, 0.875]),
    "a float32 array": np.array([0.75, 0.875], dtype=np.float32),
    "a tuple of np.float32": (np.float32(0.75), np.float32(0.875)),
    "a tensor": torch.tensor([0.75, 0.875], dtype=torch.float64),
    "a tuple of tensors": (torch.tensor(0.75), torch.tensor(0.875)),
    "tensors of one": (torch.tensor([0.75]), torch.tensor([0.875])),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("where", ["construction", "group", "mid-run"])
@pytest.mark.parametrize("kind", BETAS)
def test_betas_of_any_kind(kind, where, engine):
    def run(betas):
        if where == "construction":
            return ends(wd.AdamS, engine, {"betas": betas})
        if where == "group":
            return ends(wd.AdamS, engine, {}, {"betas": betas})
        return ends(wd.AdamS, engine, {}, edit=lambda o: o.param_groups[1].update(betas=betas))

    check(run(BETAS[kind]), run((0.75, 0.875)))


@pytest.mark.parametrize("kind", [int, np.int64, np.int32, np.uint8, torch.tensor], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_seed_of_any_kind_of_whole_number(kind, engine):
    def run(seed):
        return ends(wd.SGDS, engine, {"rounding": "stochastic", "seed": seed}, dtype=torch.bfloat16)

    ours, theirs = run(kind(3)), run(3)
    if theirs is not None:
        assert_close(ours[0], theirs[0], 0)
        check(ours, theirs)


# ---------------------------------------------------------------- schedulers


@pytest.mark.parametrize("engine", EVERY)
@pytest.mark.parametrize("cls", [wd.AdamS, wd.SGDS, wd.Yogi])
def test_a_table_of_float32_as_a_schedule(cls, engine):
    if engine == "compiled" and cls is not wd.AdamS:
        return  # a graph takes seconds
    table = np.array([1.0, 0.5, 0.25, 0.5, 0.125, 0.0625, 0.5], dtype=np.float32)
    runs = []
    for values in (table, table.tolist()):
        params, *run = (few(step, engine) for step in (weights(), *gradients(6)))
        try:
            optimizer = cls(joined(params), lr=2.0**-6, engine=engine)
        except ValueError as error:
            assert 'Use engine="' in str(error)  # noqa: PT017 - refusals are another test's
            return
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t, values=values: values[t])
        for step in run:
            take(optimizer, params, [step])
            scheduler.step()
        runs.append((flat(params), optimizer))
    check(*runs)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("cls", [wd.AdamS, wd.SGDS])
def test_one_cycle_with_its_momentum(cls, engine):
    """It writes β₁ (a tuple) or momentum in every step; the lr it starts from may be NumPy's."""
    runs = []
    for name in (engine, "reference"):
        params, run = weights(), gradients(6)
        optimizer = cls(joined(params), engine=name, **({"momentum": 0.9} if cls is wd.SGDS else {}))
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=np.float32(2.0**-6), total_steps=10)
        for step in run:
            take(optimizer, params, [step])
            scheduler.step()
        runs.append((flat(params), optimizer))
    check(*runs)


# ---------------------------------------------------------------- what is no number

NO_NUMBER = {
    "text": "0.1",
    "None": None,
    "a bool": True,
    "complex": 0.1 + 0j,
    "a vector": torch.full((2,), 0.1),
    "an array": np.full(2, 0.1),
    "a list": [0.1],
    "NaN": float("nan"),
    "np.nan": np.float32("nan"),
    "negative": -0.1,
    "negative tensor": torch.tensor(-0.1),
    "infinite": float("inf"),
    "an object": object(),
}
WRONG = (TypeError, ValueError)
CHECKED = {
    **{name: VALUES[name] for name in ("lr", "weight_decay", "eps", "momentum", "max_grad_norm")},
    "peak_lr": VALUES["peak_lr"],
}


def named(error, name, value, group):
    """The thing, the group, and the value: a number or the first letters of its repr."""
    text = str(error)
    shown = [repr(value), f"{value:g}" if isinstance(value, float) else repr(value)]
    if isinstance(value, (torch.Tensor, np.ndarray, np.generic)):
        one = value.reshape(-1).shape[0] == 1
        shown += [f"{float(value):g}"] if one else ["2 elements", "2 numbers", str(tuple(value.shape))]
    return name in text and (group in text or name == "max_grad_norm") and any(x in text for x in shown)


@pytest.mark.parametrize("kind", NO_NUMBER)
@pytest.mark.parametrize("name", CHECKED)
@pytest.mark.parametrize("where", ["construction", "group"])
def test_what_is_no_number_is_refused_at_construction(where, name, kind):
    cls, _, options = CHECKED[name]
    value = NO_NUMBER[kind]
    if value is None and name in ("peak_lr", "max_grad_norm"):
        return  # there None says: not given
    if where == "group" and name == "max_grad_norm":
        return  # one for the whole model
    groups = [{"params": params} for params in weights()]
    if where == "group":
        groups[1][name] = value
    else:
        options = {**options, name: value}
    with pytest.raises(WRONG) as raised:
        cls(groups, **options)
    assert named(raised.value, name, value, "group 1" if where == "group" else "group 0"), str(raised.value)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", NO_NUMBER)
@pytest.mark.parametrize("name", [name for name in CHECKED if name not in ("max_grad_norm", "peak_lr")])
def test_what_is_no_number_is_refused_by_the_next_step_before_anything_moves(name, kind, engine):
    cls, _, options = CHECKED[name]
    params, value = weights(), NO_NUMBER[kind]
    optimizer = cls([{"params": params[0]}, {"params": params[1]}], engine=engine, **options)
    run = gradients(4, missing=False)
    take(optimizer, params, run[:3])
    there = optimizer.param_groups[1][name]
    before = [flat(params), [{k: v.clone() for k, v in optimizer.state[p].items()} for p in joined(params)]]
    optimizer.param_groups[1][name] = value
    with pytest.raises(WRONG) as raised:
        take(optimizer, params, run[3:])
    assert named(raised.value, name, value, "group 1"), str(raised.value)
    assert_close(flat(params), before[0], 0)
    for p, state in zip(joined(params), before[1], strict=True):
        kept = {k: v for k, v in optimizer.state[p].items() if k in state}
        assert_close([kept[k] for k in state], list(state.values()), 0)
    optimizer.param_groups[1][name] = there
    take(optimizer, params, run[3:])
    other = weights()
    expected = cls([{"params": other[0]}, {"params": other[1]}], engine="reference", **options)
    take(expected, other, run)
    assert_close(flat(params), flat(other))


@pytest.mark.parametrize("betas", [(0.9,), 0.9, None, "99", (0.9, "x"), (0.9, 1.0), (0.9, None), (True, 0.9)], ids=str)
@pytest.mark.parametrize("engine", ENGINES)
def test_betas_that_are_none_are_refused(betas, engine):
    params = weights()
    with pytest.raises(WRONG, match=r"betas.* in group 0"):
        wd.AdamS(joined(params), betas=betas, engine=engine)
    optimizer = wd.AdamS(joined(params), engine=engine)
    take(optimizer, params, gradients(1))
    before = flat(params)
    optimizer.param_groups[0]["betas"] = betas
    with pytest.raises(WRONG, match=r"betas.* in group 0"):
        take(optimizer, params, gradients(1))
    assert_close(flat(params), before, 0)


@pytest.mark.parametrize("seed", [None, 1.5, "0", True, float("nan"), torch.tensor([1, 2]), -1], ids=str)
def test_a_seed_that_is_no_whole_number_is_refused(seed):
    with pytest.raises(WRONG, match="seed="):
        wd.AdamS([torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16))], rounding="stochastic", seed=seed)


@pytest.mark.parametrize("power", [None, "0.5", True, torch.ones(2), float("nan"), -0.5], ids=str)
def test_a_power_that_is_no_number_is_refused(power):
    with pytest.raises(WRONG, match="power"):
        wd.AdamS(joined(weights()), power=power)


@pytest.mark.parametrize("value", [-1, 1.0, True, "1", None, math.nan])
def test_a_setting_that_is_no_whole_number_of_at_least_the_least_is_refused(value):
    checks.whole_at_least("jobs", 0, 0, "")
    with pytest.raises(ValueError, match=rf"^jobs={value!r}: must be an integer of at least 0. Omit it.$"):
        checks.whole_at_least("jobs", value, 0, "Omit it.")


@pytest.mark.parametrize("value", [-0.5, True, "1", None, math.nan, math.inf])
def test_a_setting_that_is_no_finite_number_of_at_least_the_least_is_refused(value):
    checks.at_least("--hours", 0, 0, "")
    checks.at_least("--hours", 0.5, 0.5, "")
    with pytest.raises(ValueError, match=rf"^--hours {value}: must be a number of at least 0. A day is 24.$"):
        checks.at_least("--hours", value, 0, "A day is 24.")


@pytest.mark.parametrize("value", ["", 3, None])
def test_a_setting_that_is_no_text_is_refused(value):
    checks.some_text("memory", "1G", "")
    with pytest.raises(ValueError, match=rf"^memory={value!r}: must be a text. As in 16G.$"):
        checks.some_text("memory", value, "As in 16G.")
