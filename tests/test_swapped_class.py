"""The trap of the swapped class: AdamW's λ in AdamS takes 14 % of every weight in each step; it is said, once."""

import math
import os
import re
import subprocess
import sys
import warnings

import pytest
import torch
from drive import assert_close, drive, flat, gradients, joined, weights
from forked import output
from twins import TWINS, groups_of

import weightdecay as wd

ENGINES = ("reference", "foreach", "fused", "auto")
EVERY = (*ENGINES, pytest.param("compiled", marks=pytest.mark.slow))
ROOT = 7e-4  # √v̄: of a network with a million elements, a gradient of norm 0.7
STRENGTH, LR = 0.1, 1e-3  # what an AdamW user has


def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))


def run(optimizer, steps, root=ROOT, start=0):
    """Take steps with gradients of this root mean square; return what was warned of."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for t in range(start, start + steps):
            generator = torch.Generator().manual_seed(t)
            for group in optimizer.param_groups:
                for p in group["params"]:
                    p.grad = root * torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype)
            optimizer.step()
    return [str(warning.message) for warning in said if issubclass(warning.category, UserWarning)]


def numbers(text):
    return [float(x.replace(",", "")) for x in re.findall(r"(?<![\w.])\d[\d,]*\.?\d*(?:e-?\d+)?", text)]


def has(text, value, relative=0.35):
    return any(x and abs(math.log(x / value)) <= math.log1p(relative) for x in numbers(text))


@pytest.mark.parametrize("engine", EVERY)
def test_it_is_said_once_with_what_helps(engine):
    optimizer = wd.AdamS(model().parameters(), lr=LR, weight_decay=STRENGTH, engine=engine)
    said = run(optimizer, 50)
    assert len(said) == 1, said
    pull = LR * STRENGTH / ROOT  # 14 %
    percent = [float(x) for x in re.findall(r"(\d+(?:\.\d+)?)\s?%", said[0])]
    assert any(abs(x - 100 * pull) < 4 for x in percent), said[0]
    assert has(said[0], math.log(0.5) / math.log1p(-pull)), f"no half-life of 4.5 steps in: {said[0]}"
    assert has(said[0], STRENGTH * ROOT), f"no λ√v̄ = {STRENGTH * ROOT:g} in: {said[0]}"
    assert "AdamW" in said[0]
    assert "weight_decay" in said[0]


@pytest.mark.parametrize("engine", ENGINES)
def test_it_is_not_said_again_after_a_checkpoint(engine):
    optimizer = wd.AdamS(model().parameters(), lr=LR, weight_decay=STRENGTH, engine=engine)
    assert len(run(optimizer, 30)) == 1
    optimizer.load_state_dict(optimizer.state_dict())
    assert run(optimizer, 30, start=30) == []


@pytest.mark.parametrize("engine", ENGINES)
def test_an_ordinary_pull_is_no_reason(engine):
    optimizer = wd.AdamS(model().parameters(), lr=LR, weight_decay=5e-4, engine=engine)
    assert run(optimizer, 50) == []


@pytest.mark.parametrize("engine", ENGINES)
def test_a_single_large_pull_is_no_reason(engine):
    """One quiet batch, with β₂ = 0 seen in one step only; the pull before and after is small."""
    optimizer = wd.AdamS(model().parameters(), lr=LR, betas=(0.9, 0.0), weight_decay=5e-4, engine=engine)
    said = run(optimizer, 20, root=1e-2)
    said += run(optimizer, 1, root=3e-6, start=20)
    said += run(optimizer, 20, root=1e-2, start=21)
    assert said == []


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("decay", [wd.L2(), wd.Decoupled()], ids=repr)
def test_no_pull_no_warning(decay, engine):
    """AdamW itself at its own λ, and L2, which never pulls."""
    optimizer = wd.Adam(model().parameters(), lr=LR, weight_decay=STRENGTH, decay=decay, engine=engine)
    assert run(optimizer, 50) == []


def test_a_warm_up_that_ends_in_it_is_said_when_it_comes():
    optimizer = wd.AdamS(model().parameters(), lr=LR / 100, weight_decay=STRENGTH)
    assert run(optimizer, 20) == []
    for group in optimizer.param_groups:
        group["lr"] = LR
    assert len(run(optimizer, 20, start=20)) == 1


# ---------------------------------------------------------------- what an attached handle reports, own ones report


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("decay", [wd.Stable(), wd.Decoupled(), wd.Stable(power=0.25)], ids=repr)
@pytest.mark.parametrize("name", ["AdamW", "SGD momentum", "RAdam"])
def test_pulls_and_mean_square_are_those_of_the_handle(name, decay, engine):
    theirs, ours, options, implementation = TWINS[name]
    a, b = weights(), weights()
    attached = theirs(groups_of(a, options, 0.01), weight_decay=0.01, **options, **implementation)
    handle = wd.attach(attached, decay)
    settings = {**options, "weight_decay": 0.01, "decay": decay}
    try:
        optimizer = ours(groups_of(b, options, 0.01), engine=engine, **settings)
    except ValueError as error:
        assert 'Use engine="' in str(error)  # noqa: PT017 - refusals are another test's
        return
    for step in gradients(12, missing=False):
        drive(attached, a, [step])
        drive(optimizer, b, [step])
        assert isinstance(optimizer.pulls, list)
        assert all(type(pull) is float for pull in optimizer.pulls)
        assert optimizer.pulls == pytest.approx(handle.pulls, rel=1e-12, abs=0)
        assert optimizer.mean_square == (
            None if handle.mean_square is None else pytest.approx(handle.mean_square, rel=1e-12)
        )
    assert_close(flat(b), flat(a))


@pytest.mark.parametrize("engine", ENGINES)
def test_before_the_first_step_there_is_nothing_to_report(engine):
    optimizer = wd.AdamS(joined(weights()), engine=engine)
    assert optimizer.mean_square is None
    assert optimizer.pulls in ([], [0.0])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_group_without_gradients_pulls_nothing(engine):
    params = weights()
    optimizer = wd.AdamS([{"params": params[0]}, {"params": params[1]}], weight_decay=0.01, engine=engine)
    for p in params[0]:
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert optimizer.pulls[0] > 0
    assert optimizer.pulls[1] == 0
    optimizer.zero_grad()
    assert optimizer.mean_square == pytest.approx(1.0, rel=1e-12)


# ---------------------------------------------------------------- what is there after one import

ROOMS = ("monitor", "theory", "transfer", "spectrum", "decay", "optim", "engine")


def test_every_room_is_there_after_import_weightdecay():
    """Each asked for first: in a fork of a process that has only the package."""
    program = f"""
import os, torch, weightdecay
for room in {ROOMS!r}:
    child = os.fork()
    if child == 0:
        there = getattr(weightdecay, room).__name__ == f"weightdecay.{{room}}" and room in dir(weightdecay)
        os._exit(0 if there else 1)
    print(room, os.waitpid(child, 0)[1])
"""
    if os.name != "posix":
        pytest.skip("there is no fork")
    assert output(program).split() == [word for room in ROOMS for word in (room, "0")]


def test_import_weightdecay_alone_imports_no_torch():
    program = "import sys, weightdecay; dir(weightdecay); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "False", done.stderr[-500:]
