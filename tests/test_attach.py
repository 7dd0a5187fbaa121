"""A decay attached to somebody else's optimizer: the step of our own, its limits, and its checkpoints."""

import copy
import io
import math

import pytest
import torch
from cases import DECAYS
from drive import assert_close, drive, flat, gradients, joined, schedule, set_gradients, weights
from torch.utils._python_dispatch import TorchDispatchMode

import weightdecay as wd
from weightdecay import attach
from weightdecay.optim import scalars

STEPS = 40
ADAM = {"lr": 1e-2, "betas": (0.8, 0.99), "eps": 1e-6}
SGD = {"lr": 0.05, "momentum": 0.9}

TWINS = {
    "AdamW fused": (torch.optim.AdamW, wd.Adam, ADAM, {"fused": True}),
    "AdamW": (torch.optim.AdamW, wd.Adam, ADAM, {"fused": False, "foreach": False}),
    "AdamW foreach": (torch.optim.AdamW, wd.Adam, ADAM, {"foreach": True}),
    "AdamW maximize": (torch.optim.AdamW, wd.Adam, {**ADAM, "maximize": True}, {}),
    "Adam": (torch.optim.Adam, wd.Adam, ADAM, {}),
    "Adam fused": (torch.optim.Adam, wd.Adam, ADAM, {"fused": True}),
    "RAdam": (torch.optim.RAdam, wd.RAdam, ADAM, {}),
    "SGD": (torch.optim.SGD, wd.SGD, {"lr": 0.05}, {}),
    "SGD momentum": (torch.optim.SGD, wd.SGD, SGD, {}),
    "SGD dampening": (torch.optim.SGD, wd.SGD, {**SGD, "dampening": 0.3}, {}),
    "SGD nesterov": (torch.optim.SGD, wd.SGD, {**SGD, "nesterov": True}, {}),
}
ATTACHABLE = [case for case in DECAYS if case.oracle not in ("l2", "elementwise")]
STABLE = next(case for case in ATTACHABLE if case.decay == wd.Stable())


def groups_of(params, options, strength):
    second = {"params": params[1], "lr": 0.3 * options["lr"], "weight_decay": 3 * strength}
    if "betas" in options:
        second["betas"] = (0.9, 0.9)
    return [{"params": params[0]}, second]


def pair(name, case, dtype=torch.float64, strength=None):
    """Return (weights, attached optimizer, handle) and (weights, ours)."""
    theirs, ours, options, implementation = TWINS[name]
    strength = 10 * case.strength if strength is None else strength
    a, b = weights(dtype), weights(dtype)
    built = theirs(groups_of(a, options, strength), weight_decay=strength, **options, **implementation)
    handle = attach(built, case.decay)
    options = {**options, "weight_decay": strength, "decay": case.decay, "engine": "reference"}
    mine = ours(groups_of(b, options, strength), **options)
    return (a, built, handle), (b, mine)


def lrs_of(options):
    return [schedule(STEPS, options["lr"]), schedule(STEPS, 0.3 * options["lr"])]


# -------------------------------------------------------------------- the same step


@pytest.mark.parametrize("case", ATTACHABLE, ids=str)
@pytest.mark.parametrize("name", TWINS)
def test_equals_our_own_optimizer(name, case):
    """Two groups of different lr, λ and β₂; late joiners, missing gradients, a schedule; λ is there between steps."""
    (a, theirs, handle), (b, mine) = pair(name, case)
    run, lrs = gradients(STEPS), lrs_of(TWINS[name][2])
    for t, step in enumerate(run):
        drive(theirs, a, [step], [[lr[t]] for lr in lrs])
        drive(mine, b, [step], [[lr[t]] for lr in lrs])
        assert [g["weight_decay"] for g in theirs.param_groups] == [g["weight_decay"] for g in mine.param_groups]
    assert_close(flat(a), flat(b))
    assert max(handle.pulls) > 1e-5
    assert handle.skipped_steps == handle.clamped_steps == 0


@pytest.mark.parametrize("name", TWINS)
def test_equals_our_own_optimizer_in_float32(name):
    (a, theirs, _), (b, mine) = pair(name, STABLE, torch.float32)
    run, lrs = gradients(STEPS), lrs_of(TWINS[name][2])
    drive(theirs, a, run, lrs)
    drive(mine, b, run, lrs)
    assert_close(flat(a), flat(b), 3e-6)


@pytest.mark.parametrize("scale", [1e-6, 1e3])
def test_v_is_that_of_the_whole_model_at_any_scale(scale):
    (a, theirs, handle), (b, mine) = pair("AdamW fused", STABLE, strength=1e-3 * scale)
    run = gradients(STEPS, scale)
    for t, step in enumerate(run):
        drive(theirs, a, [step], start=t)
        drive(mine, b, [step], start=t)
        set_gradients(b, step)
        seen = mine.model_mean_square([opened(m, mine) for m in mine.gather()])
        assert math.isclose(handle.mean_square, seen, rel_tol=1e-12)
    assert_close(flat(a), flat(b))


def opened(member, optimizer):
    member.open(optimizer.state[member.param]["step"].item())
    return member


def test_complex_weights_equal_our_own():
    a, b = (torch.nn.Parameter(torch.ones(3, dtype=torch.complex128)) for _ in range(2))
    theirs, mine = torch.optim.AdamW([a], weight_decay=0.1, **ADAM), wd.AdamS([b], weight_decay=0.1, **ADAM)
    attach(theirs, wd.Stable())
    for _ in range(10):
        a.grad = torch.randn_like(a)
        b.grad = a.grad.clone()
        theirs.step()
        mine.step()
    assert (a - b).abs().max() < 1e-12


def test_every_optimizer_takes_a_decay_that_reads_no_gain():
    """Muon: θ_t = (1 − ηλ) θ_{t−1} − η u_t, with the u_t of plain Muon."""
    a, b = (torch.nn.Parameter(torch.eye(3, 4)) for _ in range(2))
    decayed, plain = torch.optim.Muon([a], lr=0.1, weight_decay=0.5), torch.optim.Muon([b], lr=0.1, weight_decay=0.0)
    attach(decayed, wd.Decoupled())
    for t in range(5):
        a.grad = b.grad = torch.arange(12.0).reshape(3, 4).add(t).sin()
        with torch.no_grad():
            b.mul_(1 - 0.1 * 0.5)
        decayed.step()
        plain.step()
    assert_close([a.detach()], [b.detach()], 1e-6)


@pytest.mark.parametrize("optimizer", ["AdamW", "Adam", "SGD momentum"])
def test_a_zero_strength_is_the_plain_optimizer_bit_for_bit(optimizer):
    theirs, _, options, implementation = TWINS[optimizer]
    a, b = weights(), weights()
    attached, plain = (theirs(joined(p), weight_decay=0.0, **options, **implementation) for p in (a, b))
    attach(attached, wd.Stable())
    for built, params in ((attached, a), (plain, b)):
        drive(built, params, gradients(STEPS))
    assert all(torch.equal(x, y) for x, y in zip(flat(a), flat(b), strict=True))


class Rounded(torch.optim.Optimizer):
    """Stands for the 8-bit optimizers of other libraries: Adam, whose second moment is kept under another name."""

    def __init__(self, params, lr=1e-2, betas=(0.9, 0.999), weight_decay=0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in (p for p in group["params"] if p.grad is not None):
                state = self.state[p]
                state["step"] = state.get("step", 0) + 1
                state["state2"] = (255 * p.grad.square()).to(torch.uint8)
                p.sub_(group["lr"] * p.grad.sign() + group["lr"] * group["weight_decay"] * p)


AdamW8bit = type("AdamW8bit", (Rounded,), {})
Lion = type("Lion", (Rounded,), {})
SignSGD = type("SignSGD", (Rounded,), {})


def test_an_8_bit_optimizer_is_known_by_its_name_and_its_moments_are_not_read():
    params = weights()
    optimizer = AdamW8bit(joined(params), betas=(0.8, 0.99), weight_decay=0.1)
    handle, mirror = attach(optimizer, wd.Stable()), weights()
    twin = torch.optim.AdamW(joined(mirror), weight_decay=0.1, **ADAM)
    other = attach(twin, wd.Stable())
    for step in gradients(STEPS):
        drive(optimizer, params, [step])
        drive(twin, mirror, [step])
        assert handle.mean_square == other.mean_square


class ThroughBase(torch.optim.AdamW):
    def step(self, closure=None):
        return super().step(closure)


def test_a_step_that_calls_the_step_of_its_base_is_one_step():
    """In torch the hooks of both run; weights must shrink once, and λ come back at the end only."""
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)])  # gives the base's step its hooks
    a, b = weights(), weights()
    nested, plain = (
        ThroughBase(joined(a), weight_decay=0.1, **ADAM),
        torch.optim.AdamW(joined(b), weight_decay=0.1, **ADAM),
    )
    for built, params in ((nested, a), (plain, b)):
        attach(built, wd.Stable())
        drive(built, params, gradients(STEPS))
    assert_close(flat(a), flat(b))


@pytest.mark.parametrize("gain", [2.0, lambda group: 2.0, "sgd"])
def test_a_gain_said_by_hand(gain):
    """η λ gain with the number given; momentum 0.5 gives gain 2."""
    weight = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    weight.grad = torch.zeros_like(weight)
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.5, weight_decay=0.3)
    attach(optimizer, wd.Stable(), gain=gain)
    optimizer.step()
    assert_close([weight.detach()], [torch.full_like(weight, 1 - 0.1 * 0.3 * 2.0)])


def test_lambda_may_be_given_or_overridden():
    params = weights()
    plain = torch.optim.Rprop(joined(params), lr=1e-2)
    attach(plain, wd.Vanilla(), weight_decay=0.25)
    assert plain.param_groups[0]["weight_decay"] == 0.25
    before = flat(params)
    for p in joined(params):
        p.grad = torch.zeros_like(p)
    plain.step()
    assert_close(flat(params), [0.75 * p for p in before])
    named = torch.optim.SGD([{"params": weights()[0], "weight_decay": 0.1}], lr=0.1)
    attach(named, wd.Stable(), weight_decay=0.2)
    assert named.param_groups[0]["weight_decay"] == 0.2


def test_independent_takes_its_peak_from_the_scheduler_or_the_group_or_the_lr():
    weight = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    warming = torch.optim.SGD([weight], lr=0.5, weight_decay=0.1)
    torch.optim.lr_scheduler.LambdaLR(warming, lambda t: (t + 1) / 10)
    attach(warming, wd.Independent())
    assert warming.param_groups[0]["peak_lr"] == 0.5
    weight.grad = torch.zeros_like(weight)
    warming.step()
    assert weight.item() == pytest.approx(1 - 0.1 * 0.1, rel=1e-14)
    given = torch.optim.SGD([{"params": [weight], "peak_lr": 2.0}], lr=1.0, weight_decay=0.1)
    attach(given, wd.Independent())
    given.step()
    assert given.param_groups[0]["peak_lr"] == 2.0


# -------------------------------------------------------------------- what it survives


def build(params, cls=torch.optim.AdamW, strength=0.1, **options):
    optimizer = cls(joined(params), weight_decay=strength, **{**ADAM, **options})
    return optimizer, attach(optimizer, wd.Stable())


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

    hook = broken.register_step_pre_hook(stop)
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
    hook = optimizer.register_step_pre_hook(lambda *_: 1 / 0)
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
    before, saved = flat(params), handle.account.values()
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale(torch.zeros(()))
    set_gradients(params, run[3])
    params[0][0].grad[0, 0] = math.inf
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert all(torch.equal(p, q) for p, q in zip(flat(params), before, strict=True))
    assert handle.account.values() == saved
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
    monkeypatch.setattr(scalars, "readable", lambda device: False)
    theirs.found_inf = torch.zeros(()) if "fused" in implementation else None
    for step in gradients(STEPS):
        set_gradients(a, step)
        with NoReading():
            handle._before(theirs, (theirs,), {})
        handle._uncover()  # the optimizer itself may read what it likes
        for group in theirs.param_groups:
            handle._hide(group, 0.0)
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


# -------------------------------------------------------------------- several processes


def test_one_reduction_a_step_gives_the_mean_over_all_processes(monkeypatch):
    """The other process has twice our numbers: v̄ is 5/2 of ours (gradients √4 as large, as many elements)."""
    calls = []

    def all_reduce(values, group):
        calls.append(group)
        values.mul_(torch.tensor([5.0, 2.0, 2.0], dtype=torch.float64))

    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    params, mirror = weights(), weights()
    optimizer = torch.optim.AdamW(joined(params), weight_decay=0.1, **ADAM)
    handle = attach(optimizer, wd.Stable(), process_group="ours")
    _, alone = build(mirror)
    for step in gradients(5):
        drive(optimizer, params, [step])
        drive(alone.optimizer, mirror, [step])
        assert handle.mean_square == pytest.approx(2.5 * alone.mean_square, rel=1e-12)
    optimizer.zero_grad()
    optimizer.step()
    assert calls == ["ours"] * 6  # also where this process has no gradient


def test_sharded_parameters(tmp_path):
    """DTensors: weights and gradients are this process's pieces. S is not written; it comes from the moments."""
    distributed = pytest.importorskip("torch.distributed.tensor")
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        mesh = torch.distributed.init_device_mesh("cpu", (1,))
        plain, mirror = weights(torch.float64)[1], weights(torch.float64)[1]
        sharded = [
            torch.nn.Parameter(distributed.distribute_tensor(p.detach(), mesh, [distributed.Shard(0)]))
            for p in plain
            if p.dim()
        ]
        mirror = [p for p in mirror if p.dim()]
        theirs, mine = (
            cls(p, weight_decay=0.1, **ADAM) for cls, p in ((torch.optim.AdamW, sharded), (wd.AdamS, mirror))
        )
        attach(theirs, wd.Stable())
        for t in range(10):
            for p, q in zip(sharded, mirror, strict=True):
                q.grad = torch.full_like(q, 0.1 * t).sin()
                p.grad = distributed.distribute_tensor(q.grad, mesh, [distributed.Shard(0)])
            theirs.step()
            mine.step()
            if t == 5:
                saved = copy.deepcopy(theirs.state_dict())
                assert saved["param_groups"][0]["attached"]["squares"] == [None, None]
                theirs.load_state_dict(saved)
        assert_close([p.to_local().detach() for p in sharded], [q.detach() for q in mirror])
    finally:
        torch.distributed.destroy_process_group()


# -------------------------------------------------------------------- checkpoints


def through_a_file(state_dict):
    file = io.BytesIO()
    torch.save(state_dict, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def clone_of(params):
    return [[torch.nn.Parameter(p.detach().clone()) for p in group] for group in params]


@pytest.mark.parametrize("name", TWINS)
def test_a_checkpoint_in_mid_run_resumes_bit_exactly(name):
    (a, theirs, handle), _ = pair(name, STABLE)
    run = gradients(STEPS)
    drive(theirs, a, run[:20])
    _, _, options, implementation = TWINS[name]
    b = clone_of(a)
    again = type(theirs)(groups_of(b, options, 7.0), weight_decay=7.0, **options, **implementation)
    resumed = attach(again, STABLE.decay)
    again.load_state_dict(through_a_file(theirs.state_dict()))
    assert [g["weight_decay"] for g in again.param_groups] == [g["weight_decay"] for g in theirs.param_groups]
    drive(theirs, a, run[20:])
    drive(again, b, run[20:])
    assert all(torch.equal(x, y) for x, y in zip(flat(a), flat(b), strict=True))
    assert resumed.mean_square == handle.mean_square
    assert "attached" not in again.param_groups[0]


def test_an_8_bit_optimizer_resumes_too_however_it_loads():
    """As bitsandbytes does: a load_state_dict of its own, which runs no hooks."""

    class Adam8bit(Rounded):
        def load_state_dict(self, state_dict):
            saved = copy.deepcopy(state_dict)
            for group, new in zip(self.param_groups, saved["param_groups"], strict=True):
                new["params"] = group["params"]
            params = [p for group in self.param_groups for p in group["params"]]
            state = {params[i]: values for i, values in saved["state"].items()}
            self.__setstate__({"state": state, "param_groups": saved["param_groups"]})

    a = weights()
    first = Adam8bit(joined(a), weight_decay=0.1)
    handle = attach(first, wd.Stable())
    run = gradients(STEPS)
    drive(first, a, run[:20])
    b = clone_of(a)
    second = Adam8bit(joined(b), weight_decay=0.3)
    resumed = attach(second, wd.Stable())
    second.load_state_dict(through_a_file(first.state_dict()))
    drive(first, a, run[20:])
    drive(second, b, run[20:])
    assert resumed.mean_square == handle.mean_square
    assert all(torch.equal(x, y) for x, y in zip(flat(a), flat(b), strict=True))


@pytest.mark.parametrize("late", ["attached in mid-run", "loaded into an attached one", "copied"])
def test_goes_on_from_the_moments_of_a_plain_optimizer(late):
    a, b = weights(), weights()
    theirs, mine = torch.optim.AdamW(joined(a), weight_decay=0.0, **ADAM), wd.AdamS(joined(b), weight_decay=0.0, **ADAM)
    run = gradients(STEPS)
    drive(theirs, a, run[:20])
    drive(mine, b, run[:20])
    if late == "attached in mid-run":
        attach(theirs, wd.Stable(), weight_decay=0.3)
    elif late == "copied":
        attach(theirs, wd.Stable(), weight_decay=0.3)
        params, theirs = copy.deepcopy((joined(a), theirs))
        assert not theirs._optimizer_step_pre_hooks  # torch does not copy hooks: λ would act as AdamW's own
        a = [params[:2], params[2:]]
        attach(theirs, wd.Stable())
    else:
        saved = theirs.state_dict()
        theirs = torch.optim.AdamW(joined(a), weight_decay=0.3, **ADAM)
        attach(theirs, wd.Stable())
        with pytest.warns(
            UserWarning, match=r"no decay was attached, weight_decay=0.0: .* keeps weight_decay=0.3"
        ) as said:
            theirs.load_state_dict(saved)
        assert len(said) == 1
    mine.param_groups[0]["weight_decay"] = 0.3
    drive(theirs, a, run[20:])
    drive(mine, b, run[20:])
    assert_close(flat(a), flat(b))


def test_the_account_of_a_checkpoint_is_not_believed_when_steps_have_passed_without_it():
    a = weights()
    attached, _ = build(a)
    run = gradients(STEPS)
    drive(attached, a, run[:10])
    plain = torch.optim.AdamW(joined(a), **ADAM)
    plain.load_state_dict(attached.state_dict())
    drive(plain, a, run[10:20])
    again, handle = build(a)
    again.load_state_dict(plain.state_dict())
    drive(again, a, run[20:21])
    live = [again.state[p] for p in joined(a) if p.grad is not None]
    v = torch.cat([(s["exp_avg_sq"] / (1 - 0.99 ** s["step"].double())).flatten() for s in live])
    assert handle.mean_square == pytest.approx(v.mean().item(), rel=1e-12)


def test_lambda_of_another_decay_is_not_taken():
    a, b = weights(), weights()
    one = torch.optim.AdamW(joined(a), weight_decay=0.5, **ADAM)
    attach(one, wd.Decoupled())
    two = torch.optim.AdamW(joined(b), weight_decay=0.1, **ADAM)
    attach(two, wd.Stable())
    drive(one, a, gradients(3))
    with pytest.warns(UserWarning, match=r"written with decay=Decoupled\(\), weight_decay=0.5.*keeps weight_decay=0.1"):
        two.load_state_dict(one.state_dict())
    assert two.param_groups[0]["weight_decay"] == 0.1


def test_our_own_checkpoint_goes_on_with_torchs_kernels():
    a, b = weights(), weights()
    mine, theirs = wd.AdamS(joined(a), weight_decay=0.3, **ADAM), torch.optim.AdamW(joined(b), weight_decay=0.1, **ADAM)
    attach(theirs, wd.Stable())
    run = gradients(STEPS)
    drive(mine, a, run[:20])
    with torch.no_grad():
        for p, q in zip(joined(a), joined(b), strict=True):
            q.copy_(p)
    theirs.load_state_dict(copy.deepcopy(mine.state_dict()))  # torch shares what it loads
    assert theirs.param_groups[0]["weight_decay"] == 0.3
    drive(mine, a, run[20:])
    drive(theirs, b, run[20:])
    assert_close(flat(a), flat(b))


def test_survives_the_round_trip_of_distributed_checkpoints():
    """There every entry of a checkpoint but the state and the groups is lost; ours is in the groups."""
    home = pytest.importorskip("torch.distributed.checkpoint.state_dict")
    run = []
    for strength in (0.1, 0.7):
        model = torch.nn.Linear(3, 2, dtype=torch.float64)
        optimizer = torch.optim.AdamW(model.parameters(), weight_decay=strength, **ADAM)
        run.append((model, optimizer, attach(optimizer, wd.Stable())))
    (model, optimizer, handle), (other, fresh, resumed) = run
    for t in range(3):
        optimizer.zero_grad()
        model(torch.full((3,), float(t), dtype=torch.float64)).square().sum().backward()
        optimizer.step()
    home.set_optimizer_state_dict(other, fresh, home.get_optimizer_state_dict(model, optimizer))
    assert list(resumed.account.values().values()) == list(handle.account.values().values())
    assert fresh.param_groups[0]["weight_decay"] == 0.1


def test_counters_travel():
    optimizer, handle = build(params := weights(), strength=1e9)
    drive(optimizer, params, gradients(3))
    other, resumed = build(weights(), strength=1.0)
    other.load_state_dict(through_a_file(optimizer.state_dict()))
    assert resumed.clamped_steps == handle.clamped_steps == 3


def test_removed_it_is_the_plain_optimizer():
    a, b = weights(), weights()
    (optimizer, handle), plain = build(a), torch.optim.AdamW(joined(b), weight_decay=0.1, **ADAM)
    run = gradients(STEPS)
    drive(optimizer, a, run[:20])
    handle.remove()
    with torch.no_grad():
        for p, q in zip(joined(a), joined(b), strict=True):
            q.copy_(p)
    plain.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    drive(optimizer, a, run[20:])
    drive(plain, b, run[20:])
    assert all(torch.equal(x, y) for x, y in zip(flat(a), flat(b), strict=True))
    attach(optimizer, wd.Stable())  # may be attached again
    handle.remove()  # twice does nothing
    with pytest.raises(ValueError, match="has a decay attached"):
        attach(optimizer, wd.Stable())


# -------------------------------------------------------------------- what is refused


class Uneven(wd.Decay):
    """Says that its pull is uniform, and asks for more."""

    def pull(self, step):
        return step.gain()


def adamw(p, **options):
    return torch.optim.AdamW(p, **options)


def stepped(optimizer):
    for group in optimizer.param_groups:
        for p in group["params"]:
            p.grad = torch.ones_like(p)
    optimizer.step()
    return optimizer


S = wd.Stable()
REFUSED = {
    "a model": (lambda p: attach(torch.nn.Linear(1, 1), S), TypeError, r"attach\(Linear\)"),
    "a class": (lambda p: attach(adamw(p), wd.Stable), TypeError, r"is not a Decay. Pass an object"),
    "a name": (lambda p: attach(adamw(p), "stable"), TypeError, r"decay='stable' is not a Decay"),
    "our own": (lambda p: attach(wd.AdamW(p), S), TypeError, r"AdamW takes any decay itself: pass decay=Stable"),
    "L2": (lambda p: attach(adamw(p), wd.L2()), TypeError, r"L2\(\) enters the gradient.*own weight_decay"),
    "Elementwise": (
        lambda p: attach(adamw(p), wd.Elementwise()),
        TypeError,
        r"attach\(\) only shrinks weights before the step; Elementwise\(\) needs .* Use Adam\(..., decay=...\)",
    ),
    "twice": (lambda p: [attach(o, S) for o in [adamw(p)] * 2], ValueError, r"has a decay attached.*handle.remove"),
    "AMSGrad": (
        lambda p: attach(adamw(p, amsgrad=True), S),
        ValueError,
        r"amsgrad=True in group 0.*Use weightdecay.AMS",
    ),
    "Muon": (
        lambda p: attach(torch.optim.Muon([torch.nn.Parameter(torch.eye(2))]), S),
        TypeError,
        r"Muon multiplies none, it makes a matrix orthogonal. Decoupled\(\), Independent\(\) and Vanilla\(\)",
    ),
    "Lion": (lambda p: attach(Lion(p), S), TypeError, r"Lion multiplies none, it takes a sign.*gain="),
    "SignSGD": (lambda p: attach(SignSGD(p), S), TypeError, r"SignSGD multiplies none, it takes a sign"),
    "unknown": (
        lambda p: attach(torch.optim.Adagrad(p), S),
        TypeError,
        r'not known of Adagrad. Pass gain="adam" or "sgd" .* Decoupled\(\)',
    ),
    "gain none": (lambda p: attach(adamw(p), S, gain="none"), TypeError, r"not known of AdamW with gain='none'"),
    "gain misspelt": (lambda p: attach(adamw(p), S, gain="adm"), ValueError, r"Did you mean 'adam'\?"),
    "gain negative": (lambda p: attach(adamw(p), S, gain=-1.0), ValueError, r"gain=-1.0: a gain is a finite number"),
    "gain list": (lambda p: attach(adamw(p), S, gain=[1]), TypeError, r"gain=\[1\] is neither"),
    "gain without its options": (
        lambda p: attach(torch.optim.Adagrad(p), S, gain="sgd"),
        ValueError,
        r"group 0 of Adagrad has no 'momentum'",
    ),
    "no lambda": (
        lambda p: attach(torch.optim.Rprop(p), wd.Decoupled()),
        ValueError,
        r"group 0 of Rprop has no weight_decay.*attach\(weight_decay=...\)",
    ),
    "lambda negative": (lambda p: attach(adamw(p), S, weight_decay=-1.0), ValueError, r"weight_decay=-1 in group 0"),
    "differentiable": (
        lambda p: attach(adamw(p, differentiable=True), S),
        ValueError,
        r"differentiable=True in group 0",
    ),
    "peak": (
        lambda p: attach(torch.optim.SGD(p, lr=0.0), wd.Independent()),
        ValueError,
        r"peak_lr=0 in group 0; Independent\(\)",
    ),
    "8-bit in mid-run": (
        lambda p: attach(stepped(AdamW8bit(p)), S),
        ValueError,
        r"parameter 0 of group 0 has been stepped .* \['state2', 'step'\] holds no exp_avg_sq.*Attach before",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_when_attaching(name):
    build, error, says = REFUSED[name]
    params = [torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(3))]
    with pytest.raises(error, match=says):
        build(params)


def test_what_was_refused_has_changed_nothing():
    optimizer = torch.optim.AdamW(joined(weights()), weight_decay=0.1, amsgrad=True)
    before = [dict(group) for group in optimizer.param_groups]
    with pytest.raises(ValueError, match="amsgrad"):
        attach(optimizer, wd.Stable(), weight_decay=0.7)
    assert [dict(group) for group in optimizer.param_groups] == before
    assert optimizer.defaults["weight_decay"] == 0.1
    attach(optimizer, wd.Decoupled())


@pytest.mark.parametrize("how", ["positional", "keyword"])
def test_a_closure_is_refused(how):
    optimizer, _ = build(params := weights())
    before = flat(params)
    with pytest.raises(TypeError, match=r"Call the closure yourself"):
        optimizer.step(lambda: 0.0) if how == "positional" else optimizer.step(closure=lambda: 0.0)
    assert_close(flat(params), before, 0)
    optimizer.step(None)


def test_refused_in_the_step():
    embedding = torch.nn.Embedding(4, 2, sparse=True)
    optimizer = torch.optim.SparseAdam(embedding.parameters())
    attach(optimizer, wd.Stable(), weight_decay=0.1, gain="adam")
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match=r"shape \(4, 2\) has a sparse gradient.*sparse=False"):
        optimizer.step()
    uneven = torch.optim.SGD(joined(params := weights()), lr=0.1, weight_decay=0.1)
    attach(uneven, Uneven())
    set_gradients(params, gradients(1)[0])
    with pytest.raises(TypeError, match="asks for a gain an element"):
        uneven.step()


def test_a_checkpoint_without_moments_in_full_precision_is_refused():
    a = weights()
    plain = AdamW8bit(joined(a), weight_decay=0.1)
    drive(plain, a, gradients(3))
    fresh = AdamW8bit(joined(weights()), weight_decay=0.1)
    attach(fresh, wd.Stable())
    with pytest.warns(UserWarning, match="no decay was attached"), pytest.raises(ValueError, match="no exp_avg_sq"):
        fresh.load_state_dict(plain.state_dict())
