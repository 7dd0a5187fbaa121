"""The gain that attach() takes for an optimizer is by how much its update multiplies a gradient that stays the same."""

import copy
import warnings

import pytest
import torch
from peers import PACKAGES, SPECIAL, classes

import weightdecay as wd
from weightdecay import attach
from weightdecay.attaching.gains import KNOWN

STRENGTH = 1e-9  # the pull itself moves nothing that is measured
STEPS = 60
FILLED = {  # momenta whose buffers are full after so many steps
    "AdEMAMix": {"betas": (0.9, 0.999, 0.9), "alpha": 3.0},
    "NAdam": {"betas": (0.8, 0.999)},
    "SGD": {"momentum": 0.8},
    "SGDW": {"momentum": 0.8},
    "RMSprop": {"momentum": 0.5},
    "StableAdamW": {},
}
SKIPPED = {"DeMo": "is distributed", "AdamMini": "is built from a model: below"}
NAMES = {
    "torch.optim": ["Adam", "AdamW", "NAdam", "RAdam", "RMSprop", "SGD"],
    "timm.optim": ["AdamWLegacy", "Adopt", "LaProp", "NAdamW", "SGDW"],
    "pytorch_optimizer": ["ADOPT", "AdEMAMix", "LaProp", "RAdam", "StableAdamW"],
    "optimi": ["Adam", "AdamW", "RAdam", "SGD", "StableAdamW"],
    "heavyball": ["ADOPT", "AdamW", "LaProp"],
}
"""Those that must be there and known, of every package."""


def of(module):
    there = pytest.importorskip(module, reason=f"{module} comes with weightdecay[peers]")
    if module == "heavyball":
        there.utils.compile_mode = None
        return {name: getattr(there, name) for name in NAMES[module]}
    kinds = classes(module)
    assert set(NAMES[module]) <= set(kinds)
    known = {n: k for n, k in kinds.items() if any(c.__name__ in KNOWN for c in k.__mro__) and n not in SKIPPED}
    # What a package takes over from torch is torch's.
    return {n: k for n, k in known.items() if module == "torch.optim" or not k.__module__.startswith("torch.")}


def build(module, kind, weight, **more):
    options = {"lr": 1e-3, **SPECIAL.get(kind.__name__, {}), **FILLED.get(kind.__name__, {}), **more}
    if module == "optimi":
        options.update(triton=False, foreach=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind([weight], **options)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("module", [*(m for m in PACKAGES if m in NAMES), "heavyball"])
def test_the_update_multiplies_a_constant_gradient_by_the_gain(module):
    wrong = []
    for name, kind in of(module).items():
        weight = torch.nn.Parameter(torch.full((6, 4), 2.0))
        optimizer = build(module, kind, weight)
        handle = attach(optimizer, wd.Stable(), weight_decay=STRENGTH, check=False)
        sign = 1 - 2 * (torch.arange(24).view(6, 4) % 2)
        for _ in range(STEPS):
            weight.grad = 0.25 * sign
            before = weight.detach().double()
            optimizer.step()
        lr = optimizer.param_groups[0]["lr"]
        moved = ((before - weight.detach().double()) * sign).mean().item()
        gain, taken = moved / lr / 0.25, handle.pulls[0] / lr / STRENGTH
        if taken != pytest.approx(gain, rel=0.01):
            wrong.append((name, gain, taken))
    assert not wrong


WITNESSES = {
    ("torch.optim", "RMSprop"): ("square_avg", "after", None),
    ("timm.optim", "Adopt"): ("exp_avg_sq", "before", None),
    ("pytorch_optimizer", "ADOPT"): ("exp_avg_sq", "before", None),
    ("timm.optim", "LaProp"): ("exp_avg_sq", "after", 0.999),
    ("pytorch_optimizer", "LaProp"): ("exp_avg_sq", "after", 0.999),
    ("pytorch_optimizer", "StableAdamW"): ("exp_avg_sq", "after", None),
    ("optimi", "AdamW"): ("exp_avg_sq", "after", None),
    ("optimi", "RAdam"): ("exp_avg_sq", "after", None),
}
"""Where an optimizer holds v, before or after its step, and β₂ where v̂ is to be made of it."""


@pytest.mark.parametrize(("module", "name"), WITNESSES)
def test_the_mean_is_that_of_its_own_v(module, name):
    """With gradients of changing size, and, where v can be seen, with moments that somebody halves."""
    key, when, beta2 = WITNESSES[module, name]
    pytest.importorskip(module, reason=f"{module} comes with weightdecay[peers]")
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(6, 4, dtype=torch.float64))
    optimizer = build(module, classes(module)[name], weight, **({"betas": (0.9, 0.999)} if beta2 else {}))
    handle = attach(optimizer, wd.Stable(), weight_decay=STRENGTH, check=False)
    seen = 0.0
    for t in range(1, 9):
        if t == 5 and module != "optimi" and name != "StableAdamW":
            optimizer.state[weight][key].mul_(0.5)
            seen *= 0.5
        weight.grad = t * torch.randn(6, 4, dtype=torch.float64)
        optimizer.step()
        now = optimizer.state[weight][key].mean().item() / (1 - beta2**t if beta2 else 1)
        assert handle.mean_square == pytest.approx(seen if when == "before" else now, rel=1e-12)
        seen = now


def test_adam_mini_has_the_mean_of_its_blocks():
    there = pytest.importorskip("pytorch_optimizer", reason="it comes with weightdecay[peers]")
    torch.manual_seed(0)
    model = torch.nn.Linear(6, 4).double()
    ends = []
    for optimizer in (there.AdamMini(model, lr=1e-3), torch.optim.AdamW(model.parameters(), lr=1e-3)):
        handle = attach(optimizer, wd.Stable(), weight_decay=STRENGTH, check=False)
        for t in range(4):
            generator = torch.Generator().manual_seed(t)
            for p in model.parameters():
                p.grad = torch.randn(p.shape, generator=generator, dtype=torch.float64)
            optimizer.step()
        ends.append((handle.mean_square, handle.pulls[0]))
        handle.remove()
    assert ends[0] == pytest.approx(ends[1], rel=1e-12)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"centered": True}, r"centered=True in group 0: .* the variance of the gradients does not follow"),
        ({"momentum": 0.5}, None),
    ],
)
def test_an_rmsprop_that_divides_by_another_number_is_refused(options, match):
    optimizer = torch.optim.RMSprop([torch.nn.Parameter(torch.ones(2))], weight_decay=0.1, **options)
    if match is None:
        assert attach(optimizer, wd.Stable()).optimizer is optimizer
    else:
        with pytest.raises(ValueError, match=match):
            attach(optimizer, wd.Stable())


@pytest.mark.parametrize("name", ["RMSprop", "Adopt"])
def test_a_run_goes_on_from_its_checkpoint_and_from_that_of_the_plain_optimizer(name):
    """S is in the checkpoint, and in v."""
    module = "torch.optim" if name == "RMSprop" else "timm.optim"
    pytest.importorskip(module, reason=f"{module} comes with weightdecay[peers]")
    kind = classes(module)[name]

    def start(state=None, attached=True, weight=None):
        weight = torch.nn.Parameter(torch.ones(3, 2, dtype=torch.float64) if weight is None else weight.clone())
        optimizer = build(module, kind, weight)
        handle = attach(optimizer, wd.Stable(), weight_decay=1.0) if attached else None
        if state is not None:
            optimizer.load_state_dict(copy.deepcopy(state))  # which torch goes on to write into
        return weight, optimizer, handle

    def go(weight, optimizer, steps):
        for t in steps:
            weight.grad = torch.linspace(-1, 2, 6, dtype=torch.float64).view(3, 2) * (1 + t)
            optimizer.step()

    weight, optimizer, handle = start()
    go(weight, optimizer, range(5))
    state, middle = copy.deepcopy(optimizer.state_dict()), weight.detach().clone()
    bare = {**state, "param_groups": [{k: v for k, v in g.items() if k != "attached"} for g in state["param_groups"]]}
    go(weight, optimizer, range(5, 9))
    for saved in (state, bare):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the plain one is said to be of another decay
            other, second, again = start(saved, weight=middle)
        go(other, second, range(5, 9))
        assert again.mean_square == pytest.approx(handle.mean_square, rel=1e-12)
        assert torch.allclose(other, weight, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ["RMSprop", "Adopt"])
def test_attached_in_mid_run_the_mean_goes_on_from_v(name):
    module = "torch.optim" if name == "RMSprop" else "timm.optim"
    pytest.importorskip(module, reason=f"{module} comes with weightdecay[peers]")
    means = []
    for late in (False, True):
        weight = torch.nn.Parameter(torch.ones(3, 2, dtype=torch.float64))
        optimizer = build(module, classes(module)[name], weight)
        handle = None if late else attach(optimizer, wd.Stable(), weight_decay=STRENGTH)
        for t in range(6):
            if late and t == 3:
                handle = attach(optimizer, wd.Stable(), weight_decay=STRENGTH)
            weight.grad = torch.linspace(-1, 2, 6, dtype=torch.float64).view(3, 2) * (1 + t)
            optimizer.step()
        means.append(handle.mean_square)
    assert means[0] == pytest.approx(means[1], rel=1e-12)
