"""The contract of a torch optimizer, for every method and decay."""

import copy
import io
import pickle

import pytest
import torch
from cases import METHODS, PAIRS
from drive import assert_close, drive, flat, gradients, joined, schedule, set_gradients, weights

import weightdecay as wd

STEPS = 12
"""A late joiner, missing gradients, one that stops for good, and every part of the schedule: see ``drive``."""


def build(method, params, case=None, **options):
    decay = {"decay": case.decay, "weight_decay": case.strength} if case else {"weight_decay": 0.01}
    groups = [{"params": params[0]}, {"params": params[1], "lr": 0.5 * method.lr}]
    return method.cls(groups, lr=method.lr, **{**decay, **options})


@pytest.mark.parametrize(("method", "case"), PAIRS, ids=str)
def test_gradients_are_never_written(method, case):
    params = weights()
    optimizer = build(method, params, case, maximize=True)
    for step in gradients(3, missing=False):
        set_gradients(params, step)
        kept = [(p.grad, p.grad.clone()) for p in joined(params)]
        optimizer.step()
        for p, (same, value) in zip(joined(params), kept, strict=True):
            assert p.grad is same
            assert torch.equal(p.grad, value)


@pytest.mark.parametrize(("method", "case"), PAIRS, ids=str)
def test_maximize_is_minimizing_the_negative(method, case):
    up, down = weights(), weights()
    run = gradients(STEPS)
    negative = [[[None if g is None else -g for g in group] for group in step] for step in run]
    drive(build(method, up, case, maximize=True), up, run)
    drive(build(method, down, case), down, negative)
    assert_close(flat(up), flat(down), 0)


@pytest.mark.parametrize(("method", "case"), PAIRS, ids=str)
def test_complex_weights_are_pairs_of_reals(method, case):
    z = torch.nn.Parameter(torch.randn(4, 3, dtype=torch.complex128))
    x = torch.nn.Parameter(torch.view_as_real(z.detach()).clone())
    a, b = (method.cls([p], lr=method.lr, weight_decay=case.strength, decay=case.decay) for p in (z, x))
    for _ in range(10):
        z.grad = torch.randn_like(z)
        x.grad = torch.view_as_real(z.grad).clone()
        a.step()
        b.step()
    assert_close([torch.view_as_real(z.detach())], [x.detach()], 0)


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_closure_is_called_once_with_gradients_on_and_its_loss_returned(method):
    p = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer, calls = method.cls([p], lr=method.lr), []

    def closure():
        optimizer.zero_grad()
        loss = p.square().sum()
        loss.backward()
        calls.append(loss.item())
        return loss

    assert optimizer.step(closure).item() == calls[0] == 3.0
    assert len(calls) == 1
    assert not torch.equal(p.detach(), torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize(("method", "case"), PAIRS, ids=str)
def test_tensor_lr_is_the_float_lr_and_is_followed(method, case):
    a, b = weights(), weights()
    lr = torch.tensor(method.lr, dtype=torch.float64)
    tensor = method.cls(joined(a), lr=lr, weight_decay=case.strength, decay=case.decay)
    number = method.cls(joined(b), lr=method.lr, weight_decay=case.strength, decay=case.decay)
    for t, step in enumerate(gradients(STEPS)):
        lr.fill_(method.lr / (1 + t))
        number.param_groups[0]["lr"] = method.lr / (1 + t)
        drive(tensor, a, [step])
        drive(number, b, [step])
    assert_close(flat(a), flat(b), 1e-12)


@pytest.mark.parametrize(
    "make",
    [
        lambda o: torch.optim.lr_scheduler.StepLR(o, 5, 0.1),
        lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [3, 9]),
        lambda o: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, 4, 2),
        lambda o: torch.optim.lr_scheduler.LinearLR(o, 0.1, 1.0, 5),
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, max_lr=0.01, total_steps=30, cycle_momentum=False),
        lambda o: torch.optim.lr_scheduler.SequentialLR(
            o, [torch.optim.lr_scheduler.ConstantLR(o, 0.5, 4), torch.optim.lr_scheduler.ExponentialLR(o, 0.9)], [4]
        ),
    ],
    ids=["step", "multistep", "restarts", "linear", "onecycle", "sequential"],
)
def test_schedulers_of_torch_drive_both_lr_and_decay(make):
    ours, theirs = weights(), weights()
    mine = wd.AdamW(joined(ours), lr=0.01, weight_decay=0.1)
    torchs = torch.optim.AdamW(joined(theirs), lr=0.01, weight_decay=0.1)
    schedulers = [make(mine), make(torchs)]
    for step in gradients(STEPS):
        drive(mine, ours, [step])
        drive(torchs, theirs, [step])
        for scheduler in schedulers:
            scheduler.step()
        assert mine.param_groups[0]["lr"] == torchs.param_groups[0]["lr"]
    assert mine.param_groups[0]["weight_decay"] == 0.1
    assert_close(flat(ours), flat(theirs))


def test_warmup_from_below_keeps_the_peak():
    """A scheduler lowers the lr when it is built; η_max stays what the constructor was given."""
    p = torch.nn.Parameter(torch.ones(2))
    optimizer = wd.SGD([p], lr=0.4, decay=wd.Independent(), weight_decay=0.01)
    torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, 1.0, 5)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.04)
    assert optimizer.param_groups[0]["peak_lr"] == 0.4


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_step_hooks_run_and_can_be_removed(method):
    p, seen = torch.nn.Parameter(torch.ones(2)), []
    optimizer = method.cls([p], lr=method.lr)
    handles = [
        optimizer.register_step_pre_hook(lambda *_: seen.append("before")),
        optimizer.register_step_post_hook(lambda *_: seen.append("after")),
    ]
    p.grad = torch.ones(2)
    optimizer.step()
    for handle in handles:
        handle.remove()
    optimizer.step()
    assert seen == ["before", "after"]


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_each_tensor_counts_its_own_steps(method):
    params = weights()
    optimizer = build(method, params)
    run = gradients(STEPS)
    drive(optimizer, params, run)
    for g, group in enumerate(params):
        for j, p in enumerate(group):
            assert optimizer.state[p]["step"].item() == sum(step[g][j] is not None for step in run)


@pytest.mark.parametrize(("method", "case"), PAIRS, ids=str)
def test_a_group_added_in_mid_training_is_as_one_that_had_no_gradient(method, case):
    early, late = weights(), weights()
    run = gradients(STEPS)
    for step in run[: STEPS // 2]:
        step[1] = [None, None, None]
    first = build(method, early, case)
    drive(first, early, run)
    second = method.cls([{"params": late[0]}], lr=method.lr, weight_decay=case.strength, decay=case.decay)
    drive(second, late, run[: STEPS // 2])
    second.add_param_group({"params": late[1], "lr": 0.5 * method.lr})
    drive(second, late, run[STEPS // 2 :])
    assert_close(flat(early), flat(late), 0)


def test_groups_with_their_own_decay():
    params, twin = weights(), weights()
    run = gradients(STEPS)
    mixed = wd.Adam(
        [
            {"params": params[0], "decay": wd.Stable(), "weight_decay": 1e-3},
            {"params": params[1], "decay": wd.Decoupled(), "weight_decay": 0.1},
        ]
    )
    drive(mixed, params, run)
    drive(wd.AdamS([{"params": twin[0]}, {"params": twin[1], "weight_decay": 0.0}], weight_decay=1e-3), twin, run)
    assert_close([p.detach() for p in params[0]], [p.detach() for p in twin[0]], 0)
    twin = weights()
    drive(wd.AdamW([{"params": twin[0]}, {"params": twin[1]}], weight_decay=0.1), twin, run)
    assert_close([p.detach() for p in params[1]], [p.detach() for p in twin[1]], 0)


# ---------------------------------------------------------------- checkpoints


def through_a_file(state_dict):
    file = io.BytesIO()
    torch.save(state_dict, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("method", "case"), PAIRS, ids=str)
def test_a_checkpoint_in_mid_run_resumes_bit_exactly(method, case, dtype):
    """Through a file with weights_only=True, into a fresh optimizer, with tensors that have not joined yet."""
    options = {"rounding": "stochastic"} if dtype == torch.bfloat16 else {}
    whole, half = weights(dtype), weights(dtype)
    run, lrs = gradients(STEPS), [schedule(STEPS, method.lr), schedule(STEPS, 0.5 * method.lr)]
    drive(build(method, whole, case, **options), whole, run, lrs)
    first = build(method, half, case, **options)
    drive(first, half, run[:4], lrs)
    saved = through_a_file(first.state_dict())
    second = build(method, half, case, **options)
    second.load_state_dict(saved)
    for p in joined(half):
        for slot, value in first.state[p].items():
            assert second.state[p][slot].dtype == value.dtype
            assert torch.equal(second.state[p][slot], value)
            assert second.state[p][slot] is not value
    drive(second, half, run[4:], lrs, start=4)
    assert_close(flat(half), flat(whole), 0)


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
@pytest.mark.parametrize("method", METHODS, ids=str)
def test_copies_walk_the_same_path(method, how):
    params = weights()
    model = torch.nn.ParameterList(joined(params))
    optimizer = method.cls(model.parameters(), lr=method.lr, weight_decay=0.01, decay=wd.Stable(), nonfinite="raise")
    run = gradients(STEPS)
    drive(optimizer, params, run[: STEPS // 2])
    pair = (model, optimizer)
    other, copied = copy.deepcopy(pair) if how == "deepcopy" else pickle.loads(pickle.dumps(pair))
    twin = list(other.parameters())
    twin = [twin[:2], twin[2:]]
    drive(optimizer, params, run[STEPS // 2 :])
    drive(copied, twin, run[STEPS // 2 :])
    assert_close(flat(params), flat(twin), 0)
    assert (copied.nonfinite, copied.engine, copied.skipped_steps) == ("raise", "auto", 0)
    assert copied.param_groups[0]["decay"] == wd.Stable()


def test_counters_travel_with_the_checkpoint():
    p = torch.nn.Parameter(torch.ones(2))
    optimizer = wd.AdamS([p])
    p.grad = torch.tensor([1.0, float("nan")])
    optimizer.step()
    assert optimizer.skipped_steps == 1
    other = wd.AdamS([p])
    other.load_state_dict(through_a_file(optimizer.state_dict()))
    assert other.skipped_steps == 1


def test_loading_checks_everything_before_it_changes_anything():
    params = weights()
    optimizer = wd.AdamS(joined(params))
    drive(optimizer, params, gradients(6))
    before = optimizer.state_dict()
    good = copy.deepcopy(before)

    def spoilt(change):
        bad = copy.deepcopy(good)
        change(bad)
        return bad

    other = wd.Yogi(joined(weights()))
    cases = {
        "holds the state of Yogi, this is Adam": other.state_dict(),
        "parameter groups of \\[4\\]": spoilt(lambda d: d["param_groups"][0]["params"].pop()),
        "betas\\[0\\]=nan": spoilt(lambda d: d["param_groups"][0].update(betas=(float("nan"), 0.9))),
        "has the shape \\(2,\\) in the checkpoint": spoilt(lambda d: d["state"][0].update(exp_avg=torch.zeros(2))),
        "written by another method": spoilt(lambda d: d["state"][0].pop("exp_avg_sq")),
    }
    for message, bad in cases.items():
        with pytest.raises(ValueError, match=message):
            optimizer.load_state_dict(bad)
        after = optimizer.state_dict()
        assert after["param_groups"] == before["param_groups"]
        assert all(torch.equal(after["state"][i][k], v) for i, s in before["state"].items() for k, v in s.items())


def test_strength_travels_only_with_the_decay_that_gives_it_its_meaning():
    p = torch.nn.Parameter(torch.ones(2))
    saved = wd.AdamW([p], weight_decay=0.5).state_dict()
    same, other = wd.AdamW([p], weight_decay=0.1), wd.AdamS([p], weight_decay=5e-4)
    same.load_state_dict(saved)
    assert same.param_groups[0]["weight_decay"] == 0.5
    with pytest.warns(
        UserWarning, match=r"written with decay=Decoupled\(\), weight_decay=0.5: .* keeps weight_decay=0.0005"
    ):
        other.load_state_dict(saved)
    assert other.param_groups[0]["weight_decay"] == 5e-4


def test_load_hooks_of_torch_run():
    p, seen = torch.nn.Parameter(torch.ones(2)), []
    optimizer = wd.AdamS([p])
    optimizer.register_load_state_dict_pre_hook(lambda o, d: seen.append("before"))
    optimizer.register_load_state_dict_post_hook(lambda o: seen.append("after"))
    optimizer.register_state_dict_post_hook(lambda o, d: seen.append("saved"))
    optimizer.load_state_dict(optimizer.state_dict())
    assert seen == ["saved", "before", "after"]


def test_our_checkpoint_continues_in_torch():
    ours, theirs = weights(), weights()
    run = gradients(STEPS)
    mine = wd.AdamW(joined(ours), weight_decay=0.1)
    drive(mine, ours, run[: STEPS // 2])
    with torch.no_grad():
        for p, q in zip(joined(theirs), joined(ours), strict=True):
            p.copy_(q)
    torchs = torch.optim.AdamW(joined(theirs), weight_decay=0.1)
    saved = copy.deepcopy(mine.state_dict())  # torch keeps the tensors it is given
    saved["param_groups"] = torchs.state_dict()["param_groups"]
    torchs.load_state_dict(saved)
    drive(mine, ours, run[STEPS // 2 :])
    drive(torchs, theirs, run[STEPS // 2 :])
    assert_close(flat(ours), flat(theirs))
