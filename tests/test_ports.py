"""The ports of a decay: each toy walks the path of a naive float64 loop, in every engine that does not refuse it."""

import copy
import functools
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from drive import assert_close, drive, flat, gradients, joined, schedule, set_gradients, weights
from toys import TOYS, Cautious, Everything, Sign, Toy

import weightdecay as wd

pytestmark = pytest.mark.filterwarnings("ignore:.*of every weight of group")  # some toys pull more than anybody means

STEPS = 14
ENGINES = ("reference", "foreach", "auto", "fused")


# ---------------------------------------------------------------- the naive loop


def adam(s, g):
    s["m"] = 0.9 * s.get("m", 0.0) + 0.1 * g
    s["v"] = 0.99 * s.get("v", 0.0) + 0.01 * g**2
    m, v = s["m"] / (1 - 0.9 ** s["t"]), s["v"] / (1 - 0.99 ** s["t"])
    return m / (np.sqrt(v) + 1e-8), 1 / (np.sqrt(v) + 1e-8), v


def momentum(s, g):
    s["m"] = 0.9 * s["m"] + g if "m" in s else g
    return s["m"], 10.0, None


def sign(s, g):
    s["m"] = 0.9 * s.get("m", 0.0) + 0.1 * g
    return np.sign(s["m"]), None, None


@dataclass(frozen=True)
class Method:
    cls: type
    options: dict
    box: object  # (memory, gradient) → u, gain, v̂
    lr: float


METHODS = {
    "Adam": Method(wd.Adam, {"betas": (0.9, 0.99), "eps": 1e-8}, adam, 1e-2),
    "SGD": Method(wd.SGD, {"momentum": 0.9}, momentum, 1e-2),
    "Sign": Method(Sign, {}, sign, 1e-2),
}

CASES = [
    pytest.param(name, toy, id=f"{name}-{toy}")
    for name in METHODS
    for toy in TOYS
    if name != "Sign" or not {"mean_gain", "gain"} & toy.decay.needs
]
"""The sign multiplies no gradient: what asks for a gain is refused there, as another test sees."""


def lrs_of(lr):
    return [schedule(STEPS, lr), schedule(STEPS, 0.3 * lr), schedule(STEPS, lr)]


def strengths_of(toy):
    return [toy.strength, 3 * toy.strength, 0.0]


def sorted_into_groups(nested):
    """Three groups: the last tensor of the second has λ = 0."""
    return [nested[0], nested[1][:-1], nested[1][-1:]]


def naive(method, toy, start, run, lrs=None, strengths=None):
    """Return the weights after the run, the largest pull of each group in the last step, and the steps clamped."""
    lrs, strengths = lrs or lrs_of(method.lr), strengths or strengths_of(toy)
    theta = [[np.array(p, dtype=np.float64) for p in group] for group in sorted_into_groups(start)]
    memory = [[{"t": 0} for _ in group] for group in theta]
    clamped, pulls = 0, []
    for t, step in enumerate(run):
        moving, pulls = [], [0.0] * len(theta)
        for g, group in enumerate(sorted_into_groups(step)):
            for i, grad in enumerate(group):
                if grad is None:
                    continue
                s, strength = memory[g][i], strengths[g]
                s["t"] += 1
                grad = toy.couple(grad, theta[g][i], strength) if strength else grad
                moving.append((g, i, strength, grad, s["t"], *method.box(s, grad)))
        squares = [v for *_, v in moving if v is not None]
        mean_gain = (sum(v.sum() for v in squares) / sum(v.size for v in squares)) ** -0.5 if squares else 10.0
        for g, i, strength, grad, count, u, gain, _ in moving:
            old, lr = theta[g][i], lrs[g][t]
            if not strength:
                theta[g][i] = old - lr * u
                continue
            s = SimpleNamespace(strength=strength, lr=lr, t=count, mean_gain=mean_gain, gain=gain)
            s.update, s.weight, s.grad = u, old, grad
            pull, anchor = toy.pull(s), toy.anchor(s)
            pulls[g] = max(pulls[g], float(np.max(pull)))
            new = anchor + (1 - np.minimum(pull, 1) * toy.mask(s)) * (old - anchor) - lr * u
            theta[g][i] = np.asarray(toy.constrain(s, old, new))
        clamped += max(pulls) > 1
    return [p for group in theta for p in group], [min(pull, 1.0) for pull in pulls], clamped


def build(method, toy, params, engine, **options):
    groups = [
        {"params": some, "weight_decay": strength}
        for some, strength in zip(sorted_into_groups(params), strengths_of(toy), strict=True)
    ]
    return method.cls(groups, lr=method.lr, decay=toy.decay, engine=engine, **method.options, **options)


@functools.cache
def walked(name, number):
    """Where the naive loop comes to: the same for every engine."""
    start = [[p.detach().numpy() for p in group] for group in weights()]
    return naive(METHODS[name], TOYS[number], start, gradients(STEPS))


@functools.cache
def reference(name, number):
    """Where the reference comes to in float32: the same for every other engine."""
    params = weights(torch.float32)
    drive(build(METHODS[name], TOYS[number], params, "reference"), params, gradients(STEPS), lrs_of(METHODS[name].lr))
    return flat(params)


def fused_can(name, toy):
    return name != "Sign" and toy.decay.uniform


# ---------------------------------------------------------------- the law


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("name", "toy"), CASES)
def test_every_engine_walks_the_naive_path(name, toy, engine):
    method, run, params = METHODS[name], gradients(STEPS), weights()
    if engine == "fused" and not fused_can(name, toy):
        with pytest.raises(ValueError, match=r'engine="fused" cannot move .* Use engine="foreach"'):
            build(method, toy, params, engine)
        return
    optimizer = build(method, toy, params, engine)
    drive(optimizer, params, run, lrs_of(method.lr))
    expected, pulls, clamped = walked(name, TOYS.index(toy))
    assert_close(flat(params), expected)
    assert optimizer.pulls == pytest.approx(pulls, rel=1e-11)
    assert optimizer.clamped_steps == clamped


def test_the_toys_do_something():
    """Each path is far from the same optimizer's without decay, or the law above would say nothing."""
    run = gradients(STEPS)
    start = [[p.detach().numpy() for p in group] for group in weights()]
    for name, toy in (case.values for case in CASES):
        method = METHODS[name]
        there, _, _ = walked(name, TOYS.index(toy))
        plain, _, _ = naive(method, toy, start, run, strengths=[0.0] * 3)
        distance = max(np.abs(a - b).max() for a, b in zip(there, plain, strict=True))
        assert distance > 1e-3, f"{name} {toy}"


def test_some_toy_passes_one():
    later = next(toy for toy in TOYS if str(toy) == "Later")
    _, pulls, clamped = walked("SGD", TOYS.index(later))
    assert 0 < clamped < STEPS
    assert max(pulls) == 1.0


LOCKSTEP = [
    pytest.param(*case.values, engine, id=f"{case.id}-{engine}")
    for case in CASES
    for engine in ("foreach", "auto", "fused")
    if engine != "fused" or fused_can(*case.values)
]


@pytest.mark.parametrize(("name", "toy", "engine"), LOCKSTEP)
def test_lockstep_in_float32(name, toy, engine):
    params = weights(torch.float32)
    drive(build(METHODS[name], toy, params, engine), params, gradients(STEPS), lrs_of(METHODS[name].lr))
    assert_close(flat(params), reference(name, TOYS.index(toy)), 2e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "toy"), [case.values for case in CASES if case.id in ("Adam-Everything", "SGD-Sphere", "Sign-Cautious")]
)
def test_compiled_walks_the_naive_path(name, toy):
    """Seconds a graph: one toy an optimizer, without tensors that come and go but for the late joiner."""
    method = METHODS[name]
    params, *run = ([step[0][1:], step[1][::2]] for step in (weights(), *gradients(12, missing=False)))
    for step in run[:2]:
        step[1][0] = None
    start = [[p.detach().numpy().copy() for p in group] for group in params]
    drive(build(method, toy, params, "compiled"), params, run, lrs_of(method.lr))
    assert_close(flat(params), naive(method, toy, start, run)[0])


# ---------------------------------------------------------------- other weights


@pytest.mark.parametrize("engine", ["reference", "foreach", "auto"])
@pytest.mark.parametrize(("name", "toy"), CASES)
def test_complex_weights_are_pairs_of_reals(name, toy, engine):
    method, draw = METHODS[name], np.random.default_rng(5)
    shapes = [[(3, 4, 2), (5, 2)], [(2, 3, 2), (1, 2), (7, 2)]]
    start = [[draw.standard_normal(shape) for shape in group] for group in shapes]
    run = [[[draw.standard_normal(shape) for shape in group] for group in shapes] for _ in range(8)]
    for step in run[:3]:
        step[1][0] = None
    params = [[torch.nn.Parameter(torch.view_as_complex(torch.tensor(p))) for p in group] for group in start]
    optimizer = build(method, toy, params, engine)
    for t, step in enumerate(run):
        for p, g in zip(joined(params), joined(step), strict=True):
            p.grad = None if g is None else torch.view_as_complex(torch.tensor(g))
        for group, lr in zip(optimizer.param_groups, lrs_of(method.lr), strict=True):
            group["lr"] = lr[t]
        optimizer.step()
    ours = [torch.view_as_real(p.detach()) for p in joined(params)]
    assert_close(ours, naive(method, toy, start, run)[0])


def with_compensation(optimizer, p):
    """θ: the weight, and what it could not hold."""
    return p.detach().double() + optimizer.state[p].get("compensation", torch.zeros(())).double()


@pytest.mark.parametrize("rounding", ["stochastic", "compensated"])
@pytest.mark.parametrize("engine", ["foreach", "auto"])
@pytest.mark.parametrize(("name", "toy"), CASES)
def test_sixteen_bits_round_as_the_reference_does(name, toy, engine, rounding):
    """The noise is a function of (seed, tensor, step, element); what the ports see is float32 in every engine."""
    outcome = []
    for each in (engine, "reference"):
        params = weights(torch.bfloat16)
        optimizer = build(METHODS[name], toy, params, each, rounding=rounding)
        drive(optimizer, params, gradients(12), lrs_of(METHODS[name].lr))
        outcome.append(torch.cat([with_compensation(optimizer, p).flatten() for p in joined(params)]))
    ours, theirs = outcome
    spacing = 2.0**-7 * theirs.abs().clamp(min=1e-3)
    assert ((ours - theirs).abs() <= spacing).all()
    assert (ours == theirs).float().mean() > 0.9


@pytest.mark.parametrize(("name", "toy"), CASES)
def test_compensation_follows_the_naive_path(name, toy):
    """Decay and update of a hundredth of a spacing: with compensation nothing of them is lost."""
    method, params = METHODS[name], weights(torch.bfloat16)
    run = [
        [[torch.as_tensor(g).bfloat16().double().numpy() for g in group] for group in step]
        for step in gradients(STEPS, missing=False)
    ]
    start = [[p.detach().double().numpy() for p in group] for group in params]
    lrs = [[0.1 * lr for lr in group] for group in lrs_of(method.lr)]
    optimizer = build(method, toy, params, "auto", rounding="compensated")
    drive(optimizer, params, run, lrs)
    ours = [with_compensation(optimizer, p) for p in joined(params)]
    expected, _, _ = naive(method, toy, start, run, lrs)
    worst = max((a - torch.as_tensor(b)).abs().max().item() for a, b in zip(ours, expected, strict=True))
    assert worst < 2.0**-9  # half a spacing below 1; θ itself has moved further


# ---------------------------------------------------------------- checkpoints and copies


@pytest.mark.parametrize("engine", ["reference", "foreach", "auto"])
@pytest.mark.parametrize(("name", "toy"), CASES)
def test_a_checkpoint_in_mid_run_resumes_bit_exactly(name, toy, engine, tmp_path):
    method, run, whole, half = METHODS[name], gradients(STEPS), weights(torch.float32), weights(torch.float32)
    lrs = lrs_of(method.lr)
    drive(build(method, toy, whole, engine), whole, run, lrs)
    first = build(method, toy, half, engine)
    drive(first, half, run[:8], lrs)
    torch.save(first.state_dict(), tmp_path / "file.pt")
    second = build(method, toy, half, engine)
    second.load_state_dict(torch.load(tmp_path / "file.pt", weights_only=True))
    drive(second, half, run[8:], lrs, start=8)
    assert_close(flat(half), flat(whole), 0)


@pytest.mark.parametrize("engine", ["reference", "foreach", "auto"])
@pytest.mark.parametrize(("name", "toy"), CASES)
def test_a_deep_copy_goes_on_alone(name, toy, engine):
    method, run, lrs = METHODS[name], gradients(STEPS), lrs_of(METHODS[name].lr)
    params = weights(torch.float32)
    optimizer = build(method, toy, params, engine)
    drive(optimizer, params, run[:8], lrs)
    twins, twin = copy.deepcopy((params, optimizer))
    assert twin.param_groups[0]["decay"] == toy.decay
    drive(twin, twins, run[8:], lrs, start=8)
    after = flat(twins)
    drive(optimizer, params, run[8:], lrs, start=8)
    assert_close(flat(params), after, 0)
    assert_close(flat(twins), after, 0)


# ---------------------------------------------------------------- what is refused


class Silent(wd.Decay):
    """Asks for what its needs do not name."""

    def pull(self, step):
        return step.lr * step.strength

    def mask(self, step):
        return step.update() > 0


class SilentPull(wd.Decay):
    """The same in the pull, which looks uniform."""

    needs = frozenset({"mean_gain"})

    def pull(self, step):
        return step.mean_gain() * step.weight().mean()


class Strange(wd.Decay):
    needs = frozenset({"weight", "momentum"})


class NeedsGain(wd.Decay):
    needs = frozenset({"gain"})

    def pull(self, step):
        return step.lr * step.strength * step.gain()


def one(cls=wd.Adam, **options):
    p = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    p.grad = torch.ones_like(p)
    return p, cls([p], lr=0.1, weight_decay=0.1, **options)


@pytest.mark.parametrize(
    ("decay", "engines", "says"),
    [
        (
            Silent(),
            ("reference", "foreach", "auto"),
            r"Silent\(\) asks for step\.update\(\), but its needs are \[\]\. ",
        ),
        (SilentPull(), ENGINES, r"asks for step\.weight\(\), .*Write needs = frozenset\(\['mean_gain', 'weight'\]\)"),
    ],
)
def test_a_fact_that_needs_do_not_name_is_refused_with_what_to_write(decay, engines, says):
    for engine in engines:
        p, optimizer = one(decay=decay, engine=engine)
        before = p.detach().clone()
        with pytest.raises(TypeError, match=says):
            optimizer.step()
        assert torch.equal(p, before)
        assert not optimizer.state.get(p)
        optimizer.param_groups[0]["decay"] = wd.Decoupled()
        optimizer.step()
        q, other = one(decay=wd.Decoupled(), engine="reference")
        other.step()
        assert_close([p.detach()], [q.detach()])


@pytest.mark.parametrize("engine", ["reference", "foreach", "auto", "fused"])
def test_a_need_that_is_no_fact_is_refused_when_built(engine):
    with pytest.raises(
        TypeError, match=r"Strange\(\) needs 'momentum', which is not a fact of a step\. Known: gain, grad"
    ):
        one(decay=Strange(), engine=engine)
    _, optimizer = one(engine=engine)
    with pytest.raises(TypeError, match="which is not a fact of a step"):
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(2))], "decay": Strange()})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("engine", ["reference", "foreach", "auto"])
@pytest.mark.parametrize(
    ("decay", "says"),
    [
        (wd.Stable(), r"Stable\(.*reads by how much the update multiplies a gradient, and Sign defines no mean_gain"),
        (NeedsGain(), r"NeedsGain\(\) .*multiplies each element of a gradient, and Sign defines no gain"),
        (Everything(), r"Everything\(\) .*Sign defines no mean_gain\. Decoupled\(\), .* or define Sign\.mean_gain"),
    ],
    ids=lambda value: value if isinstance(value, str) else repr(value),
)
def test_an_optimizer_without_a_gain_is_refused_before_anything_moves(decay, says, engine):
    with pytest.raises(TypeError, match=says):
        one(Sign, decay=decay, engine=engine)
    p, optimizer = one(Sign, engine=engine)
    optimizer.step()
    with pytest.raises(TypeError, match=says.replace("in group 0", "in group 1")):
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(2))], "decay": decay})
    assert len(optimizer.param_groups) == 1
    before, kept = p.detach().clone(), copy.deepcopy(optimizer.state[p])
    optimizer.param_groups[0]["decay"] = decay
    for _ in range(2):  # it says so again, as long as it is so
        with pytest.raises(TypeError, match=says):
            optimizer.step()
        assert torch.equal(p, before)
        assert {name: float(torch.as_tensor(value).sum()) for name, value in optimizer.state[p].items()} == {
            name: float(torch.as_tensor(value).sum()) for name, value in kept.items()
        }
    optimizer.param_groups[0]["decay"] = Cautious()
    optimizer.step()
    assert not torch.equal(p, before)


@pytest.mark.parametrize("decay", [Everything(), NeedsGain()], ids=repr)
def test_attach_refuses_what_is_inside_the_step(decay):
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))], weight_decay=0.1)
    with pytest.raises(TypeError, match=type(decay).__name__):
        wd.attach(optimizer, decay)
    assert optimizer.param_groups[0]["weight_decay"] == 0.1


def test_uniform_and_plain_follow_from_what_is_overridden():
    found = {str(toy): (toy.decay.uniform, toy.decay.plain) for toy in TOYS}
    assert {name for name, (uniform, _) in found.items() if uniform} == {"Lasso", "Later"}
    assert {name for name, (_, plain) in found.items() if plain} == {"Lasso", "Later", "ByTensor"}


def test_a_group_may_change_its_decay_between_steps():
    """Into one that the kernels cannot carry, and back; "auto" follows."""
    run, outcome = gradients(12), []
    for engine in ("auto", "foreach", "reference"):
        params = weights()
        optimizer = build(METHODS["Adam"], TOYS[0], params, engine)
        for t, step in enumerate(run):
            for group in optimizer.param_groups[:2]:
                group["decay"] = (Cautious(), wd.Stable(), Everything())[t % 3]
            set_gradients(params, step)
            optimizer.step()
        outcome.append(flat(params))
    assert_close(outcome[0], outcome[2])
    assert_close(outcome[1], outcome[2])


def test_every_fact_and_every_port_is_used_by_some_toy():
    assert set().union(*(toy.decay.needs for toy in TOYS)) == {"mean_gain", "gain", "update", "weight", "grad"}
    ports = ("couple", "pull", "mask", "anchor", "constrain")
    for port in ports:
        assert any(getattr(type(toy.decay), port) is not getattr(wd.Decay, port) for toy in TOYS)
    assert isinstance(TOYS[0], Toy)


class ByGradient(wd.Decay):
    """One number per tensor, for which it needs the gradient beside the gain."""

    needs = frozenset({"grad", "mean_gain"})

    def pull(self, step):
        return step.mean_gain() * step.grad().abs().mean()


def test_the_kernels_say_which_fact_they_do_not_show():
    with pytest.raises(ValueError, match=r"ByGradient\(\) looks at grad, which the kernel does not show\. Use engine"):
        one(decay=ByGradient(), engine="fused")
