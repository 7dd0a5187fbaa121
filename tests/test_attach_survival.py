"""What an attached decay survives: steps that raise, gradients that are not finite, scalers, an accelerator."""

import math

import pytest
import torch
from drive import assert_close, drive, flat, gradients, joined, set_gradients, weights
from torch.utils._python_dispatch import TorchDispatchMode
from twins import ADAM, STABLE, STEPS, TWINS, build, pair

import weightdecay as wd
from weightdecay import attach
from weightdecay.optim import scalars


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("look", ["state_dict", "step", "remove"])
def test_lambda_outlives_a_step_that_raises(look, error):
    """And the step does not count: the next one has the v̄ of a run without it."""
    a, b = weights(), weights()
    (broken, handle), (whole, other) = build(a), build(b)
    run = gradients(10)
    drive(broken, a, run[:5])
    drive(whole, b, run[:5])

    def stop(*_):
        raise error

    hook = torch.optim.Optimizer.register_step_pre_hook(broken, stop)  # after ours, where a step raises
    set_gradients(a, run[5])
    with pytest.raises(error):
        broken.step()
    hook.remove()
    if look == "state_dict":
        assert broken.state_dict()["param_groups"][0]["weight_decay"] == 0.1
    elif look == "remove":
        handle.remove()
    else:
        drive(broken, a, [run[6]])
        drive(whole, b, [run[6]])
        assert handle.mean_square == other.mean_square
    assert broken.param_groups[0]["weight_decay"] == 0.1


def test_a_lambda_written_after_a_step_that_raised_is_kept():
    optimizer, _ = build(params := weights())
    hook = torch.optim.Optimizer.register_step_pre_hook(optimizer, lambda *_: 1 / 0)
    set_gradients(params, gradients(1)[0])
    with pytest.raises(ZeroDivisionError):
        optimizer.step()
    hook.remove()
    optimizer.param_groups[0]["weight_decay"] = 0.0
    optimizer.step()
    assert optimizer.param_groups[0]["weight_decay"] == 0.0


def test_zero_gradients_and_no_gradients():
    optimizer, handle = build(params := weights())
    before = flat(params)
    optimizer.step()
    assert handle.mean_square is None
    for p in joined(params):
        p.grad = torch.zeros_like(p)
    optimizer.step()
    assert handle.mean_square == 0
    assert handle.pulls == [0]
    assert_close(flat(params), before, 0)


@pytest.mark.parametrize("cls", [torch.optim.AdamW, torch.optim.Adam])
def test_the_pull_is_clamped_and_counted(cls):
    optimizer, handle = build(params := weights(), cls, strength=1e9)
    step = gradients(1, missing=False)[0]
    drive(optimizer, params, [step])
    assert handle.pulls == [1.0]
    assert handle.clamped_steps == 1
    plain = cls(joined(zeros := weights()), weight_decay=0.0, **ADAM)
    with torch.no_grad():
        for p in joined(zeros):
            p.zero_()
    drive(plain, zeros, [step])
    assert_close(flat(params), flat(zeros))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_shrinks_nothing_and_does_not_spoil_the_account(bad):
    """As in torch its own tensor is spoilt; the others take their step without decay, and go on with their v̄."""
    optimizer, handle = build(params := weights())
    healthy = [p for p in joined(params) if p is not params[0][0]]
    plain = torch.optim.AdamW(
        mirror := [p.detach().clone().requires_grad_() for p in healthy], weight_decay=0.0, **ADAM
    )
    first, second = gradients(2, missing=False)
    first[0][0][0, 0] = bad
    drive(optimizer, params, [first])
    for p, q in zip(healthy, mirror, strict=True):
        q.grad = p.grad.clone()
    plain.step()
    assert handle.skipped_steps == 1
    assert handle.pulls == [0]
    assert math.isnan(handle.mean_square)
    assert_close([p.detach() for p in healthy], [q.detach() for q in mirror])
    set_gradients(params, second)
    params[0][0].grad = None
    optimizer.step()
    v = [optimizer.state[p]["exp_avg_sq"] / (1 - 0.99**2) for p in healthy]
    assert handle.mean_square == pytest.approx(torch.cat([x.flatten() for x in v]).mean().item(), rel=1e-12)


@pytest.mark.parametrize("decay", [wd.Stable(), wd.Decoupled()], ids=repr)
def test_a_step_left_out_by_the_scaler_is_left_out_here(decay):
    """The fused optimizers of torch learn from found_inf that nothing shall happen; neither shrink nor count."""
    params = weights(torch.float32)
    optimizer = torch.optim.AdamW(joined(params), fused=True, weight_decay=0.1, **ADAM)
    handle = attach(optimizer, decay)
    run = gradients(6, missing=False)
    drive(optimizer, params, run[:3])
    before, saved = flat(params), handle.squares()
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale(torch.zeros(()))
    set_gradients(params, run[3])
    params[0][0].grad[0, 0] = math.inf
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert all(torch.equal(p, q) for p, q in zip(flat(params), before, strict=True))
    assert handle.squares() == saved
    assert handle.skipped_steps == 1
    set_gradients(params, run[4])
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    assert handle.skipped_steps == 1
    assert handle.pulls[0] > 0


def test_scaled_gradients_are_refused_and_the_scaler_can_go_on():
    params = weights(torch.float32)
    optimizer = torch.optim.AdamW(joined(params), fused=True, weight_decay=0.1, **ADAM)
    handle = attach(optimizer, wd.Stable())
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale(torch.zeros(()))
    set_gradients(params, gradients(1, scale=4.0, missing=False)[0])
    before = flat(params)
    with pytest.raises(ValueError, match=r"Call scaler.unscale_\(optimizer\) before"):
        scaler.step(optimizer)
    assert all(torch.equal(p, q) for p, q in zip(flat(params), before, strict=True))
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    mean = sum(p.grad.square().sum().item() for p in joined(params)) / sum(p.numel() for p in joined(params))
    assert handle.mean_square == pytest.approx(mean, rel=1e-6)


def test_groups_may_be_added():
    a, b = weights(), weights()
    theirs = torch.optim.AdamW(a[0], weight_decay=0.1, **ADAM)
    attach(theirs, wd.Stable())
    mine = wd.AdamS(b[0], weight_decay=0.1, **ADAM)
    run = gradients(STEPS)
    for t, step in enumerate(run):
        if t == 10:
            theirs.add_param_group({"params": a[1], "lr": 0.02})
            mine.add_param_group({"params": b[1], "lr": 0.02})
        for params, optimizer in ((a, theirs), (b, mine)):
            set_gradients(params, step)
            optimizer.step()
    assert_close(flat(a), flat(b))


def test_16_bit_weights_lose_small_pulls_and_it_is_said():
    weight = torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16))
    with pytest.warns(UserWarning, match="group 0 holds bfloat16 weights"):
        attach(torch.optim.SGD([weight], lr=0.1, weight_decay=0.1), wd.Stable())


class NoReading(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func is not torch.ops.aten._local_scalar_dense.default, "the host waited"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["AdamW fused", "RAdam", "SGD momentum"])
def test_on_an_accelerator_nothing_is_read_and_the_numbers_are_the_same(name, monkeypatch):
    """The path of an accelerator, walked on the CPU: 0-d tensors in place of numbers."""
    implementation = TWINS[name][3]
    (a, theirs, handle), (b, mine) = pair(name, STABLE)
    handle.to_check = False  # by a twin, which is read, once
    monkeypatch.setattr(scalars, "readable", lambda device: False)
    theirs.found_inf = torch.zeros(()) if "fused" in implementation else None
    for step in gradients(STEPS):
        set_gradients(a, step)
        with NoReading():
            handle._before(theirs, (theirs,), {})
        handle._action.cover.lift()  # the optimizer itself may read what it likes
        for group in theirs.param_groups:
            handle._action.cover.hide(group, 0.0)
        undecorated(theirs)()
        with NoReading():
            handle._after(theirs, (theirs,), {})
        drive(mine, b, [step])
    assert_close(flat(a), flat(b))
    assert handle.skipped_steps == handle.clamped_steps == 0
    if handle.mean_square is not None:
        params = joined(a)
        for p in params:
            p.grad = torch.full_like(p, math.nan)
        before = flat(a)
        handle._before(theirs, (theirs,), {})
        assert handle.skipped_steps == 1
        assert_close(flat(a), before, 0)


def undecorated(optimizer):
    """The step without its hooks."""
    return type(optimizer).step.__wrapped__.__get__(optimizer)
