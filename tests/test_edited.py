"""An optimizer that is edited in mid-run walks on as the definition does, by every engine."""

import copy
import functools
import pickle

import pytest
import torch
from cases import DECAYS, METHODS, THOROUGH
from drive import assert_close
from edits import AT, EDITS, FEW, GRADIENTS, NEEDS, NEUTRAL, RESET, STEPS, drive, flat, gradient, tensors, weights

import weightdecay as wd

ENGINES = ("foreach", "fused", "auto")
STABLE = next(case for case in DECAYS if case.decay == wd.Stable())
WIDE = {"Adam": ("l2", "stable"), "SGD": ("stable",)}
PAIRS = [
    pytest.param(m, case, engine, id=f"{m}-{case.oracle}-{engine}")
    for m in METHODS
    for case in DECAYS
    for engine in ENGINES
    if case.decay != wd.Stable(power=0.25) and case.oracle in WIDE.get(str(m), ("stable",))
    if str(m) in WIDE or engine == "auto"
]


def build(method, case, engine, params, **more):
    """Two groups; the second has another lr, λ and, where it has any, other betas."""
    options = {**method.variants[1], **more}
    second = {"params": params[1], "lr": 0.3 * method.lr, "weight_decay": 2 * case.strength}
    if "betas" in method.cls.ranges:
        second["betas"] = (0.7, 0.95)
    groups = [{"params": params[0]}, second]
    return method.cls(groups, lr=method.lr, weight_decay=case.strength, decay=case.decay, engine=engine, **options)


def refused(engine, error):
    return engine == "fused" and 'Use engine="' in str(error)


def outcome(optimizer):
    """Return weights, and state by state what each tensor keeps."""
    kept = [{k: v for k, v in optimizer.state.get(p, {}).items() if k != "v_sum"} for p in tensors(optimizer)]
    return [p.detach().clone() for p in tensors(optimizer)], copy.deepcopy(kept)


def assert_same(ours, theirs, tolerance=1e-12):
    assert_close(ours[0], theirs[0], tolerance)
    for a, b in zip(ours[1], theirs[1], strict=True):
        assert set(a) == set(b)
        assert_close([a[name] for name in b], list(b.values()), tolerance)


@functools.cache
def walked(method, case, engine, edit, few=False):
    """Return where the run comes to; None where the engine refuses it. Method and case are frozen: one run for all."""
    method, case = method.value, case.value
    try:
        optimizer = build(method, case, engine, weights(shapes=FEW) if few else weights())
        drive(optimizer, range(STEPS), EDITS.get(edit), GRADIENTS.get(edit))
    except ValueError as error:
        if refused(engine, error):
            return None
        raise
    return outcome(optimizer)


class By:
    """A case, compared by its name."""

    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        return str(self.value) == str(other.value)

    def __hash__(self):
        return hash(str(self.value))


def walk(method, case, engine, edit, few=False):
    return walked(By(method), By(case), engine, edit, few)


def has_meaning(method, edit):
    return NEEDS.get(edit) is None or NEEDS[edit] in (*method.cls.ranges, *method.variants[1])


@pytest.mark.parametrize("edit", [*EDITS, *GRADIENTS])
@pytest.mark.parametrize(("method", "case", "engine"), PAIRS)
def test_every_engine_sees_the_edit_as_the_definition_does(method, case, edit, engine):
    if not has_meaning(method, edit):
        return
    ours = walk(method, case, engine, edit)
    if ours is not None:
        assert_same(ours, walk(method, case, "reference", edit))


@pytest.mark.parametrize("engine", ["reference", "auto"])
@pytest.mark.parametrize("edit", NEUTRAL)
@pytest.mark.parametrize("method", METHODS, ids=str)
def test_an_edit_that_changes_no_number_changes_nothing(method, edit, engine):
    ours = walk(method, STABLE, engine, edit)
    if ours is not None:
        assert_same(ours, walk(method, STABLE, "reference", "nothing"))


@pytest.mark.parametrize("edit", RESET)
@pytest.mark.parametrize("engine", ["reference", "auto"])
@pytest.mark.parametrize(("method", "case"), [(m, STABLE) for m in THOROUGH], ids=str)
def test_without_its_state_it_is_a_new_optimizer(method, case, edit, engine):
    ours = walk(method, case, engine, edit)
    if ours is None:
        return
    params = weights()
    drive(build(method, case, "reference", params), range(AT))
    new = build(method, case, "reference", params)
    drive(new, range(AT, STEPS))
    assert_same(ours, outcome(new))


# ---------------------------------------------------------------- copies and other engines


def driven(method, engine, **more):
    """Return an optimizer after AT steps; None where the engine refuses it."""
    try:
        optimizer = build(method, STABLE, engine, weights(), **more)
    except ValueError as error:
        assert refused(engine, error)  # noqa: PT017 - refusals are another test's
        return None
    drive(optimizer, range(AT))
    return optimizer


COPIED = {"deepcopy": copy.deepcopy, "pickle": lambda o: pickle.loads(pickle.dumps(o))}


@pytest.mark.parametrize("engine", ["reference", *ENGINES])
@pytest.mark.parametrize("how", COPIED)
@pytest.mark.parametrize("method", METHODS, ids=str)
def test_a_copy_and_the_original_go_their_own_ways(method, how, engine):
    if (optimizer := driven(method, engine)) is None:
        return
    other = COPIED[how](optimizer)
    assert not {id(p) for p in tensors(other)} & {id(p) for p in tensors(optimizer)}
    drive(optimizer, range(AT, STEPS))
    drive(other, range(AT + 1))  # the original's tensors are not to move
    assert_same(outcome(optimizer), walk(method, STABLE, "reference", "nothing"))
    expected = driven(method, "reference")
    drive(expected, range(AT + 1))
    assert_same(outcome(other), outcome(expected))


@pytest.mark.parametrize(
    "edit", ["moments zeroed in place", "an entry deleted", "replaced, moments zeroed", "reloaded"]
)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("to", ["reference", *ENGINES])
@pytest.mark.parametrize("method", THOROUGH, ids=str)
def test_another_engine_takes_over_after_an_edit(method, to, engine, edit):
    if (optimizer := driven(method, engine)) is None:
        return
    for what in EDITS[edit][AT]:
        what(optimizer)
    try:
        optimizer.engine = to
    except ValueError as error:
        assert refused(to, error)  # noqa: PT017 - refusals are another test's
        return
    drive(optimizer, range(AT, STEPS))
    assert_same(outcome(optimizer), walk(method, STABLE, "reference", edit))


@pytest.mark.parametrize("edit", ["moments zeroed in place", "an entry deleted", "a step zeroed in place"])
@pytest.mark.parametrize("engine", ENGINES)
def test_an_edit_is_in_the_next_checkpoint(engine, edit):
    """Whatever an engine keeps for itself, a checkpoint written after an edit resumes the edited run."""
    adam = METHODS[3]
    optimizer, other = driven(adam, engine), driven(adam, engine)
    for what in EDITS[edit][AT]:
        what(optimizer)
    with torch.no_grad():
        for p, q in zip(tensors(other), tensors(optimizer), strict=True):
            p.copy_(q)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    drive(other, range(AT, STEPS))
    assert_same(outcome(other), walk(adam, STABLE, "reference", edit))


TORCH = {
    "AdamW": (torch.optim.AdamW, wd.AdamW, {"lr": 1e-2, "weight_decay": 0.1}),
    "SGD": (torch.optim.SGD, wd.SGD, {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}),
}


@pytest.mark.filterwarnings("ignore:the checkpoint was written with:UserWarning")
@pytest.mark.parametrize("engine", ["reference", *ENGINES])
@pytest.mark.parametrize("name", TORCH)
def test_a_checkpoint_of_torch_in_mid_run(name, engine):
    """After steps of its own, an optimizer takes over another run of torch's and walks on as torch does."""
    theirs, ours, options = TORCH[name]
    a, b = weights(), weights()
    other = theirs(flat(a), **options)
    optimizer = ours(flat(b), engine=engine, **options)
    drive(optimizer, range(3))
    drive(other, range(20, 20 + AT))
    with torch.no_grad():
        for p, q in zip(tensors(optimizer), tensors(other), strict=True):
            p.copy_(q)
    optimizer.load_state_dict(other.state_dict())
    drive(optimizer, range(AT, STEPS))
    drive(other, range(AT, STEPS))
    assert_close(outcome(optimizer)[0], outcome(other)[0])


# ---------------------------------------------------------------- another type in mid-run


@pytest.mark.filterwarnings("ignore:group 0 holds bfloat16 weights:UserWarning")
@pytest.mark.parametrize("engine", ["reference", *ENGINES, pytest.param("compiled", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 2e-6), (torch.bfloat16, 2**-6)], ids=str)
@pytest.mark.parametrize("cls", [wd.AdamS, wd.SGDS, wd.AMSGradS, wd.Yogi])
def test_a_model_of_another_type_goes_on_or_is_refused_before_anything_moves(cls, dtype, tolerance, engine):
    if engine == "compiled" and cls is not wd.AdamS:
        return  # a graph takes seconds
    options = {"momentum": 0.9} if cls is wd.SGDS else {}
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    try:
        optimizer = cls(model.parameters(), lr=1e-2, weight_decay=0.01, engine=engine, **options)
    except ValueError as error:
        assert refused(engine, error)  # noqa: PT017 - refusals are another test's
        return
    drive(optimizer, range(3))
    model.to(dtype)
    before = outcome(optimizer)
    # The truth: a new optimizer over such weights that resumes from the checkpoint.
    new = cls(copy.deepcopy(model).parameters(), lr=1e-2, weight_decay=0.01, engine="reference", **options)
    new.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    drive(new, range(3, 6))
    try:
        drive(optimizer, [3])
    except (TypeError, ValueError) as error:
        assert str(dtype).removeprefix("torch.") in str(error)  # noqa: PT017 - either is right
        assert_same(outcome(optimizer), before, 0)
        return
    drive(optimizer, range(4, 6))
    assert_close(outcome(optimizer)[0], outcome(new)[0], tolerance)


# ---------------------------------------------------------------- a step that raises


class Broken(wd.Decoupled):
    """A decay of somebody's own, with a fault that comes and goes."""

    where = None

    def fail(self, where):
        if Broken.where == where:
            raise ZeroDivisionError("a fault of the decay's own")

    def pull(self, step):
        self.fail("pull")
        return super().pull(step)

    def couple(self, grad, weight, strength):
        self.fail("couple")
        return grad

    def check(self, group, where):
        self.fail("check")


@pytest.mark.parametrize("where", ["check", "couple", "pull"])
@pytest.mark.parametrize("engine", ["reference", *ENGINES])
@pytest.mark.parametrize("method", THOROUGH, ids=str)
def test_an_error_in_a_decay_leaves_everything_as_it_was(method, engine, where, monkeypatch):
    monkeypatch.setattr(Broken, "where", None)
    ends = []
    for fails in (False, True):
        try:
            optimizer = method.cls(flat(weights()), lr=method.lr, weight_decay=0.01, decay=Broken(), engine=engine)
        except ValueError as error:
            assert refused(engine, error)  # noqa: PT017 - refusals are another test's
            return
        drive(optimizer, range(3))
        if fails:
            before, counted = outcome(optimizer), dict(optimizer.counters)
            Broken.where = where
            try:
                drive(optimizer, [40])
            except ZeroDivisionError:
                assert_same(outcome(optimizer), before, 0)
                assert dict(optimizer.counters) == counted
            else:
                return  # this engine or method has no use for that part of a decay
            Broken.where = None
        drive(optimizer, range(3, 6))
        ends.append(outcome(optimizer))
    assert_same(ends[1], ends[0], 0)


@pytest.mark.parametrize("first", [True, False], ids=["first step", "later step"])
@pytest.mark.parametrize("engine", ["reference", *ENGINES])
@pytest.mark.parametrize("method", THOROUGH, ids=str)
def test_a_gradient_that_raises_leaves_everything_as_it_was(method, engine, first):
    ends = []
    for fails in (False, True):
        if (optimizer := driven(method, engine, nonfinite="raise")) is None:
            return
        if first:
            optimizer = build(method, STABLE, engine, weights(), nonfinite="raise")
        if fails:
            before = outcome(optimizer)
            for which, p in enumerate(tensors(optimizer)):
                p.grad = gradient(50, which, p)
            p.grad[3] = torch.nan
            with pytest.raises(FloatingPointError, match="parameter 2 of group 1 is not finite"):
                optimizer.step()
            assert_same(outcome(optimizer), before, 0)
            assert optimizer.skipped_steps == 0
        drive(optimizer, range(AT, STEPS))
        ends.append(outcome(optimizer))
    assert_same(ends[1], ends[0], 0)


# ---------------------------------------------------------------- compiled: seconds a graph, so fewer cases


COMPILED = (
    *("state cleared", "an entry deleted", "moments zeroed in place", "a step zeroed in place"),
    *("pruned", "betas in every step", "data channels-last"),
)


@pytest.mark.slow
@pytest.mark.parametrize("edit", COMPILED)
def test_compiled_sees_the_edit(edit):
    adam = METHODS[3]
    assert_same(walk(adam, STABLE, "compiled", edit, few=True), walk(adam, STABLE, "reference", edit, few=True))
