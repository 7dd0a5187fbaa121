"""The path of an accelerator, walked on the CPU: no number is read, and the numbers are the reference's.

A GPU is not needed for that much: every question "can this be read without waiting?" goes through one function, and
reading is refused where Python asks for it. What only a GPU can show is in benchmarks/accelerator.py.
"""

import copy
import math

import pytest
import torch
from cases import DECAYS, METHODS, PAIRS
from drive import assert_close, drive, flat, gradients, joined, schedule, set_gradients, weights

import weightdecay as wd
from weightdecay.engine.fused import refusal
from weightdecay.optim import scalars

STEPS = 12


class NoReading:
    """Refuses to bring a number to the host. (torch's loops on the CPU do so inside; its kernels on a GPU do not.)"""

    READS = ("item", "tolist", "numpy", "__bool__", "__float__", "__int__", "__index__")

    def __enter__(self):
        def refuse(*_, **__):
            raise AssertionError("the host waited")

        self.kept = {name: getattr(torch.Tensor, name) for name in self.READS}
        for name in self.READS:
            setattr(torch.Tensor, name, refuse)

    def __exit__(self, *_):
        for name, method in self.kept.items():
            setattr(torch.Tensor, name, method)


@pytest.fixture
def accelerator(monkeypatch):
    monkeypatch.setattr(scalars, "readable", lambda device: False)


def build(method, params, engine, case, **options):
    groups = [{"params": params[0]}, {"params": params[1], "lr": 0.3 * method.lr}]
    return method.cls(groups, lr=method.lr, weight_decay=case.strength, decay=case.decay, engine=engine, **options)


def step_unread(optimizer, engine):
    """The kernels on the CPU read their step counts themselves, on an accelerator they do not."""
    if engine == "fused":
        optimizer.step()
        return
    with NoReading():
        optimizer.step()


CASES = [
    *(pytest.param(m, c, e, id=f"{m}-{c}-{e}") for m, c in PAIRS for e in ("foreach", "fused")),
    *(
        pytest.param(m, DECAYS[4], "compiled", id=f"{m}-{DECAYS[4]}-compiled", marks=pytest.mark.slow)
        for m in (METHODS[0], METHODS[3], METHODS[4])
    ),
]


def can(method, case, engine):
    optimizer = build(method, weights(), "reference", case)
    return engine != "fused" or not any(refusal(optimizer, group) for group in optimizer.param_groups)


@pytest.mark.parametrize("clip", [None, 3.0], ids=["", "clipped"])
@pytest.mark.parametrize(("method", "case", "engine"), CASES)
def test_lockstep_without_reading(method, case, engine, clip, accelerator):
    if not can(method, case, engine):
        pytest.skip("refused")
    run, outcome = gradients(STEPS, missing=engine != "compiled"), []  # every set of tensors is a graph
    few = slice(0, 1 if engine == "compiled" else None)  # and every tensor makes it longer to compile
    run = [[group[few] for group in step] for step in run]
    lrs = [schedule(STEPS, method.lr), schedule(STEPS, 0.3 * method.lr)]
    for name in (engine, "reference"):
        params = [group[few] for group in weights()]
        optimizer = build(method, params, name, case, max_grad_norm=clip)
        for t, step in enumerate(run):
            for group, lr in zip(optimizer.param_groups, lrs, strict=True):
                group["lr"] = lr[t]
            set_gradients(params, step)
            # The first step makes state, and on a GPU kernels; from then on nothing waits.
            if name == "reference" or t == 0 or (engine == "compiled" and t == 1):
                optimizer.step()
            else:
                step_unread(optimizer, engine)
        outcome.append(flat(params))
    assert_close(*outcome)


@pytest.mark.parametrize("bad", [math.nan, math.inf], ids=str)
@pytest.mark.parametrize(
    ("method", "case", "engine"), [c for c in CASES if c.values[1] is DECAYS[4] and c.values[2] != "compiled"]
)
def test_a_bad_gradient_is_skipped_and_counted_without_reading(method, case, engine, bad, accelerator):
    if not can(method, case, engine):
        pytest.skip("refused")
    params, twin = weights(), weights()
    run = gradients(6, missing=False)
    optimizer, plain = (build(method, p, engine, case, max_grad_norm=5.0) for p in (params, twin))
    for t, step in enumerate(run):
        drive(optimizer, params, [step])
        drive(plain, twin, [step])
        if t < 2:
            continue
        poisoned = [[g.copy() for g in group] for group in step]
        poisoned[1][0][0, 1] = bad
        before, state = flat(params), copy.deepcopy(optimizer.state_dict()["state"])
        set_gradients(params, poisoned)
        step_unread(optimizer, engine)
        assert_close(flat(params), before, 0)
        after = optimizer.state_dict()["state"]
        assert all(torch.equal(after[i][k], v) for i, s in state.items() for k, v in s.items())
    assert optimizer.skipped_steps == 4
    assert plain.skipped_steps == 0
    assert_close(flat(params), flat(twin))


@pytest.mark.parametrize("engine", ["foreach", "fused"])
def test_the_clamp_is_counted_by_steps_without_reading(engine, accelerator):
    params = weights()
    optimizer = wd.AdamS([{"params": params[0]}, {"params": params[1], "lr": 1e-2}], weight_decay=1e12, engine=engine)
    run = gradients(4, missing=False)
    drive(optimizer, params, run[:1])
    for step in run[1:]:
        set_gradients(params, step)
        step_unread(optimizer, engine)
    assert optimizer.clamped_steps == 4


@pytest.mark.parametrize("engine", ["foreach", "fused"])
def test_a_scaler_that_found_an_inf_leaves_the_step_out(engine, accelerator):
    p = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = wd.AdamS([p], engine=engine)
    p.grad = torch.ones_like(p)
    optimizer.step()
    before = p.detach().clone()
    optimizer.grad_scale, optimizer.found_inf = torch.tensor(8.0), torch.tensor(1.0)
    step_unread(optimizer, engine)
    assert torch.equal(p.detach(), before)
    assert optimizer.skipped_steps == 1


@pytest.mark.parametrize("engine", ["foreach", "fused"])
def test_what_a_captured_graph_writes_stays_where_it_is(engine, accelerator):
    """A replay runs the same kernels on the same memory: S, counts and the norm must be written in place."""
    params = weights()
    optimizer = wd.AdamS(joined(params), engine=engine, max_grad_norm=2.0)
    run = gradients(4, missing=False)
    drive(optimizer, params, run[:2])
    engine = optimizer.runner

    def places():
        counts = [bucket.counts for bucket in engine.plan.buckets]
        written = (engine.account.memory.values, *counts, optimizer.grad_norm, *optimizer.counters.values())
        return [tensor.data_ptr() for tensor in written]

    before = places()
    drive(optimizer, params, run[2:])
    assert places() == before
