"""A schedule of λ in checkpoints and copies: what goes on does so bit for bit."""

import copy
import gc
import json
import pickle
import weakref

import pytest
import torch
from drive import drive, flat, gradients, joined, weights
from scheduled import SHAPES, STEPS, adamw, built
from torch.optim.lr_scheduler import (
    LambdaLR,
)

from weightdecay.schedule import (
    HoldDrop,
    Scheduler,
)

# -------------------------------------------------------------------- checkpoints and copies

EVERY_KIND = {0: "warmup(3, follow(2) * plateau(0.5, patience=1))", 1: "budget(0.2, cosine)"}


def training(name, seed=0):
    """Everything that a checkpoint has: weights, optimizer, a scheduler of the lr, ours."""
    params = weights(seed=seed)
    optimizer = built(name, params)
    theirs = LambdaLR(optimizer, lambda t: min(1.0, (t + 1) / 3) * 0.9**t)
    return params, optimizer, theirs, Scheduler(optimizer, EVERY_KIND, total_steps=STEPS)


def go_on(trained, steps):
    params, optimizer, theirs, ours = trained
    for t in steps:
        drive(optimizer, params, [gradients(STEPS)[t]])
        ours.step(1.0 if t % 2 else None)
        theirs.step()
        yield [group["weight_decay"] for group in optimizer.param_groups]


@pytest.mark.parametrize("order", ["ours last", "ours first"])
@pytest.mark.parametrize("name", ["torch AdamW fused", "attached", "auto"])
def test_resumed_after_every_step_it_repeats_the_uninterrupted_run_bit_for_bit(name, order):
    whole = training(name)
    straight = list(go_on(whole, range(STEPS)))
    running = training(name)
    for t in range(STEPS):
        states = [each.state_dict() for each in running[1:]]
        saved = pickle.loads(pickle.dumps((flat(running[0]), states)))
        params, *others = again = training(name, seed=9)
        with torch.no_grad():
            for p, value in zip(joined(params), saved[0], strict=True):
                p.copy_(value)
        pairs = list(zip(others, saved[1], strict=True))
        for each, state in pairs if order == "ours last" else pairs[::-1]:
            each.load_state_dict(state)
        assert list(go_on(again, range(t, STEPS))) == straight[t:]
        assert all(torch.equal(a, b) for a, b in zip(flat(params), flat(whole[0]), strict=True))
        next(go_on(running, [t]))


def test_a_scheduler_that_is_built_after_the_optimizer_was_loaded_is_set_right_by_its_state(tmp_path):
    optimizer = adamw()
    scheduler = Scheduler(optimizer, HoldDrop(2, 0.0))
    for _ in range(3):
        optimizer.step()
        scheduler.step()
    torch.save({"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}, tmp_path / "run.pt")
    saved = torch.load(tmp_path / "run.pt", weights_only=True)
    again = adamw()
    again.load_state_dict(saved["optimizer"])
    late = Scheduler(again, HoldDrop(5, 0.5))  # sees λ = 0, which the shape had written
    assert late.get_last_value() == [0.0]
    saved["scheduler"]["shapes"] = late.state_dict()["shapes"]
    late.load_state_dict(json.loads(json.dumps(saved["scheduler"])))
    late.step()
    assert late.get_last_value() == [0.1]
    late.step()
    assert late.get_last_value() == [0.05]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
@pytest.mark.parametrize("name", ["torch AdamW", "attached", "auto"])
def test_a_copy_goes_on_by_itself(name, copied):
    params = weights()
    optimizer = built(name, params)
    scheduler = Scheduler(optimizer, SHAPES, total_steps=STEPS)
    run = gradients(STEPS)
    for step in run[:5]:
        drive(optimizer, params, [step])
        scheduler.step()
    before = repr(scheduler)
    other = copied(scheduler)
    theirs = [group["params"] for group in other.optimizer.param_groups]
    assert other.optimizer is not optimizer
    for step in run[5:]:
        drive(other.optimizer, theirs, [step], [[2e-3], [2e-3]])
        other.step()
    assert repr(scheduler) == before
    for step in run[5:]:
        drive(optimizer, params, [step], [[2e-3], [2e-3]])
        scheduler.step()
    assert all(torch.equal(a, b) for a, b in zip(flat(params), flat(theirs), strict=True))


def test_optimizer_and_scheduler_are_freed_with_their_last_names():
    optimizer = adamw()
    scheduler = Scheduler(optimizer, "follow")
    seen = [weakref.ref(optimizer), weakref.ref(scheduler)]
    gc.collect()
    gc.disable()
    try:
        del optimizer, scheduler
        assert [each() for each in seen] == [None, None]
    finally:
        gc.enable()


def test_a_checkpoint_of_another_length_or_shape_is_said():
    scheduler = Scheduler(adamw(), "cosine", total_steps=8)
    state = Scheduler(adamw(), "linear", total_steps=9).state_dict()
    with (
        pytest.warns(UserWarning, match="written with total_steps=9; this scheduler keeps 8"),
        pytest.warns(UserWarning, match=r"written with shapes=\['linear'\]; this scheduler keeps \['cosine'\]"),
    ):
        scheduler.load_state_dict(state)
    assert scheduler.total_steps == 8
