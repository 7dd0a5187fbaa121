"""Attached decays that are more than one number per tensor take our own optimizers' step, with decays per group."""

import copy
import functools
import io

import pytest
import torch
from drive import assert_close, drive, flat, gradients, joined, schedule, set_gradients, weights
from twins import ADAM, STEPS, TWINS, groups_of

import weightdecay as wd
from weightdecay import attach
from weightdecay.attaching import Handle

STRENGTH = {"decoupled": 3.0, "corrected": 3.0, "independent": 0.03, "stable": 1.0, "logtime": 0.05}
RULES = [
    "cautious(decoupled)",
    "cautious(stable)",
    "toward(1.0, decoupled)",
    "toward(start, stable)",
    "cautious(toward(0.5, corrected))",
    "touchedrows(stable)",
    "normtarget(2.0, independent)",
    "logtime(horizon=7)",
    "cautious(logtime(horizon=7))",
]
SOME = ("AdamW fused", "AdamW maximize", "RAdam", "SGD nesterov")


def strength_of(rule, name="AdamW"):
    strength = next(value for word, value in STRENGTH.items() if word in rule)
    return strength / 20 if "SGD" in name and "stable" in rule else strength  # whose gain is 10, and lr 5 times Adam's


def twins(name, rule, **options):
    theirs, ours, given, implementation = TWINS[name]
    a, b, strength = weights(), weights(), strength_of(rule, name)
    built = theirs(groups_of(a, given, strength), weight_decay=strength, **given, **implementation)
    mine = ours(
        groups_of(b, given, strength), **{**given, "weight_decay": strength, "decay": rule, "engine": "reference"}
    )
    return (a, built, attach(built, rule, **options)), (b, mine)


def lrs(name):
    lr = TWINS[name][2]["lr"]
    return [schedule(STEPS, lr), schedule(STEPS, 0.3 * lr)]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", SOME)
def test_equals_our_own_optimizer(name, rule):
    """Groups of different lr and λ, late joiners, missing gradients, a schedule, a copy and a checkpoint in mid-run."""
    (a, theirs, handle), (b, mine) = twins(name, rule)
    run, half = gradients(STEPS), STEPS // 2
    rates = lrs(name)
    drive(theirs, a, run[:half], rates)
    drive(mine, b, run, rates)
    file = io.BytesIO()
    torch.save(theirs.state_dict(), file)
    c = copy.deepcopy(a)
    kind, _, given, implementation = TWINS[name]
    fresh = kind(groups_of(c, given, 0.1), weight_decay=0.1, **given, **implementation)
    attach(fresh, rule)
    file.seek(0)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    for optimizer, params in ((theirs, a), (fresh, c)):
        drive(optimizer, params, run[half:], rates, half)
        assert_close(flat(params), flat(b))
    assert max(handle.pulls) > 1e-4
    assert [g["weight_decay"] for g in theirs.param_groups] == [g["weight_decay"] for g in mine.param_groups]


@pytest.mark.parametrize("rule", [wd.Hyperball(), wd.RadialBrake(0.3)])
def test_constraints_equal_our_own(rule):
    ends = []
    for attached in (True, False):
        torch.manual_seed(0)
        matrix = torch.nn.Parameter(torch.randn(4, 3, dtype=torch.float64))
        size = matrix.norm().item()
        if attached:
            optimizer = torch.optim.AdamW([matrix], weight_decay=1.0, **ADAM)
            attach(optimizer, rule)
        else:
            optimizer = wd.Adam([matrix], weight_decay=1.0, decay=rule, engine="reference", **ADAM)
        for _ in range(20):
            matrix.grad = torch.randn(4, 3, dtype=torch.float64)
            optimizer.step()
        ends.append(matrix.detach().clone())
    assert_close(ends[:1], ends[1:])
    if rule == wd.Hyperball():
        assert ends[0].norm().item() == pytest.approx(size, rel=1e-13)


def test_a_group_has_a_decay_of_its_own():
    a, b = weights(), weights()
    rules = ["cautious(decoupled)", wd.Stable()]
    theirs, mine = groups_of(a, ADAM, 1.0), groups_of(b, ADAM, 1.0)
    for groups in (theirs, mine):
        groups[0]["decay"] = rules[0]
    theirs = torch.optim.AdamW(theirs, weight_decay=1.0, **ADAM)
    handle = attach(theirs, rules[1])
    mine = wd.Adam(mine, weight_decay=1.0, decay=rules[1], engine="reference", **ADAM)
    run = gradients(STEPS)
    for part in (run[: STEPS // 2], run[STEPS // 2 :]):
        drive(theirs, a, part)
        drive(mine, b, part)
    assert_close(flat(a), flat(b))
    assert all(pull > 1e-4 for pull in handle.pulls)
    saved = theirs.state_dict()
    assert [group["attached"]["decay"] for group in saved["param_groups"]] == [
        "Cautious(decay=Decoupled())",
        "Stable(power=0.5, eps=0.0)",
    ]
    theirs.load_state_dict(saved)  # no warning: each group's own
    theirs.param_groups[0]["decay"] = wd.L2()
    with pytest.raises(TypeError, match=r"L2\(\) enters the gradient"):
        drive(theirs, a, run[:1])
    theirs.param_groups[0]["decay"] = "caution"
    with pytest.raises(ValueError, match="Did you mean 'cautious'"):
        drive(theirs, a, run[:1])


def test_a_closure_makes_the_gradients_first():
    a, b = weights(), weights()
    for params, closed in ((a, True), (b, False)):
        optimizer = torch.optim.AdamW(joined(params), weight_decay=3.0, **ADAM)
        attach(optimizer, "cautious(toward(start))")
        for step in gradients(6, missing=False):
            give = functools.partial(set_gradients, params, step)
            if closed:
                optimizer.step(give)
            else:
                give()
                optimizer.step()
    assert_close(flat(a), flat(b), 0)


def test_taken_off_it_leaves_nothing_behind():
    params = weights()
    optimizer = torch.optim.SGD(joined(params), lr=0.1, weight_decay=0.1)
    handle = attach(optimizer, "toward(start)")
    drive(optimizer, params, gradients(3, missing=False))
    assert all("start" in memory for memory in optimizer.state.values())
    handle.remove()
    assert not any("start" in memory for memory in optimizer.state.values())
    assert Handle.of(optimizer) is None


def test_nothing_moves_where_a_gradient_is_not_finite():
    """As with the uniform decays: the optimizer steps as it would without us."""
    params, plain = weights(), weights()
    optimizer = torch.optim.AdamW(joined(params), weight_decay=3.0, **ADAM)
    handle = attach(optimizer, "cautious(stable)")
    bare = torch.optim.AdamW(joined(plain), weight_decay=0.0, **ADAM)
    step = gradients(1, missing=False)[0]
    for these, one in ((params, optimizer), (plain, bare)):
        set_gradients(these, step)
        joined(these)[0].grad.view(-1)[0] = torch.inf
        one.step()
    assert handle.skipped_steps == 1
    assert handle.pulls == [0.0]
    assert_close([p.nan_to_num(7.0) for p in flat(params)], [p.nan_to_num(7.0) for p in flat(plain)], 0)


@pytest.mark.filterwarnings("ignore:group 0 holds bfloat16 weights")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.complex64])
def test_other_numbers(dtype):
    """16-bit weights are rounded once, by the pull, or by the update and then by the pull; complex ones are pairs."""
    rule, weight = "cautious(toward(start, decoupled))", torch.nn.Parameter(torch.full((3,), 2.0, dtype=dtype))
    optimizer = torch.optim.SGD([weight], lr=0.25, weight_decay=2.0)
    attach(optimizer, rule, check=False)
    weight.grad = torch.full_like(weight, 4.0)
    optimizer.step()  # at its anchor nothing pulls
    assert weight.real.tolist() == [1.0] * 3
    weight.grad = torch.full_like(weight, -1.0)
    optimizer.step()  # both to the anchor: 1 + 0.25 + ½ (2 − 1)
    assert weight.real.tolist() == [1.75] * 3
    weight.grad = torch.full_like(weight, 1.0)
    optimizer.step()  # away from it
    assert weight.real.tolist() == [1.5] * 3


def test_sparse_gradients_have_no_rows_to_look_at():
    embedding = torch.nn.Embedding(4, 2, sparse=True)
    optimizer = torch.optim.SGD(embedding.parameters(), lr=0.1, weight_decay=0.1)
    attach(optimizer, "touchedrows")
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match=r"shape \(4, 2\) has a sparse gradient, and the gradient that TouchedRows"):
        optimizer.step()
