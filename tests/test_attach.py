"""A decay attached to somebody else's optimizer takes the step of our own, in one process or several."""

import copy
import math

import pytest
import torch
from drive import assert_close, drive, flat, gradients, joined, schedule, set_gradients, weights
from twins import ADAM, ATTACHABLE, STABLE, STEPS, TWINS, AdamW8bit, build, pair

import weightdecay as wd
from weightdecay import attach
from weightdecay.optim.groups import read_groups
from weightdecay.optim.reference import gather, model_mean_square


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
        seen = model_mean_square(mine, [opened(m, mine) for m in gather(mine, read_groups(mine))])
        assert math.isclose(handle.mean_square, seen, rel_tol=1e-12)
    assert_close(flat(a), flat(b))


def opened(member, optimizer):
    member.load_state(optimizer.state[member.param]["step"].item(), optimizer.state_names)
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
    handle = attach(warming, wd.Independent())
    assert handle.peak_lrs == [0.5]
    assert "peak_lr" not in warming.param_groups[0]  # a plain optimizer has no such option, and its checkpoint neither
    weight.grad = torch.zeros_like(weight)
    warming.step()
    assert weight.item() == pytest.approx(1 - 0.1 * 0.1, rel=1e-14)
    given = torch.optim.SGD([{"params": [weight], "peak_lr": 2.0}], lr=1.0, weight_decay=0.1)
    attach(given, wd.Independent())
    given.step()
    assert given.param_groups[0]["peak_lr"] == 2.0


def test_a_scheduler_that_is_built_after_attach_is_heard_until_the_first_step():
    weight = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = torch.optim.SGD([weight], lr=0.5, weight_decay=0.1)
    handle = attach(optimizer, "independent")
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2.0, total_steps=10)
    first = optimizer.param_groups[0]["lr"]
    weight.grad = torch.zeros_like(weight)
    optimizer.step()
    assert handle.peak_lrs == [2.0]
    assert weight.item() == pytest.approx(1 - 0.1 * first / 2.0, rel=1e-12)
    scheduler.step()
    copied = copy.deepcopy(optimizer)
    optimizer.param_groups[0]["max_lr"] = 5.0  # too late: what λ means does not move in mid-run
    optimizer.step()
    assert handle.peak_lrs == [2.0]
    assert type(handle).of(copied).peak_lrs == [2.0]
    fresh = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.5, weight_decay=0.1)
    resumed = attach(fresh, wd.Independent(), peak_lr=3.0)
    assert resumed.peak_lrs == [3.0]
    fresh.load_state_dict(optimizer.state_dict())
    assert resumed.peak_lrs == [2.0]


# -------------------------------------------------------------------- several processes


def test_one_reduction_a_step_gives_the_mean_over_all_processes(monkeypatch):
    """The other process has twice our numbers: v̄ is 5/2 of ours (gradients √4 as large, as many elements)."""
    calls = []

    def all_reduce(values, group):
        calls.append(group)
        values.mul_(torch.tensor([5.0, 5.0, 2.0, 2.0], dtype=torch.float64))

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


@pytest.mark.filterwarnings("ignore:group 0 holds bfloat16 weights:UserWarning")
def test_weights_of_several_types_shrink_in_one_group():
    """Each by the same pull, rounded once in its own type."""
    kinds = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
    params = [torch.nn.Parameter(torch.linspace(1, 2, 64, dtype=torch.float64).to(kind)) for kind in kinds]
    expected = [(p.detach().double() * (1 - 0.1 * 0.25)).to(p.dtype) for p in params]
    optimizer = torch.optim.SGD(params, lr=0.1, weight_decay=0.25, fused=True)
    wd.attach(optimizer, wd.Decoupled())
    for p in params:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for p, should in zip(params, expected, strict=True):
        torch.testing.assert_close(p.detach(), should)
