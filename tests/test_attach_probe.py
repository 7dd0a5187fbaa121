"""Before the first step a twin of the optimizer tells whether a shrunk weight stays shrunk; nothing else moves."""

import copy

import pytest
import torch
from drive import assert_close, flat, gradients, joined, set_gradients, weights
from peers import PACKAGES, classes, measure
from twins import TWINS

import weightdecay as wd
from weightdecay import attach
from weightdecay.attaching import gains
from weightdecay.attaching import options as groups_options
from weightdecay.attaching.probe import speaks

# ---------------------------------------------------------------- kinds of optimizers, as small as they can be


class Rule(torch.optim.Optimizer):
    """One rule for every tensor with a gradient."""

    def __init__(self, params, lr=0.1, weight_decay=0.0, **more):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, **more})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.move(p, group, self.state[p])


class Plain(Rule):
    def move(self, p, group, state):
        p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(group["lr"] * p.grad)


class ScheduleFree(Rule):
    """p is the average of what is optimised."""

    def move(self, p, group, state):
        z = state.setdefault("z", p.clone())
        k = state["k"] = state.get("k", 0) + 1
        z.sub_(group["lr"] * p.grad)
        p.lerp_(z, 1 / k)


class Anew(Rule):
    """As FTRL, MADGRAD: the weight follows from the sum of all gradients."""

    def move(self, p, group, state):
        start = state.setdefault("start", p.clone())
        total = state.setdefault("total", torch.zeros_like(p)).add_(p.grad)
        p.copy_(start - group["lr"] * total)


class OwnNorm(Rule):
    def move(self, p, group, state):
        norm = state.setdefault("norm", p.norm().clone())
        p.sub_(group["lr"] * p.grad)
        p.mul_(norm / p.norm())


class Attracted(Rule):
    """As FOCUS: towards a running mean of the weights."""

    def move(self, p, group, state):
        mean = state.setdefault("mean", p.clone()).lerp_(p, 0.1)
        p.sub_(0.01 * group["lr"] * torch.sign(p - mean)).sub_(group["lr"] * p.grad)


class OwnLr(Rule):
    """As Prodigy: the step size is d·lr, with a d of its own."""

    def move(self, p, group, state):
        lr = 1e-6 * group["lr"]
        p.mul_(1 - lr * group["weight_decay"]).sub_(lr * p.grad)


class Trusting(Rule):
    """As LAMB: a step as long as the weight is, decay included. Its lr is the group's."""

    def move(self, p, group, state):
        u = p.grad.sign() + group["weight_decay"] * p
        p.sub_(group["lr"] * u * (p.norm() / u.norm() if u.any() else 1.0))


class Silent(Rule):
    """Whose own weight_decay does nothing, as an L2 that a sign forgets."""

    def move(self, p, group, state):
        p.sub_(group["lr"] * p.grad.sign())


class RandomStart(Rule):
    def move(self, p, group, state):
        noise = state.setdefault("noise", torch.randn_like(p))
        p.sub_(group["lr"] * (p.grad + 0.01 * noise))


class NoTwin(Plain):
    """Cannot be built from its groups."""

    def __init__(self, model):
        super().__init__(model.parameters())
        self.model = model


def stepped(optimizer, params, **options):
    attach(optimizer, wd.Decoupled(), weight_decay=0.05, **options)
    set_gradients(params, gradients(1, missing=False)[0])
    optimizer.step()
    return optimizer


def built(kind):
    params = weights()
    return kind(joined(params)), params


@pytest.mark.parametrize("kind", [ScheduleFree, Anew, OwnNorm, Attracted])
def test_a_step_that_undoes_it_is_refused_before_anything_moves(kind):
    optimizer, params = built(kind)
    before = flat(params)
    with pytest.raises(
        TypeError, match=rf"{kind.__name__} does not keep .* shrank by 0.005 .* were smaller by \d"
    ) as said:
        stepped(optimizer, params)
    assert "check=False" in str(said.value)
    assert_close(flat(params), before, 0)
    assert not optimizer.state


def test_an_lr_that_is_not_the_groups_is_refused_with_both_numbers():
    optimizer, params = built(OwnLr)
    with pytest.raises(TypeError, match=r"the lr of OwnLr's step .* takes 0.001 of every weight .* is 1e\+03"):
        stepped(optimizer, params)


@pytest.mark.parametrize("kind", [Plain, Trusting, Silent, RandomStart])
def test_what_keeps_it_is_taken(kind):
    optimizer, params = built(kind)
    stepped(optimizer, params)
    other, mirror = built(kind)
    stepped(other, mirror, check=False)
    if kind is not RandomStart:
        assert_close(flat(params), flat(mirror), 0)


@pytest.mark.parametrize("kind", [ScheduleFree, OwnLr])
def test_who_answers_for_it_may_do_it(kind):
    optimizer, params = built(kind)
    stepped(optimizer, params, check=False)


def test_in_a_distributed_run_those_that_speak_to_no_other_process_are_checked(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    p = torch.nn.Parameter(torch.ones(4, 3))
    optimizer = Anew([p])
    attach(optimizer, wd.Decoupled(), weight_decay=0.1)
    p.grad = torch.ones_like(p)
    with pytest.raises(TypeError, match="does not keep what attach"):
        optimizer.step()
    assert not speaks(torch.optim.AdamW)
    assert speaks(type("Speaker", (Anew,), {"__module__": "torch.nn.parallel.distributed"}))
    assert speaks(type("Unknown", (Anew,), {"__module__": "nowhere"}))


def test_where_there_is_no_twin_nothing_is_said():
    model = torch.nn.Linear(3, 2)
    optimizer = NoTwin(model)
    attach(optimizer, wd.Decoupled(), weight_decay=0.05)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    assert Plain(model.parameters()).param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize("name", TWINS)
def test_it_leaves_everything_as_it_was(name):
    """Weights, state, random numbers, what a schedule or a user put onto the optimizer."""
    kind, _, options, more = TWINS[name]
    runs = []
    for check in (True, False):
        params = weights(torch.float32)
        optimizer = kind(joined(params), weight_decay=0.1, **options, **more)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        attach(optimizer, wd.Stable(), check=check)
        torch.manual_seed(3)
        for step in gradients(3, missing=False):
            set_gradients(params, step)
            optimizer.step()
            scheduler.step()
        state = copy.deepcopy(optimizer.state_dict()["state"])
        runs.append((flat(params), [v for s in state.values() for v in s.values()], torch.rand(3)))
    (a, states, x), (b, others, y) = runs
    assert_close(a, b, 0)
    assert torch.equal(x, y)
    assert all(torch.equal(torch.as_tensor(s), torch.as_tensor(t)) for s, t in zip(states, others, strict=True))


def test_an_lr_of_none_is_said():
    optimizer = Plain([torch.nn.Parameter(torch.ones(2))])
    optimizer.param_groups[0]["lr"] = None
    with pytest.raises(ValueError, match=r"lr=None in group 0.*Give the optimizer an lr"):
        attach(optimizer, wd.Decoupled())


# ---------------------------------------------------------------- the real ones


def of(module):
    """The optimizers of a package; skips where it is not installed, and says so."""
    pytest.importorskip(module, reason=f"{PACKAGES[module]} is not installed; it comes with weightdecay[peers]")
    return classes(module)


MADE_ANEW = [
    *(("pytorch_optimizer", f"ScheduleFree{name}") for name in ("AdamW", "SGD", "RAdam")),
    *(("pytorch_optimizer", name) for name in ("Nero", "FOCUS", "FTRL")),
    *(("schedulefree", f"{name}ScheduleFree") for name in ("AdamW", "SGD", "RAdam")),
]


@pytest.mark.parametrize(("module", "name"), MADE_ANEW)
def test_the_silent_ones_are_caught_without_a_list_of_names(module, name, monkeypatch):
    monkeypatch.setattr("weightdecay.attaching.refusals.AWAY", ())
    verdict, _ = measure(of(module)[name])
    assert "does not keep what attach() does" in verdict


@pytest.mark.parametrize(
    ("module", "name"), [("prodigyopt", "Prodigy"), ("dadaptation", "DAdaptAdam"), ("dadaptation", "DAdaptLion")]
)
def test_a_step_size_of_its_own_is_followed_or_caught(module, name, monkeypatch):
    """λ·d·lr is what the optimizer's own decay takes; without knowing of d it would be a million times as much."""
    kind = of(module)[name]
    own, ours = (_run_of_its_own(kind, attached) for attached in (False, True))
    assert ours == pytest.approx(own, rel=0.02)
    monkeypatch.setattr(groups_options, "lr_of", lambda group: group["lr"])
    assert gains.lr_of({"lr": 2.0, "d": 0.5}) == 1.0
    if name == "Prodigy":
        with pytest.raises(TypeError, match=r"the lr of Prodigy's step"):
            _run_of_its_own(kind, True)


def _run_of_its_own(kind, attached):
    """Return by which part the weight shrank in a step in which d is 1e-3."""
    ends = []
    for strength in (0.0, 50.0):
        torch.manual_seed(0)
        weight = torch.nn.Parameter(torch.randn(6, 4))
        start = weight.detach().clone()
        named = {"decouple": True} if "DAdaptAdam" in kind.__name__ else {}
        try:
            optimizer = kind([weight], lr=1.0, weight_decay=strength, **named)
        except TypeError:
            optimizer = kind([weight], lr=1.0, weight_decay=strength)
        for group in optimizer.param_groups:
            group["d"] = 1e-3
        if attached and strength:
            attach(optimizer, wd.Decoupled())
        weight.grad = torch.linspace(-1, 2, 24).view(6, 4)
        optimizer.step()
        ends.append(weight.detach().double())
    return (torch.dot((ends[0] - ends[1]).flatten(), start.double().flatten()) / start.double().square().sum()).item()
