"""What nobody needs any more is freed: gradients, replaced tensors, and the optimizer itself, without a collector."""

import copy
import gc
import weakref

import pytest
import torch
from cases import METHODS

import weightdecay as wd

ENGINES = ("reference", "foreach", "fused", "auto", "attached")
NAMED = (wd.AdamS, wd.AdamW, wd.AMSGradS, wd.AdaiS, wd.SGDS, wd.SGDW)
CLASSES = [*(m.cls for m in METHODS), *NAMED]


def weights(dtype=torch.float32, count=3):
    return [torch.nn.Parameter(torch.randn(8, 6).to(dtype)) for _ in range(count)]


def build(params, engine, cls=wd.AdamS, **options):
    """Return the optimizer and the handle; None where the engine refuses."""
    if engine == "attached":
        optimizer = torch.optim.AdamW(params, lr=1e-2, weight_decay=0.01)
        return optimizer, wd.attach(optimizer, wd.Stable())
    try:
        return cls(params, lr=1e-2, weight_decay=0.01, engine=engine, **options), None
    except ValueError as error:
        assert 'Use engine="' in str(error)  # noqa: PT017 - refusals are another test's
        return None


def step(optimizer, params, steps=2):
    for _ in range(steps):
        for p in params:
            p.grad = torch.randn_like(p)
        optimizer.step()


@pytest.fixture(autouse=True)
def _without_a_collector():
    """What waits for the collector of circles stays until it runs, gigabytes of it, in a notebook or a sweep."""
    gc.disable()
    yield
    gc.enable()


OPTIONS = {
    "float32": (torch.float32, {}),
    "float64": (torch.float64, {}),
    "bfloat16": (torch.bfloat16, {"rounding": "stochastic"}),
    "clipped": (torch.float32, {"max_grad_norm": 1.0}),
    "clipped bfloat16": (torch.bfloat16, {"max_grad_norm": 1.0, "rounding": "compensated"}),
    "uncoupled": (torch.float32, {"decay": wd.Decoupled()}),
    "looked ahead": (torch.float32, {"decay": wd.Stable(), "cls": wd.AMSGrad}),
    "coupled gradient": (torch.float32, {"decay": wd.L2()}),
    "maximize": (torch.float32, {"maximize": True}),
}


@pytest.mark.filterwarnings("ignore:group 0 holds bfloat16 weights:UserWarning")
@pytest.mark.parametrize("case", OPTIONS)
@pytest.mark.parametrize("engine", [*ENGINES, pytest.param("compiled", marks=pytest.mark.slow)])
def test_zero_grad_frees_the_gradients(engine, case):
    """One more copy of the model in memory, otherwise, in every forward pass."""
    dtype, options = OPTIONS[case]
    options = dict(options)
    if "decay" in options:
        options.setdefault("cls", wd.Adam)
    params = weights(dtype, count=1 if engine == "compiled" else 3)  # every tensor makes it longer to compile
    if (built := build(params, engine, **options)) is None:
        return
    optimizer, _handle = built
    step(optimizer, params)
    kept = [weakref.ref(p.grad) for p in params]
    memory = [weakref.ref(p.grad.untyped_storage()) for p in params]
    optimizer.zero_grad()
    assert sum(r() is not None for r in kept) == 0
    assert sum(r() is not None for r in memory) == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_a_gradient_that_is_replaced_is_freed(engine):
    params = weights()
    optimizer, _handle = build(params, engine)
    step(optimizer, params)
    before = [weakref.ref(p.grad) for p in params]
    for p in params:
        p.grad = None
        p.grad = torch.randn_like(p)
    assert sum(r() is not None for r in before) == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_replaced_tensors_are_freed_after_the_next_step(engine):
    params = weights()
    optimizer, _handle = build(list(params), engine)
    old, moments = [], []
    for _ in range(4):
        step(optimizer, params)
        for i, p in enumerate(params):
            state = optimizer.state.pop(p)
            new = torch.nn.Parameter(torch.cat([p.detach(), p.detach()[:2]]))
            for name in ("exp_avg", "exp_avg_sq"):
                moments.append(weakref.ref(state[name]))
                state[name] = torch.cat([state[name], state[name][:2]])
            old.append(weakref.ref(p))
            optimizer.state[new] = state
            params[i] = optimizer.param_groups[0]["params"][i] = new
        del p, new, state
        step(optimizer, params, 1)
    assert sum(r() is not None for r in old) == 0
    assert sum(r() is not None for r in moments) == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_a_group_that_is_removed_is_freed(engine):
    params, others = weights(), weights()
    optimizer, _handle = build([{"params": params}, {"params": others}], engine)
    step(optimizer, [*params, *others])
    gone = [weakref.ref(p) for p in others]
    group = optimizer.param_groups.pop()
    for p in others:
        optimizer.state.pop(p)
    del p, others, group
    step(optimizer, params, 1)
    assert sum(r() is not None for r in gone) == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_moments_that_are_reset_are_freed_after_the_next_step(engine):
    params = weights()
    optimizer, _handle = build(params, engine)
    step(optimizer, params)
    gone = [weakref.ref(optimizer.state[p]["exp_avg"]) for p in params]
    optimizer.state.clear()
    step(optimizer, params, 1)
    assert sum(r() is not None for r in gone) == 0


def nothing(optimizer, params):
    pass


def steps(optimizer, params):
    step(optimizer, params)


def saved(optimizer, params):
    step(optimizer, params)
    optimizer.state_dict()


def loaded(optimizer, params):
    step(optimizer, params)
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    step(optimizer, params)


def switched(optimizer, params):
    step(optimizer, params)
    if hasattr(optimizer, "engine"):
        optimizer.engine = "reference"
        optimizer.engine = "auto"
    step(optimizer, params)


LIVES = {f.__name__: f for f in (nothing, steps, saved, loaded, switched)}


@pytest.mark.parametrize("life", LIVES)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_an_optimizer_goes_when_its_last_name_goes(cls, engine, life):
    if engine == "attached" and cls is not CLASSES[0]:
        return
    params = weights()
    if (built := build(params, engine, cls)) is None:
        return
    optimizer, handle = built
    del built
    LIVES[life](optimizer, params)
    gone = [weakref.ref(optimizer), *map(weakref.ref, params)]
    for p in params:
        p.grad = None
    del optimizer, handle, params, p
    assert [r() is not None for r in gone] == [False] * len(gone)


def test_a_handle_that_is_let_go_leaves_the_decay_on():
    params = weights(torch.float64)
    optimizer, handle = build(params, "attached")
    gone = weakref.ref(optimizer)
    del handle
    step(optimizer, params)
    assert optimizer.param_groups[0]["weight_decay"] == 0.01
    assert len(optimizer._optimizer_step_pre_hooks) == 1
    del optimizer
    assert gone() is None
