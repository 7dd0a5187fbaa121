"""What attach() refuses, when, and with which words."""

import pytest
import torch
from drive import drive, gradients, joined, set_gradients, weights
from twins import AdamW8bit, Rounded

import weightdecay as wd
from weightdecay import attach

Lion = type("Lion", (Rounded,), {})
SignSGD = type("SignSGD", (Rounded,), {})


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
    "a class": (lambda p: attach(adamw(p), wd.Stable), TypeError, r"is not a Decay. Call the class: Stable\(\)"),
    "a name": (lambda p: attach(adamw(p), "stabel"), ValueError, r"in attach\(\): no decay .* Did you mean 'stable'"),
    "our own": (lambda p: attach(wd.AdamW(p), S), TypeError, r"AdamW takes any decay itself: pass decay=Stable"),
    "L2": (lambda p: attach(adamw(p), wd.L2()), TypeError, r"L2\(\) enters the gradient.*own weight_decay"),
    "Elementwise": (
        lambda p: attach(adamw(p), wd.Elementwise()),
        TypeError,
        r"Elementwise\(\) needs the gain of every element, .* Use Adam\(..., decay=...\)",
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
        r"Muon has none, because it makes a matrix orthogonal. Decoupled\(\), Independent\(\) and Vanilla\(\)",
    ),
    "Lion": (lambda p: attach(Lion(p), S), TypeError, r"Lion has none, because it takes a sign.*gain="),
    "SignSGD": (lambda p: attach(SignSGD(p), S), TypeError, r"SignSGD has none, because it takes a sign"),
    "unknown": (
        lambda p: attach(torch.optim.Adagrad(p), S),
        TypeError,
        r'not known for Adagrad. Pass gain="adam" or "sgd" .* Decoupled\(\)',
    ),
    "gain none": (lambda p: attach(adamw(p), S, gain="none"), TypeError, r"not known for AdamW with gain='none'"),
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
    "peak of attach": (
        lambda p: attach(adamw(p), wd.Independent(), peak_lr=-1.0),
        ValueError,
        r"peak_lr=-1 in attach\(\)",
    ),
    "a group's own": (
        lambda p: attach(torch.optim.AdamW([{"params": p, "decay": wd.L2()}]), S),
        TypeError,
        r"L2\(\) enters the gradient",
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
    with pytest.raises(TypeError, match="asks for a gain for each element"):
        uneven.step()


def test_a_checkpoint_without_moments_in_full_precision_is_refused():
    a = weights()
    plain = AdamW8bit(joined(a), weight_decay=0.1)
    drive(plain, a, gradients(3))
    fresh = AdamW8bit(joined(weights()), weight_decay=0.1)
    attach(fresh, wd.Stable())
    with pytest.warns(UserWarning, match="no decay was attached"), pytest.raises(ValueError, match="no exp_avg_sq"):
        fresh.load_state_dict(plain.state_dict())


# ---------------------------------------------------------------- wrappers


def untouched(optimizer, strength=0.1):
    hooks = [len(value) for name, value in vars(optimizer).items() if name.endswith("_hooks")]
    inside = getattr(optimizer, "inner", optimizer)
    return not any(hooks) and all(group["weight_decay"] == strength for group in inside.param_groups)


class Wrapper(torch.optim.Optimizer):
    """Accelerate's: of torch's class, without a constructor of torch's."""

    def __init__(self, inner):
        self.inner = inner

    state = property(lambda self: self.inner.state)
    param_groups = property(lambda self: self.inner.param_groups)
    defaults = property(lambda self: self.inner.defaults)

    def step(self, closure=None):
        return self.inner.step(closure)


class Lookahead(Wrapper):
    """timm's: the groups and hooks are there, but the step runs none."""

    def __init__(self, inner):
        super().__init__(inner)
        self._optimizer_step_pre_hooks, self._optimizer_step_post_hooks = {}, {}


class OrthoGrad(torch.optim.Optimizer):
    """Groups of its own, without any option; the step is another's."""

    def __init__(self, inner):
        super().__init__([p for group in inner.param_groups for p in group["params"]], {})
        self.inner = inner

    def step(self, closure=None):
        return self.inner.step(closure)


@pytest.mark.parametrize("decay", [wd.Stable(), wd.Decoupled()], ids=repr)
@pytest.mark.parametrize("strength", [None, 0.5])
@pytest.mark.parametrize("cls", [Wrapper, Lookahead, OrthoGrad])
def test_a_wrapper_is_refused_before_anything_stays_behind(cls, strength, decay):
    inner = torch.optim.AdamW(joined(weights()), weight_decay=0.1)
    wrapper = cls(inner)
    with pytest.raises(TypeError, match=rf"{cls.__name__} .*attach\(optimizer.inner, ...\)"):
        attach(wrapper, decay, weight_decay=strength, gain="adam")
    assert untouched(wrapper)
    assert untouched(inner)
    attach(inner, decay)


@pytest.mark.parametrize("name", ["MADGRAD", "AdamWScheduleFree"])
def test_weights_that_are_made_anew_are_not_shrunk(name):
    optimizer = type(name, (Rounded,), {})(joined(weights()), weight_decay=0.1)
    with pytest.raises(TypeError, match=rf"{name} keeps other weights in its state"):
        attach(optimizer, wd.Decoupled())
    assert untouched(optimizer)


class Later(wd.Decay):
    """Reads which step it is."""

    def pull(self, step):
        return 0.001 * step.t


def test_a_decay_that_reads_t_and_does_not_say_so_is_refused_before_anything_moves():
    p = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([p], lr=1e-3, weight_decay=0.1)
    attach(optimizer, Later())
    p.grad = torch.ones(2)
    with pytest.raises(TypeError, match=r"write needs = frozenset\(\{\"t\"\}\)"):
        optimizer.step()
    assert torch.equal(p.detach(), torch.ones(2))
    assert optimizer.param_groups[0]["weight_decay"] == 0.1
