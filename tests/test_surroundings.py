"""What is around an optimizer: other devices, fake tensors, compilers, scalers, schedulers, processes, copies."""

import contextlib
import copy
import os
import subprocess
import sys
import warnings

import pytest
import torch
from cases import METHODS
from drive import assert_close
from edits import drive, flat, tensors, weights
from forked import output

import weightdecay as wd

ENGINES = ("reference", "foreach", "fused", "auto")


def program(text, **environment):
    """Run a program in a process of its own; return what it printed."""
    text = "import torch\ntorch.set_num_threads(1)\nimport weightdecay as wd\n" + text
    command = [sys.executable, "-W", "ignore", "-c", text]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=240, check=False, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr[-1500:]
    return done.stdout.split()


def build(method, engine, params=None, **options):
    """Return an optimizer; None where the engine refuses it."""
    params = flat(weights()) if params is None else params
    try:
        return method.cls(
            params, lr=method.lr, weight_decay=0.01, decay=wd.Stable(), engine=engine, **method.variants[1], **options
        )
    except ValueError as error:
        assert 'Use engine="' in str(error)  # noqa: PT017 - refusals are another test's
        return None


def ends(optimizer):
    return [p.detach().clone() for p in tensors(optimizer)]


# ---------------------------------------------------------------- devices


FIRST = [("AdamS", "auto"), ("SGDS", "foreach"), ("AdaiS", "reference")]


def test_the_first_use_under_another_default_device_poisons_nothing():
    """A model on "meta", as large ones begin; then the process goes on as any other. Each in a fork of its own."""
    printed = program(f"""
import os, sys
def first(cls, engine):
    with torch.device("meta"):
        model = torch.nn.Linear(3, 2)
        optimizer = getattr(wd, cls)(model.parameters(), lr=0.1, weight_decay=0.01, engine=engine)
        try:
            for p in model.parameters():
                p.grad = torch.ones_like(p)
            optimizer.step()
        except (RuntimeError, NotImplementedError, ValueError, TypeError):
            pass
    weight = torch.nn.Parameter(torch.ones(4))
    optimizer = getattr(wd, cls)([weight], lr=0.1, weight_decay=0.01, engine=engine)
    for _ in range(3):
        weight.grad = torch.ones(4)
        optimizer.step()
    print(*weight.tolist(), flush=True)
for cls, engine in {FIRST!r}:
    child = os.fork()
    if child == 0:
        first(cls, engine)
        os._exit(0)
    os.waitpid(child, 0)
""")
    expected = []
    for cls, _ in FIRST:
        weight = torch.nn.Parameter(torch.ones(4))
        optimizer = getattr(wd, cls)([weight], lr=0.1, weight_decay=0.01, engine="reference")
        for _ in range(3):
            weight.grad = torch.ones(4)
            optimizer.step()
        expected += weight.tolist()
    assert list(map(float, printed)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("cls", [wd.AdamS, wd.SGDS])
def test_a_default_device_in_mid_run_changes_nothing(cls, engine):
    runs = []
    for device in ("cpu", "meta"):
        optimizer = cls(flat(weights()), lr=1e-2, weight_decay=0.01, engine=engine)
        drive(optimizer, range(3))
        for which, p in enumerate(tensors(optimizer)):
            p.grad = torch.full_like(p, 0.1 * (which + 1))
        with torch.device(device):
            optimizer.step()
        drive(optimizer, range(4, 6))
        runs.append(ends(optimizer))
    assert_close(*runs, 0)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("cls", [wd.AdamS, wd.AdamW, wd.SGDS])
def test_fake_tensors_take_a_step_or_are_refused_in_one_sentence(cls, engine):
    """Memory planners step a model that has no numbers."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        weight = torch.nn.Parameter(torch.ones(4, 3))
        optimizer = cls([weight], lr=1e-2, weight_decay=0.01, engine=engine)
        weight.grad = torch.ones(4, 3)
        try:
            optimizer.step()
            optimizer.step()
        except (TypeError, ValueError, NotImplementedError) as error:
            said = str(error)
            assert "fake" in said.lower()
            assert len(said) < 400
    # The process is sound: nothing fake was remembered.
    params = flat(weights())
    optimizer, reference = cls(params, engine=engine), cls(flat(weights()), engine="reference")
    drive(optimizer, range(3))
    drive(reference, range(3))
    assert_close(ends(optimizer), ends(reference))


def test_after_fake_tensors_a_program_that_is_forked_can_go_backwards():
    """Fake tensors register a device that is not there, for which autograd's first backward pass starts threads."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        torch.ones(2)
    torch.ones(2, requires_grad=True).sum().backward()
    assert output("import torch; torch.ones(2, requires_grad=True).sum().backward(); print(3)") == "3\n"


# ---------------------------------------------------------------- compilers


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["auto", "foreach", "reference"])
@pytest.mark.parametrize("cls", [wd.AdamS, wd.SGDS])
def test_a_compiled_step_is_on_the_path(cls, engine):
    optimizer, reference = (cls(flat(weights()), lr=1e-2, weight_decay=0.01, engine=e) for e in (engine, "reference"))
    compiled = torch.compile(optimizer.step, backend="eager")
    drive(reference, range(5))
    for t in range(5):
        take, optimizer.step = optimizer.step, compiled
        try:
            drive(optimizer, [t])
        finally:
            optimizer.step = take
    assert_close(ends(optimizer), ends(reference))
    torch._dynamo.reset()


@pytest.mark.slow
def test_without_a_compiler_it_is_said_before_anything_moves(tmp_path):
    """And it is sound afterwards: another engine goes on where the definition does."""
    printed = program(
        """
def weights():
    return [torch.nn.Parameter(torch.linspace(-1, 1, n, dtype=torch.float64)) for n in (4, 6)]
def give(ps, t):
    for i, p in enumerate(ps):
        p.grad = torch.sin(torch.arange(p.numel(), dtype=p.dtype) + 3 * t + i)
ps, qs = weights(), weights()
other = wd.AdamS(qs, lr=1e-2, weight_decay=0.1, engine="reference")
said, refused = "", 0
try:
    ours = wd.AdamS(ps, lr=1e-2, weight_decay=0.1, engine="compiled")
except (RuntimeError, ValueError) as error:
    said, ours = str(error), wd.AdamS(ps, lr=1e-2, weight_decay=0.1, engine="foreach")
for t in range(6):
    give(ps, t)
    give(qs, t)
    other.step()
    before = [p.detach().clone() for p in ps], [float(ours.state[p].get("step", 0)) for p in ps]
    try:
        ours.step()
    except (RuntimeError, ValueError) as error:
        said, refused = str(error), refused + 1
        same = all(torch.equal(p, b) for p, b in zip(ps, before[0]))
        assert same and [float(ours.state[p].get("step", 0)) for p in ps] == before[1], "it moved"
        ours.engine = "foreach"
        ours.step()
print(max((p - q).abs().max().item() for p, q in zip(ps, qs)), refused, "engine=" in said, "ompiler" in said)
""",
        CXX="/nonexistent/g++",
        CC="/nonexistent/gcc",
        TORCHINDUCTOR_CACHE_DIR=str(tmp_path),
    )
    assert float(printed[0]) < 1e-12
    assert int(printed[1]) <= 1
    assert printed[2:] == ["True", "True"]


@pytest.mark.slow
@pytest.mark.parametrize("what", ["OneCycleLR", "λ", "eps"])
def test_a_schedule_builds_a_bounded_number_of_graphs(what, monkeypatch):
    """OneCycleLR writes another β₁ in every step: numbers are inputs of the graph."""
    built = []
    compile_ = torch.compile

    def counted(*args, **kwargs):
        built.append(1)
        kwargs.pop("options", None)
        return compile_(*args, **{**kwargs, "backend": "eager"})

    monkeypatch.setattr(torch, "compile", counted)
    params = [torch.nn.Parameter(torch.linspace(-1, 1, 5, dtype=torch.float64))]
    optimizer = wd.AdamS(params, lr=1e-3, weight_decay=0.01, engine="compiled")
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1e-2, total_steps=20, cycle_momentum=what == "OneCycleLR"
    )
    for t in range(8):
        drive(optimizer, [t])
        scheduler.step()
        if what == "λ":
            optimizer.param_groups[0]["weight_decay"] = 0.01 * (t + 1)
        if what == "eps":
            optimizer.param_groups[0]["eps"] = 1e-8 * (t + 1)
    assert len(built) <= (32 if what == "eps" else 2)  # ε is built in; for the values of β₁, λ and lr one graph serves
    torch._dynamo.reset()


# ---------------------------------------------------------------- scalers and modes


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("method", METHODS, ids=str)
def test_a_scaler_whose_step_raised_leaves_nothing_behind(method, engine):
    """The next plain step, without the scaler, is as any other."""
    ps = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    optimizer = build(method, engine, ps, nonfinite="raise")
    if optimizer is None:
        return
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    scaler.scale(sum((p * p).sum() for p in ps) * 1e38).backward()
    with contextlib.suppress(FloatingPointError):
        scaler.step(optimizer)
    assert getattr(optimizer, "grad_scale", None) is None
    assert getattr(optimizer, "found_inf", None) is None
    before = [p.detach().clone() for p in ps]
    drive(optimizer, range(1))
    other = [torch.nn.Parameter(p.clone()) for p in before]
    new = build(method, "reference", other)
    drive(new, range(1))
    assert_close([p.detach() for p in ps], [p.detach() for p in other], 2e-6)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("cls", [wd.AdamS, wd.SGDS])
def test_tensors_made_in_inference_mode_are_refused_or_fine(cls, engine):
    with torch.inference_mode():
        made = torch.ones(4, dtype=torch.float64)
    try:
        weight = torch.nn.Parameter(made)
        optimizer = cls([weight], lr=0.1, weight_decay=0.01, engine=engine)
        weight.grad = torch.ones(4, dtype=torch.float64)
        optimizer.step()
    except (RuntimeError, TypeError, ValueError) as error:
        assert "inference" in str(error).lower()  # noqa: PT017 - either is right
        assert torch.equal(made, torch.ones(4, dtype=torch.float64))
        return
    other = torch.nn.Parameter(torch.ones(4, dtype=torch.float64))
    reference = cls([other], lr=0.1, weight_decay=0.01, engine="reference")
    other.grad = torch.ones(4, dtype=torch.float64)
    reference.step()
    assert torch.equal(weight, other)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("cls", [wd.AdamS, wd.SGDS])
def test_gradients_made_in_inference_mode(cls, engine):
    runs = []
    for mode in (True, False):
        weight = torch.nn.Parameter(torch.linspace(-1, 1, 4, dtype=torch.float64))
        optimizer = cls([weight], lr=0.1, weight_decay=0.01, engine=engine)
        for t in range(4):
            with torch.inference_mode(mode):
                made = torch.full((4,), 0.3 + t, dtype=torch.float64)
            weight.grad = made
            optimizer.step()
        runs.append([weight.detach()])
    assert_close(*runs, 0)


# ---------------------------------------------------------------- where a class is imported from


@pytest.mark.parametrize(
    "line",
    ["from weightdecay.optim import Adam", "from weightdecay.named import Adam"],
)
def test_the_engine_is_the_same_wherever_the_class_is_imported_from(line):
    text = f"import torch\n{line}\nprint(type(Adam([torch.zeros(2, requires_grad=True)]).runner).__name__)"
    assert output(text).split() == ["Auto"]


def test_every_engine_is_known_wherever_the_class_is_imported_from():
    text = (
        "import torch\nfrom weightdecay.optim.adam import Adam\nfor engine in ('foreach', 'fused', 'compiled'):\n"
        "    print(Adam([torch.zeros(2, requires_grad=True)], engine=engine).engine)"
    )
    assert output(text).split() == ["foreach", "fused", "compiled"]


# ---------------------------------------------------------------- copies of an attached optimizer


@pytest.mark.parametrize("after", [0, 3], ids=["before steps", "after steps"])
@pytest.mark.parametrize("fused", [True, False])
def test_a_copy_of_an_attached_optimizer_decays_too_or_one_warning_says_that_it_does_not(fused, after):
    optimizer = torch.optim.AdamW(flat(weights()), lr=1e-2, weight_decay=0.1, fused=fused)
    handle = wd.attach(optimizer, wd.Stable())
    drive(optimizer, range(after))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        other = copy.deepcopy(optimizer)
    drive(optimizer, range(after, after + 3))
    with warnings.catch_warnings(record=True) as later:
        warnings.simplefilter("always")
        drive(other, range(after, after + 3))
    said = [w for w in [*said, *later] if issubclass(w.category, UserWarning)]
    if said:
        assert len(said) == 1
        assert "attach" in str(said[0].message)
        return
    assert_close(ends(other), ends(optimizer))
    handle.remove()  # of the original only: the copy has its own
    drive(other, range(10, 11))
    assert all(group["weight_decay"] == 0.1 for group in other.param_groups)
