"""An optimizer with a decay attached is edited in mid-run, and walks on as AdamS by its definition does."""

import copy
import pickle

import numpy as np
import pytest
import torch
from drive import assert_close
from edits import EDITS, GRADIENTS, STEPS, drive, flat, tensors, weights

import weightdecay as wd
from weightdecay.attaching import Handle
from weightdecay.engine.mean_square import Norms

ADAM = {"lr": 1e-2, "betas": (0.8, 0.99)}
OURS_ONLY = (
    # what only our own optimizers have
    *("maximize", "decay", "decay by the mean", "decay by element", "decay into the gradient", "clipping set"),
    *("clipping off", "nonfinite set", "momentum", "momentum off and on"),
    # torch's classes fail there by themselves, or step otherwise than ours with the decay off
    *("betas mutated in place", "lr a tensor", "lr a tensor, filled", "gradients of another type"),
)


WRONG_IN_FUSED = ("channels-last", "transposed", "layout", "expanded")
"""torch's own fused AdamW walks through memory without a look at the strides of weight, gradient and moments."""
CASES = [
    (edit, fused)
    for edit in [*EDITS, *GRADIENTS]
    for fused in (True, False)
    if edit not in OURS_ONLY and not (fused and any(word in edit for word in WRONG_IN_FUSED))
]


def groups(params, strength=0.05):
    second = {"params": params[1], "lr": 3e-3, "weight_decay": 2 * strength, "betas": (0.7, 0.95)}
    return [{"params": params[0]}, second]


def attached(params, cls=torch.optim.AdamW, **more):
    optimizer = cls(groups(params), weight_decay=0.05, **ADAM, **more)
    return optimizer, wd.attach(optimizer, wd.Stable())


def reference(params):
    return wd.AdamS(groups(params), weight_decay=0.05, engine="reference", **ADAM)


def ends(optimizer):
    return [p.detach().clone() for p in tensors(optimizer)]


def walked(build, edit):
    optimizer = build(weights())
    optimizer = optimizer[0] if isinstance(optimizer, tuple) else optimizer
    try:
        drive(optimizer, range(STEPS), EDITS.get(edit), GRADIENTS.get(edit))
    except Exception as error:
        return error
    return ends(optimizer)


@pytest.mark.parametrize(("edit", "fused"), CASES)
@pytest.mark.filterwarnings("ignore:the checkpoint was written with:UserWarning")
def test_an_attached_decay_sees_the_edit_as_the_definition_does(edit, fused):
    plain = walked(lambda p: torch.optim.AdamW(groups(p), weight_decay=0.05, fused=fused, **ADAM), edit)
    ours = walked(lambda p: attached(p, fused=fused), edit)
    if isinstance(plain, Exception):  # torch's class itself cannot go on
        assert type(ours) is type(plain), ours
        return
    assert not isinstance(ours, Exception), repr(ours)
    assert_close(ours, walked(reference, edit))


@pytest.mark.parametrize("cls", [torch.optim.Adam, torch.optim.RAdam])
@pytest.mark.parametrize("edit", ["state cleared", "moments zeroed in place", "pruned", "replaced, moments zeroed"])
def test_the_mean_is_over_the_moments_that_are_there(cls, edit):
    """Whatever was done before, v̄ of the last step is the mean of v̂ over the optimizer's own state."""
    optimizer, handle = attached(weights(), cls)
    drive(optimizer, range(STEPS), EDITS[edit])
    states = [(optimizer.state[p], group["betas"][1]) for group in optimizer.param_groups for p in group["params"]]
    corrected = [(s["exp_avg_sq"] / (1 - beta2 ** s["step"].item())).flatten() for s, beta2 in states]
    assert handle.mean_square == pytest.approx(torch.cat(corrected).mean().item(), rel=1e-12)


@pytest.mark.parametrize("edits", [1, 2, 3])
@pytest.mark.parametrize("fused", [True, False])
def test_an_edit_is_seen_although_the_optimizer_writes_less_often_from_then_on(fused, edits):
    """How often a step writes to v is taken from one tensor of a group; an edit of another must not make up for it."""
    optimizer, handle = attached(weights(), fused=not fused, foreach=False)
    drive(optimizer, range(4))
    for group in optimizer.param_groups:
        group["fused"] = fused
    drive(optimizer, range(4, 5))
    param = optimizer.param_groups[0]["params"][1]
    for _ in range(edits):
        optimizer.state[param]["exp_avg_sq"].mul_(4)
    drive(optimizer, range(5, 6))
    states = [
        (optimizer.state[p], group["betas"][1])
        for group in optimizer.param_groups
        for p in group["params"]
        if p.grad is not None
    ]
    corrected = [(s["exp_avg_sq"] / (1 - beta2 ** s["step"].item())).flatten() for s, beta2 in states]
    assert handle.mean_square == pytest.approx(torch.cat(corrected).mean().item(), rel=1e-12)


@pytest.mark.parametrize("shape", [(8,), (4, 2), (2, 2, 2), (8, 1)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("which", [slice(0, 1), slice(0, 4), slice(0, 6)], ids=["one", "those alike", "all"])
def test_norms_are_right_whatever_became_of_the_gradients(which, dtype, shape):
    """Other shapes of as many elements, and other types, which nobody has told."""
    norms, cpu = Norms(), torch.device("cpu")
    grads = [torch.arange(8.0).reshape(2, 4) + i for i in range(4)] + [torch.ones(8) * i for i in range(2)]
    norms.squares(grads, cpu, 1)
    grads[which] = [grad.reshape(shape).to(dtype) for grad in grads[which]]
    expected = [grad.double().square().sum().item() for grad in grads]
    assert norms.squares(grads, cpu, 1).tolist() == pytest.approx(expected, rel=1e-12)


# ---------------------------------------------------------------- copies


COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda o: pickle.loads(pickle.dumps(o))}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("cls", [torch.optim.AdamW, torch.optim.RAdam, torch.optim.SGD])
@pytest.mark.parametrize("after", [0, 4])
def test_a_copy_has_the_decay_and_goes_its_own_way(cls, how, after):
    def build():
        if cls is not torch.optim.SGD:
            return attached(weights(), cls)[0]
        optimizer = cls(flat(weights()), lr=0.01, momentum=0.9, weight_decay=0.1)
        wd.attach(optimizer, wd.Stable())
        return optimizer

    optimizer, whole = build(), build()
    drive(optimizer, range(after))
    other = COPIES[how](optimizer)
    drive(optimizer, range(20, 23))
    drive(other, range(after, 8))
    drive(whole, range(8))
    assert all(torch.equal(a, b) for a, b in zip(ends(other), ends(whole), strict=True))
    mine, its = Handle.of(optimizer), Handle.of(other)
    assert mine is not its
    assert its.optimizer is other
    its.remove()
    assert Handle.of(other) is None
    assert len(optimizer._optimizer_step_pre_hooks) == 1
    with pytest.raises(ValueError, match="has a decay attached"):
        wd.attach(optimizer, wd.Stable())


def test_a_handle_that_is_copied_beside_its_optimizer_stays_with_it():
    pair = copy.deepcopy(attached(weights()))
    assert Handle.of(pair[0]) is pair[1]


# ---------------------------------------------------------------- which groups decay


@pytest.mark.parametrize(
    ("there", "after"),
    [((0.05, 0.0), (5e-4, 0.0)), ((0.0, 0.0), (5e-4, 5e-4)), ((0.1, 0.2), (5e-4, 5e-4)), ((0, 1), (0, 5e-4))],
)
def test_groups_that_do_not_decay_beside_others_stay_so(there, after):
    params = weights()
    optimizer = torch.optim.AdamW([{"params": p, "weight_decay": s} for p, s in zip(params, there, strict=True)])
    wd.attach(optimizer, wd.Stable(), weight_decay=5e-4)
    assert tuple(group["weight_decay"] for group in optimizer.param_groups) == after


# ---------------------------------------------------------------- numbers of any kind


@pytest.mark.parametrize("key", ["lr", "weight_decay"])
@pytest.mark.parametrize(
    "kind",
    [np.float32, np.float64, lambda x: torch.tensor([x]), torch.tensor, int],
    ids=["float32", "float64", "one element", "no dimensions", "int"],
)
@pytest.mark.parametrize("fused", [True, False])
def test_a_scheduler_may_write_any_number(key, kind, fused):
    a, b = attached(weights(), fused=fused)[0], attached(weights(), fused=fused)[0]
    drive(a, range(3))
    drive(b, range(3))
    value = kind(2.0**-6)
    for group in a.param_groups:
        group[key] = value
    for group in b.param_groups:
        group[key] = float(value)
    try:
        drive(a, range(3, 6))
    except (TypeError, ValueError, RuntimeError) as error:
        plain = torch.optim.AdamW(flat(weights()), fused=fused)
        plain.param_groups[0][key] = value
        with pytest.raises(type(error)):  # torch's own class cannot take it either
            drive(plain, range(2))
        return
    drive(b, range(3, 6))
    assert_close(ends(a), ends(b), 1e-7)  # torch multiplies by a float32 in float32
    assert a.param_groups[0][key] is value
