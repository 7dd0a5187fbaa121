"""Every engine walks the reference's path in lockstep: weights and state, whatever groups, gaps and schedules do."""

import copy
import functools

import pytest
import torch
from cases import DECAYS, METHODS, PAIRS
from drive import assert_close, drive, flat, gradients, joined, schedule, weights

import weightdecay as wd
from weightdecay.engine.fused import refusal
from weightdecay.optim.groups import read_groups

STEPS = 14
"""A late joiner, two steps without a gradient, a tensor that stops: see ``drive``."""
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-6}
LOCKSTEP = [
    pytest.param(method, options, case, id=f"{method}-{i}-{case}")
    for method, case in PAIRS
    for i, options in enumerate(method.variants)
]


def build(method, params, engine, options, case, **more):
    groups = [{"params": params[0]}, {"params": params[1], "lr": 0.3 * method.lr, "weight_decay": 0.5 * case.strength}]
    if "betas" in options:
        groups[1]["betas"] = (0.7, 0.97)
    return method.cls(
        groups, lr=method.lr, weight_decay=case.strength, decay=case.decay, engine=engine, **options, **more
    )


def assert_same(ours, theirs, tolerance):
    """Weights, and every state of every parameter; "v_sum" is an engine's own account of v."""
    (params, optimizer), (expected, reference) = ours, theirs
    assert_close(flat(params), flat(expected), tolerance)
    for p, q in zip(joined(params), joined(expected), strict=True):
        a, b = optimizer.state[p], reference.state[q]
        assert set(a) - {"v_sum"} == set(b) - {"v_sum"}
        for slot in set(b) - {"v_sum"}:
            assert a[slot].dtype == b[slot].dtype
            assert_close([a[slot]], [b[slot]], tolerance)


def can(engine, optimizer):
    return engine != "fused" or not any(refusal(optimizer, group) for group in optimizer.param_groups)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("engine", ["foreach", "fused", "auto"])
@pytest.mark.parametrize("number", [pytest.param(i, id=case.id) for i, case in enumerate(LOCKSTEP)])
def test_lockstep(number, engine, dtype):
    method, options, case = LOCKSTEP[number].values
    params = weights(dtype)
    if not can(engine, build(method, params, "reference", options, case)):
        with pytest.raises(ValueError, match="Use engine="):
            build(method, params, engine, options, case)
        return
    assert_same(walked(number, engine, dtype), reference(number, dtype), TOLERANCE[dtype])


def walked(number, engine, dtype):
    method, options, case = LOCKSTEP[number].values
    params = weights(dtype)
    optimizer = build(method, params, engine, options, case)
    drive(optimizer, params, gradients(STEPS), [schedule(STEPS, method.lr), schedule(STEPS, 0.3 * method.lr)])
    return params, optimizer


@functools.cache
def reference(number, dtype):
    """Where the reference comes to: the same for every engine."""
    return walked(number, "reference", dtype)


@pytest.mark.parametrize("engine", ["foreach", "fused"])
@pytest.mark.parametrize(("method", "case"), PAIRS, ids=str)
def test_clipping_is_clip_grad_norm_followed_by_the_step(method, case, engine):
    run = gradients(STEPS)
    ours, theirs = weights(), weights()
    reference = build(method, theirs, "reference", {}, case)
    if not can(engine, reference):
        pytest.skip("refused, as another test sees")
    optimizer = build(method, ours, engine, {}, case, max_grad_norm=3.0)
    for step in run:
        drive(optimizer, ours, [step])
        for param, value in zip(joined(theirs), [g for group in step for g in group], strict=True):
            param.grad = None if value is None else torch.as_tensor(value).reshape(param.shape)
        norm = torch.nn.utils.clip_grad_norm_(joined(theirs), 3.0)
        reference.step()
        assert float(optimizer.grad_norm) == pytest.approx(norm.item(), rel=1e-12)
    assert_same((ours, optimizer), (theirs, reference), 1e-11)


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_the_reference_clips_too(method):
    run = gradients(STEPS)
    ours, theirs = weights(), weights()
    a, b = (
        build(method, p, "reference", {}, DECAYS[4], **o) for p, o in ((ours, {"max_grad_norm": 3.0}), (theirs, {}))
    )
    for step in run:
        drive(a, ours, [step])
        norm = sum((g**2).sum() for group in step for g in group if g is not None) ** 0.5
        c = min(1.0, 3.0 / (norm + 1e-6))
        drive(b, theirs, [[[None if g is None else c * g for g in group] for group in step]])
    assert_same((ours, a), (theirs, b), 1e-12)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(("method", "case"), PAIRS, ids=str)
def test_engines_can_be_switched_in_mid_run(method, case, dtype):
    """Each step by another engine than the one before; nothing that one keeps to itself is lost or goes stale."""
    run, params, expected = gradients(STEPS), weights(dtype), weights(dtype)
    optimizer, reference = (build(method, p, "reference", {}, case) for p in (params, expected))
    engines = [name for name in ("reference", "foreach", "fused", "auto") if can(name, optimizer)]
    for t, step in enumerate(run):
        optimizer.engine = engines[(t // 2) % len(engines)]
        drive(optimizer, params, [step])
        drive(reference, expected, [step])
    assert_same((params, optimizer), (expected, reference), TOLERANCE[dtype])


@pytest.mark.parametrize("engine", ["foreach", "fused"])
@pytest.mark.parametrize(("method", "case"), PAIRS, ids=str)
def test_a_checkpoint_in_mid_run_resumes_bit_exactly(method, case, engine):
    run, whole, half = gradients(STEPS), weights(torch.float32), weights(torch.float32)
    if not can(engine, build(method, whole, "reference", {}, case)):
        pytest.skip("refused, as another test sees")
    drive(build(method, whole, engine, {}, case), whole, run)
    first = build(method, half, engine, {}, case)
    drive(first, half, run[:7])
    second = build(method, half, engine, {}, case)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    drive(second, half, run[7:])
    assert_close(flat(half), flat(whole), 0)


@pytest.mark.parametrize("engine", ["foreach", "fused"])
def test_a_checkpoint_goes_from_engine_to_engine(engine):
    run, whole, half = gradients(STEPS), weights(), weights()
    drive(wd.AdamS(joined(whole), engine="reference"), whole, run)
    first = wd.AdamS(joined(half), engine=engine)
    drive(first, half, run[:5])
    second = wd.AdamS(joined(half), engine="reference")
    second.load_state_dict(first.state_dict())
    drive(second, half, run[5:10])
    third = wd.AdamS(joined(half), engine=engine)
    third.load_state_dict(second.state_dict())
    drive(third, half, run[10:])
    assert_close(flat(half), flat(whole))


@pytest.mark.parametrize("layout", [torch.channels_last, "transposed", "expanded gradient"], ids=str)
@pytest.mark.parametrize("engine", ["foreach", "fused"])
def test_any_memory_layout(engine, layout):
    torch.manual_seed(0)
    outcome = []
    for name in (engine, "reference"):
        torch.manual_seed(0)
        p = torch.randn(4, 3, 5, 5, dtype=torch.float64)
        q = torch.randn(6, 7, dtype=torch.float64)
        p = p.to(memory_format=torch.channels_last) if layout == torch.channels_last else p
        q = q.t() if layout == "transposed" else q
        params = [torch.nn.Parameter(p), torch.nn.Parameter(q)]
        optimizer = wd.AdamS(params, lr=1e-2, weight_decay=0.01, engine=name)
        for _ in range(5):
            params[0].grad = torch.randn(4, 3, 5, 5, dtype=torch.float64)
            expanded = torch.randn(1, 1, dtype=torch.float64).expand(params[1].shape)
            params[1].grad = expanded if layout == "expanded gradient" else torch.randn_like(params[1]).contiguous()
            optimizer.step()
        outcome.append([p.detach() for p in params])
    assert_close(*outcome)


# ---------------------------------------------------------------- compiled: seconds a graph, so fewer cases

COMPILED = [
    *(
        pytest.param(m, case, torch.float64, id=f"{m}-{case}")
        for m in METHODS
        for case in DECAYS
        if str(case) == "Stable(power=0.5, eps=0.0)" and m.cls in (wd.SGD, wd.Adam, wd.AMSGrad, wd.Adai)
    ),
    *(
        pytest.param(METHODS[3], case, torch.float32, id=f"Adam-{case}-float32")
        for case in DECAYS
        if case.oracle in ("l2", "independent", "elementwise")
    ),
]


def few(run):
    """One tensor of each group, for every one makes a graph longer to compile; the second joins late."""
    return [[step[0][1:], step[1][:1]] for step in run]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "case", "dtype"), COMPILED)
def test_compiled_lockstep_without_recompilation(method, case, dtype):
    """lr, λ, the step and the norm change in every step; one graph serves all (two where v̄ is looked ahead for)."""
    run, outcome = few(gradients(12, missing=False)), []
    for name in ("compiled", "reference"):
        (params,) = few([weights(dtype)])
        optimizer = build(method, params, name, method.variants[-1], case, max_grad_norm=5.0)
        for t, step in enumerate(run):
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * (1 + t % 3) / 3
                group["weight_decay"] = case.strength * (1 + t % 2)
            if t == 6:
                optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
            drive(optimizer, params, [step])
        outcome.append((params, optimizer))
        if name == "compiled":
            assert 1 <= len(optimizer.runner.programs) <= 2
    assert_same(*outcome, TOLERANCE[dtype])


@pytest.mark.slow
def test_compiled_follows_late_joiners_missing_gradients_and_other_engines():
    run, outcome = few(gradients(14)), []  # one alone, none, both, and the other alone: three graphs
    for name in ("compiled", "reference"):
        (params,) = few([weights()])
        optimizer = wd.AdamS([{"params": params[0]}, {"params": params[1], "betas": (0.8, 0.9)}], engine=name, lr=1e-2)
        for t, step in enumerate(run):
            if name == "compiled":
                optimizer.engine = "foreach" if t == 9 else "compiled"
            drive(optimizer, params, [step])
        outcome.append((params, optimizer))
    assert_same(*outcome, 1e-12)


# ---------------------------------------------------------------- what an engine cannot do it says


def mine(params, **options):
    """A user's own optimizer: the kernel of the class that it inherits from would compute something else."""
    return type("Mine", (wd.Adam,), {"direction": lambda *_: 0})(params, **options)


REFUSED = {
    "no kernel": (wd.Yogi, {}, r'cannot move Yogi: torch has no fused kernel .* Use engine="foreach"'),
    "elementwise": (
        wd.Adam,
        {"weight_decay": 0.1, "decay": wd.Elementwise()},
        r"group 0: Elementwise\(\) has a pull for",
    ),
    "amsgrad's mean": (wd.AMSGradS, {}, r"reads the mean of AMSGradS's v, .* too late"),
    "eps 0": (wd.AdamS, {"eps": 0.0}, r"eps=0"),
    "bf16 moments": (wd.AdamW, {"moments": torch.bfloat16}, r"moments="),
    "no momentum": (wd.HeavyBall, {"dampening": 0.5}, r"knows neither buffer nor dampening"),
    "own box": (mine, {}, r"no fused kernel"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_an_engine_that_can(name):
    cls, options, says = REFUSED[name]
    with pytest.raises(ValueError, match=says):
        cls([torch.nn.Parameter(torch.ones(2))], engine="fused", **options)
    cls([torch.nn.Parameter(torch.ones(2))], engine="foreach", **options)


def test_a_group_that_the_engine_cannot_move_is_refused_when_it_is_added_and_when_it_becomes_one():
    optimizer = wd.AdamS([torch.nn.Parameter(torch.ones(2))], engine="fused")
    with pytest.raises(ValueError, match=r"cannot move group 1: .*16-bit"):
        optimizer.add_param_group(
            {"params": torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16)), "weight_decay": 0}
        )
    assert len(optimizer.param_groups) == 1
    optimizer.param_groups[0]["decay"] = wd.Elementwise()
    optimizer.param_groups[0]["params"][0].grad = torch.ones(2)
    with pytest.raises(ValueError, match="cannot move group 0"):
        optimizer.step()


def test_an_engine_that_cannot_is_not_switched_to():
    optimizer = wd.AMSGradS([torch.nn.Parameter(torch.ones(2))], engine="foreach")
    with pytest.raises(ValueError, match="cannot move"):
        optimizer.engine = "fused"
    with pytest.raises(ValueError, match="Did you mean 'foreach'"):
        optimizer.engine = "foreech"
    assert optimizer.engine == "foreach"


def test_auto_takes_the_kernels_where_it_can_and_follows_the_groups():
    p = torch.nn.Parameter(torch.ones(2))
    optimizer = wd.AdamS([p])
    p.grad = torch.ones(2)
    optimizer.step()
    assert type(optimizer.runner.chosen).__name__ == "Fused"
    optimizer.param_groups[0]["decay"] = wd.Elementwise()
    optimizer.step()
    assert type(optimizer.runner.chosen).__name__ == "Foreach"


@pytest.mark.parametrize("engine", ["auto", "foreach"])
@pytest.mark.parametrize("decay", [wd.Cautious(), wd.Stable()], ids=repr)
def test_a_strength_that_is_raised_in_place_switches_the_decay_on(decay, engine):
    """Nothing is written into the group: its λ is a tensor."""
    ends = []
    for name in (engine, "reference"):
        params, strength = weights(), torch.tensor(0.0, dtype=torch.float64)
        optimizer = wd.Adam(joined(params), lr=0.01, decay=decay, engine=name)
        optimizer.param_groups[0]["weight_decay"] = strength
        run = gradients(6, missing=False)
        drive(optimizer, params, run[:3])
        strength.fill_(0.5)
        drive(optimizer, params, run[3:])
        ends.append(flat(params))
    assert_close(*ends)


@pytest.mark.parametrize("engine", ["auto", "foreach", "fused"])
def test_a_group_that_was_away_between_two_steps_is_seen_anew(engine):
    """Somebody looks at the optimizer while one of its groups is taken out; what is written later still counts."""
    ends = []
    for name in (engine, "reference"):
        params = weights()
        optimizer = wd.AdamS([{"params": group} for group in params], lr=0.01, weight_decay=0.1, engine=name)
        run = gradients(6, missing=False)
        drive(optimizer, params, run[:3])
        both, optimizer.param_groups = optimizer.param_groups, optimizer.param_groups[:1]
        read_groups(optimizer)
        optimizer.param_groups = both
        both[1].update(lr=0.05, weight_decay=0.5)
        drive(optimizer, params, run[3:])
        ends.append(flat(params))
    assert_close(*ends)


# ---------------------------------------------------------------- cost


def test_adams_keeps_the_state_of_adamw_and_one_number_a_tensor():
    params, theirs = weights(), weights()
    optimizer, torchs = wd.AdamS(joined(params)), torch.optim.AdamW(joined(theirs), fused=True)
    drive(optimizer, params, gradients(3, missing=False))
    drive(torchs, theirs, gradients(3, missing=False))
    size = lambda o: sum(t.numel() for s in o.state_dict()["state"].values() for t in s.values())  # noqa: E731
    assert size(optimizer) == size(torchs)
    assert len(optimizer.state_dict()["weightdecay"]["v_sum"]) == len(joined(params))


def test_a_scaler_leaves_unscaling_to_the_engines():
    """No inf check on the host: the step gets scale and found_inf, and p.grad stays scaled."""
    p, q = (torch.nn.Parameter(torch.ones(3, dtype=torch.float64)) for _ in range(2))
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    ours, plain = wd.AdamS([p], lr=0.1, max_grad_norm=1.0), wd.AdamS([q], lr=0.1, max_grad_norm=1.0)
    for t in range(4):
        ours.zero_grad()
        scaler.scale((p**2).sum()).backward()
        if t == 2:
            p.grad[0] = float("inf")
        kept = p.grad.clone()
        scaler.step(ours)
        scaler.update()
        assert torch.equal(p.grad, kept)
        if t != 2:
            q.grad = 2 * q.detach()
            plain.step()
        assert_close([p.detach()], [q.detach()])
    assert ours.skipped_steps == 1


CARRIED = [
    (wd.Adam, {}),
    (wd.SGD, {}),
    *((wd.SGD, {"momentum": 0.9, **more}) for more in ({}, {"nesterov": True}, {"dampening": 0.5})),
    *((wd.HeavyBall, {"momentum": 0.9, **more}) for more in ({}, {"nesterov": True}, {"dampening": -0.5})),
]


@pytest.mark.parametrize("lr", [0.0, 1e-42, 1e-3])
@pytest.mark.parametrize(("method", "options"), CARRIED, ids=str)
def test_a_pull_that_no_kernel_can_carry_is_taken_too(method, options, lr):
    """A kernel carries pull as its weight decay pull/η, which is no number of float32 for an η of 0 or nearly 0."""
    paths = []
    for engine in ("fused", "reference"):
        p = torch.nn.Parameter(torch.linspace(1, 2, 5))
        optimizer = method([p], lr=lr, weight_decay=0.1, decay=wd.Vanilla(), engine=engine, **options)
        for t in range(4):
            p.grad = torch.full_like(p, 0.1 * t)
            optimizer.step()
        paths.append((p.detach(), optimizer.state[p].get("momentum_buffer", p.detach())))
    for mine, theirs in zip(*paths, strict=True):
        assert_close([mine], [theirs], TOLERANCE[torch.float32])
    assert paths[0][0][0] < 0.7  # four times a tenth


@pytest.mark.parametrize("engine", ["reference", "foreach", "fused", "auto"])
@pytest.mark.parametrize("cls", [wd.AdamS, wd.SGDS])
@pytest.mark.parametrize("sizes", [(0, 3), (3, 0), (0, 3, 0)])
def test_a_tensor_may_have_no_elements(sizes, cls, engine):
    """As the pieces of a sharded model have none, in processes that come away empty."""
    params = [torch.nn.Parameter(torch.ones(size)) for size in sizes]
    optimizer = cls([{"params": params[:1]}, {"params": params[1:]}], lr=0.1, weight_decay=0.1, engine=engine)
    alone = torch.nn.Parameter(torch.ones(3))
    other = cls([alone], lr=0.1, weight_decay=0.1, engine="reference")
    for _ in range(3):
        for p in (*params, alone):
            p.grad = torch.ones_like(p)
        optimizer.step()
        other.step()
    assert_close([p.detach() for p in params if p.numel()], [alone.detach()], 2e-6)
