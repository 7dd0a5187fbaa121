"""A step with a closure is the step without one: the weights shrink when the closure has made the gradients."""

import pytest
import torch
from drive import assert_close, flat, gradients, set_gradients, weights
from twins import ATTACHABLE, STEPS, TWINS, build, pair

import weightdecay as wd
from weightdecay import attach


@pytest.mark.parametrize("how", ["positional", "keyword"])
@pytest.mark.parametrize("case", ATTACHABLE, ids=str)
@pytest.mark.parametrize("name", TWINS)
def test_it_is_the_step_without_a_closure(name, case, how):
    (a, ours, handle), (b, mirror, _) = pair(name, case)[0], pair(name, case)[0]
    for t, step in enumerate(gradients(STEPS)):
        ours.zero_grad()

        def closure(step=step, t=t):
            assert torch.is_grad_enabled()
            set_gradients(a, step)
            return torch.tensor(float(t))

        loss = ours.step(closure) if how == "positional" else ours.step(closure=closure)
        assert loss == t
        set_gradients(b, step)
        mirror.step()
        assert [g["weight_decay"] for g in ours.param_groups] == [g["weight_decay"] for g in mirror.param_groups]
    assert_close(flat(a), flat(b), 0)
    assert max(handle.pulls) > 1e-5


def test_what_the_closure_writes_into_the_groups_is_of_this_step():
    optimizer, handle = build(params := weights(), strength=0.1)
    step = gradients(1, missing=False)[0]

    def closure():
        optimizer.param_groups[0]["lr"] = 0.5
        set_gradients(params, step)

    other, _ = build(mirror := weights(), strength=0.1)
    other.param_groups[0]["lr"] = 0.5
    set_gradients(mirror, step)
    other.step()
    optimizer.step(closure)
    assert_close(flat(params), flat(mirror), 0)
    assert handle.pulls[0] > 0


def test_an_optimizer_that_evaluates_twice_is_refused_by_name():
    weight = torch.nn.Parameter(torch.tensor([3.0, -1.0]))
    optimizer = torch.optim.LBFGS([weight], lr=0.1, line_search_fn="strong_wolfe")
    attach(optimizer, wd.Decoupled(), weight_decay=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (weight**4).sum()
        loss.backward()
        return loss

    with pytest.raises(RuntimeError, match=r"LBFGS\.step calls its closure more than once"):
        optimizer.step(closure)
    assert optimizer.state_dict()["param_groups"][0]["weight_decay"] == 0.1


class Deaf(torch.optim.SGD):
    def step(self, closure=None):
        return super().step()


def test_an_optimizer_that_does_not_call_it_is_refused_by_name():
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = Deaf([weight], lr=0.1, weight_decay=0.1)
    attach(optimizer, wd.Decoupled())
    with pytest.raises(RuntimeError, match=r"Deaf\.step has not called its closure.*nothing has shrunk"):
        optimizer.step(lambda: None)


def test_a_closure_that_raises_leaves_everything_as_it_was():
    optimizer, _ = build(params := weights(), strength=0.1)
    before = flat(params)

    def closure():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        optimizer.step(closure)
    assert_close(flat(params), before, 0)
    assert optimizer.state_dict()["param_groups"][0]["weight_decay"] == 0.1
    other, _ = build(mirror := weights(), strength=0.1)
    for some, weights_ in ((optimizer, params), (other, mirror)):
        set_gradients(weights_, gradients(1, missing=False)[0])
        some.step()
    assert_close(flat(params), flat(mirror), 0)
