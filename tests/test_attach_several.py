"""Several optimizers that train one model, with one decay: one mean of v, whichever of them steps first."""

import copy
import io
import pickle

import pytest
import torch
from drive import assert_close, drive, flat, gradients, joined, schedule, set_gradients, weights
from twins import ADAM, STEPS

import weightdecay as wd
from weightdecay import attach
from weightdecay.attaching import Handle
from weightdecay.optim.sharding import Spread

STRENGTH = 1.0


def adamws(params, **options):
    """One torch.optim.AdamW for each of the two groups, the second with another lr and λ."""
    first = torch.optim.AdamW(params[0], weight_decay=STRENGTH, **{**ADAM, **options})
    second = torch.optim.AdamW(params[1], weight_decay=3 * STRENGTH, **{**ADAM, "lr": 0.3 * ADAM["lr"], **options})
    return [first, second]


def one(params, decay="stable"):
    groups = [{"params": params[0]}, {"params": params[1], "lr": 0.3 * ADAM["lr"], "weight_decay": 3 * STRENGTH}]
    return wd.Adam(groups, **ADAM, weight_decay=STRENGTH, decay=decay, engine="reference")


def run_of(optimizers, params, run, order=(0, 1), start=0):
    for t, step in enumerate(run, start):
        set_gradients(params, step)
        for i in order:
            optimizers[i].param_groups[0]["lr"] = RATES[i][t]
            optimizers[i].step()


RATES = [schedule(STEPS, ADAM["lr"]), schedule(STEPS, 0.3 * ADAM["lr"])]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("decay", ["stable", "cautious(stable)"])
def test_equals_one_optimizer_over_all(decay, order):
    """Late joiners, missing gradients, a schedule; copies, a pickle and checkpoints in mid-run."""
    a, b = weights(), weights()
    two, mine = adamws(a), one(b, decay)
    handles = attach(two, decay)
    run, half = gradients(STEPS), STEPS // 2
    run_of(two, a, run[:half], order)
    drive(mine, b, run, RATES)
    copied = copy.deepcopy((a, two))
    pickled = pickle.loads(pickle.dumps((a, two)))
    c = copy.deepcopy(a)
    loaded = adamws(c)
    attach(loaded, decay)
    for new, old in zip(loaded, two, strict=True):
        file = io.BytesIO()
        torch.save(old.state_dict(), file)
        file.seek(0)
        new.load_state_dict(torch.load(file, weights_only=True))
    for params, optimizers in ((a, two), copied, pickled, (c, loaded)):
        run_of(optimizers, params, run[half:], order, half)
        assert_close(flat(params), flat(b))
        assert Handle.of(optimizers[0]).mean_square == pytest.approx(handles.mean_square, rel=1e-12)
    assert handles.mean_square == handles[0].mean_square == handles[1].mean_square
    assert handles.pulls == [*handles[0].pulls, *handles[1].pulls]
    assert len(handles) == 2
    assert [handle.optimizer for handle in handles] == two


def test_an_optimizer_whose_decay_does_not_read_the_mean_is_not_in_it():
    """Muon for the matrices with a decay of its own, AdamW for the rest: v̄ is that of AdamW alone."""
    a, b = weights(), weights()
    matrices, rest = [p for p in joined(a) if p.ndim == 2], [p for p in joined(a) if p.ndim != 2]
    muon = torch.optim.Muon(matrices, lr=0.02, weight_decay=0.1)
    adamw = torch.optim.AdamW(rest, **ADAM, weight_decay=STRENGTH)
    handles = attach([muon, adamw], ["corrected", "stable"], peak_lr=[0.02, None])
    alone = torch.optim.AdamW([p for p in joined(b) if p.ndim != 2], **ADAM, weight_decay=STRENGTH)
    handle = attach(alone, "stable")
    for step in gradients(6):
        set_gradients(a, step)
        set_gradients(b, step)
        for optimizer in (muon, adamw, alone):
            optimizer.step()
        assert handles.mean_square == handles[1].mean_square == handle.mean_square
    assert handles[0].mean_square is None
    assert handles.peak_lrs == [0.02, ADAM["lr"]]
    assert_close(flat([[p for p in joined(a) if p.ndim != 2]]), flat([[p for p in joined(b) if p.ndim != 2]]))


def test_a_model_is_reduced_over_once_a_round(monkeypatch):
    a = weights()
    two, calls = adamws(a), []
    attach(two, "stable")
    monkeypatch.setattr(Spread, "alone", False)
    monkeypatch.setattr(Spread, "sum", lambda self, values: calls.append(len(values)) or values)
    run_of(two, a, gradients(3))
    assert calls == [4, 4, 4]


def test_one_that_steps_twice_opens_a_round_each_time():
    """The other's gradients stay as they are: they are in both means, and in its own account once."""
    a = weights()
    two = adamws(a)
    handles = attach(two, "stable")
    step = gradients(1, missing=False)[0]
    set_gradients(a, step)
    two[0].step()
    first = handles.mean_square
    two[0].step()
    two[1].step()
    assert first == pytest.approx(handles.mean_square, rel=1e-12)  # v̂ of a gradient that stays is its square
    assert [t for _, t in handles[0].squares().values()] == [2.0, 2.0]
    assert [t for _, t in handles[1].squares().values()] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("change", ["written", "replaced", "one more", "moments"])
def test_gradients_that_change_in_a_round_are_refused(change):
    a = weights()
    two = adamws(a)
    attach(two, "stable")
    step = gradients(1, missing=False)[0]
    run_of(two, a, [step])
    set_gradients(a, step)
    if change == "one more":
        a[1][2].grad = None
    two[0].step()
    if change == "written":
        a[1][0].grad.mul_(0.5)
    elif change == "moments":
        two[1].state[a[1][0]]["exp_avg_sq"].mul_(2.0)
    elif change == "replaced":
        a[1][0].grad = a[1][0].grad.clone()
    else:
        a[1][2].grad = torch.ones_like(a[1][2])
    before = flat([a[1]])
    with pytest.raises(RuntimeError, match=r"or moments of AdamW have changed since another optimizer .* by itself"):
        two[1].step()
    assert_close(flat([a[1]]), before, 0)


def test_a_copy_of_one_alone_is_refused_in_its_first_step():
    a = weights()
    two = adamws(a)
    attach(two, "stable")
    params, alone = copy.deepcopy((a[0], two[0]))
    for p in params:
        p.grad = torch.ones_like(p)
    with pytest.raises(RuntimeError, match=r"shares one mean of v with 1 more, of which 0 were copied with it"):
        alone.step()
    Handle.of(alone).remove()
    attach(alone, "stable")
    alone.step()


def test_one_that_is_gone_is_missed():
    a = weights()
    two = adamws(a)
    handles = attach(two, "stable")
    set_gradients(a, gradients(1)[0])
    two.pop()
    with pytest.raises(RuntimeError, match=r"one of 2 optimizers that share one mean of v is gone"):
        two[0].step()
    handles.remove()
    attach(two[0], "stable")
    two[0].step()


def test_taken_off_from_one_the_mean_is_of_the_others():
    a, b = weights(), weights()
    two, alone = adamws(a), adamws(b)[0]
    handles, handle = attach(two, "stable"), attach(alone, "stable")
    handles[1].remove()
    for step in gradients(3):
        set_gradients(a, step)
        set_gradients(b, step)
        two[0].step()
        two[1].step()
        alone.step()
        assert handles[0].mean_square == handle.mean_square
    handles.remove()
    assert [Handle.of(optimizer) for optimizer in two] == [None, None]


def test_a_gradient_that_is_not_finite_stops_the_decay_of_all():
    a = weights()
    two = adamws(a)
    handles = attach(two, "stable")
    set_gradients(a, gradients(1, missing=False)[0])
    a[1][0].grad[0] = torch.inf
    start = flat([a[0]])
    plain = torch.optim.AdamW(copy.deepcopy(a[0]), **{**ADAM, "lr": ADAM["lr"]}, weight_decay=0)
    for p, q in zip(plain.param_groups[0]["params"], a[0], strict=True):
        p.grad = q.grad.clone()
    for optimizer in (*two, plain):
        optimizer.step()
    assert handles.skipped_steps == 2
    assert not torch.equal(flat([a[0]])[0], start[0])
    assert_close(flat([a[0]]), flat([plain.param_groups[0]["params"]]), 0)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda two: attach([], "stable"), ValueError, "at least one optimizer"),
        (lambda two: attach([two[0], two[0]], "stable"), ValueError, "listed twice"),
        (lambda two: attach(two, ["stable"]), ValueError, "decay has 1 entries for 2 optimizers"),
        (lambda two: attach([two[0], 3], "stable"), TypeError, "expected a torch.optim.Optimizer"),
        (lambda two: attach(two, "stable", peak_lr=[0.1, -1]), ValueError, "peak_lr"),
        (lambda two: attach(two, "stable", weight_decay=[0.5, -1]), ValueError, "weight_decay"),
    ],
)
def test_what_is_refused_leaves_all_as_they_were(make, error, match):
    two = adamws(weights())
    with pytest.raises(error, match=match):
        make(two)
    assert [Handle.of(optimizer) for optimizer in two] == [None, None]
    assert [optimizer.param_groups[0]["weight_decay"] for optimizer in two] == [STRENGTH, 3 * STRENGTH]
    assert [optimizer.defaults["weight_decay"] for optimizer in two] == [STRENGTH, 3 * STRENGTH]


def test_a_strength_for_each():
    two = adamws(weights())
    attach(two, wd.Decoupled(), weight_decay=[0.5, 0.25])
    assert [optimizer.param_groups[0]["weight_decay"] for optimizer in two] == [0.5, 0.25]
