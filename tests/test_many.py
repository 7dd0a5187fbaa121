"""Thousands of groups and of tensors: what they cost grows as their number."""

import gc
import time

import pytest
import torch

import weightdecay as wd

FEW, MANY = 300, 4800
MOST = 64  # times the time for 16 times as many: linear is 16, quadratic 256; each is four times away


def parameters(count):
    return [torch.nn.Parameter(torch.zeros(2)) for _ in range(count)]


def seconds(work, count):
    """Return the processor time of what ``work(count)`` returns, the collector of circles at rest."""
    prepared = work(count)
    gc.collect()
    gc.disable()
    try:
        start = time.process_time()
        prepared()
        return time.process_time() - start
    finally:
        gc.enable()


def ratio(work):
    """Return by how much the time grows; of the short one the quickest of three tries, for it is soon disturbed."""
    return seconds(work, MANY) / min(seconds(work, FEW) for _ in range(3))


def groups_built(count):
    groups = [{"params": [p], "lr": 1e-3} for p in parameters(count)]
    return lambda: wd.AdamS(groups)


def named_groups_built(count):
    groups = [{"params": [(f"layer{i}.weight", p)], "weight_decay": 0.0} for i, p in enumerate(parameters(count))]
    return lambda: wd.AdamS(groups)


def groups_added(count):
    optimizer = wd.SGDS(parameters(1))
    others = parameters(count)

    def add():
        for p in others:
            optimizer.add_param_group({"params": [p]})

    return add


def tensors_built(count):
    params = parameters(3 * count)
    return lambda: wd.AdamS(params)


def stepped(of_groups, engine):
    def work(count):
        params = parameters(count)
        optimizer = wd.AdamS([{"params": [p]} for p in params] if of_groups else params, engine=engine)
        for p in params:
            p.grad = torch.ones_like(p)
        return optimizer.step

    return work


def saved(count):
    params = parameters(count)
    optimizer = wd.AdamS([{"params": [p]} for p in params])
    for p in params:
        p.grad = torch.ones_like(p)
    optimizer.step()
    return lambda: optimizer.load_state_dict(optimizer.state_dict())


def attached(count):
    params = parameters(count)
    optimizer = torch.optim.SGD(params, lr=0.1)  # which builds groups in quadratic time
    optimizer.param_groups = [{**optimizer.param_groups[0], "params": [p]} for p in params]
    return lambda: wd.attach(optimizer, wd.Stable())


WORK = {
    "groups built": groups_built,
    "named groups built": named_groups_built,
    "groups added": groups_added,
    "tensors built": tensors_built,
    "a first step of groups": stepped(True, "auto"),
    "a first step of groups, reference": stepped(True, "reference"),
    "a first step of tensors": stepped(False, "auto"),
    "saved and loaded": saved,
    "attached": attached,
}


@pytest.mark.parametrize("what", WORK)
def test_what_it_costs_grows_as_the_number(what):
    WORK[what](10)()  # what is done once in a process
    assert ratio(WORK[what]) <= MOST


def test_ten_thousand_tensors_build_and_step():
    params = parameters(10_000)
    optimizer = wd.AdamS(params, lr=0.1, weight_decay=0.0)
    for p in params:
        p.grad = torch.ones_like(p)
    optimizer.step()
    optimizer.step()
    assert {tuple(p.tolist()) for p in params} == {tuple(params[0].tolist())}
    assert params[0][0].item() == pytest.approx(-0.2)
