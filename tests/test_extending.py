"""One call each: a toy optimizer without a gain, and toy decays, have all that the package's own have."""

import copy
import importlib
import sys
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from drive import assert_close, drive, flat, gradients, joined, schedule, weights
from lab import small

import weightdecay as wd
from weightdecay.checks import FRACTION, Ranges
from weightdecay.lab.cli import main
from weightdecay.lab.executors import executor
from weightdecay.lab.run import Run, options
from weightdecay.lab.run.methods import with_code
from weightdecay.lab.run.store import Store
from weightdecay.lab.sweeps.sweep import sweep
from weightdecay.lab.training.train import train


class SignMomentum(wd.Optimizer):
    r"""The sign of a running sum of the gradients.

    .. math:: m_t = \beta m_{t-1} + g_t, \qquad u_t = \operatorname{sign} m_t
    """

    method: ClassVar[str] = "SignMomentum"
    slots: ClassVar[tuple[str, ...]] = ("m",)
    ranges: ClassVar[Ranges] = {**wd.Optimizer.ranges, "beta": FRACTION}

    def __init__(self, params, lr=1e-3, beta=0.9, weight_decay=0.0, *, decay=wd.Decoupled(), **options):  # noqa: B008
        defaults = {"lr": lr, "beta": beta, "weight_decay": weight_decay, "decay": decay}
        super().__init__(params, defaults, **options)

    def start(self, weight, group):
        return {"m": torch.zeros_like(weight)}

    def observe(self, state, grad, group):
        state["m"].mul_(group["beta"]).add_(grad)

    def direction(self, state, grad, group, mean_square):
        return torch.sign(state["m"])


@dataclass(frozen=True)
class Leash(wd.Decay):
    """Towards a number, only where the update would lead away from it."""

    to: float = 0.0
    needs = frozenset({"update", "weight"})

    def pull(self, step):
        return step.lr * step.strength

    def mask(self, step):
        return step.update() * (step.weight() - self.to) < 0

    def anchor(self, step):
        return self.to


@dataclass(frozen=True)
class Waning(wd.Decay):
    """The less, the further the lr is below its peak; one number, and so any optimizer can have it attached."""

    power: float = 2.0

    def pull(self, step):
        return step.strength * step.peak_lr * (step.lr / step.peak_lr) ** self.power


SIGN, LEASH = f"{__name__}:SignMomentum", f"{__name__}:Leash"
STEPS, LR, STRENGTH = 20, 1e-2, 0.5


@pytest.fixture
def registered():
    wd.register(SignMomentum)
    wd.register(Leash)
    wd.register(Waning)
    yield
    for name in ("signmomentum", "leash", "waning"):
        wd.unregister(name)


def groups_of(params):
    return [{"params": params[0]}, {"params": params[1], "lr": 0.3 * LR, "weight_decay": 2 * STRENGTH}]


def build(params, engine="auto", decay="leash(0.25)"):
    settings = {"lr": LR, "weight_decay": STRENGTH, "decay": decay, "engine": engine}
    return wd.create("signmomentum", groups_of(params), **settings)


# ---------------------------------------------------------------- the names


def test_one_call_and_it_is_found_by_name_and_by_path(registered):
    assert "signmomentum" in wd.available()
    by_name = wd.create("SignMomentum", joined(weights()), lr=0.1, beta=0.5, decay="leash(to=0.25)")
    by_path = wd.create(SIGN, joined(weights()), lr=0.1, beta=0.5, decay=f"{LEASH}(0.25)")
    assert type(by_name) is type(by_path) is SignMomentum
    assert by_name.defaults == by_path.defaults
    assert by_name.defaults["decay"] == Leash(0.25)
    with pytest.raises(ValueError, match=r"'signmomentun'. Did you mean 'signmomentum'\?"):
        wd.create("signmomentun", joined(weights()))
    with pytest.raises(ValueError, match=r"'leesh'. Did you mean 'leash'\?"):
        wd.create("adam", joined(weights()), decay="leesh")


def test_without_the_call_only_the_path_is_known():
    assert "signmomentum" not in wd.available()
    assert type(wd.create(SIGN, joined(weights()))) is SignMomentum
    with pytest.raises(ValueError, match="no optimizer is called 'signmomentum'"):
        wd.create("signmomentum", joined(weights()))


@pytest.mark.parametrize("text", ["leash", "Leash(0.5)", "leash(to=0.5)", LEASH, f"{LEASH}(to=0.5)"])
@pytest.mark.parametrize("name", [*wd.available(), SIGN])
def test_every_constructor_takes_the_decay_as_text(name, text, registered):
    expected = Leash(0.5) if "0.5" in text else Leash()
    matrices = [p for p in joined(weights()) if p.dim() == 2]
    optimizer = wd.create(name, [{"params": matrices, "decay": text, "method": "muon"}], decay=text)
    assert optimizer.defaults["decay"] == optimizer.param_groups[0]["decay"] == expected


# ---------------------------------------------------------------- the step


def walked_in_float64(start, run, lrs):
    """The formula, tensor by tensor."""
    theta = [[np.array(p) for p in group] for group in start]
    memory = [[np.zeros_like(p) for p in group] for group in theta]
    for t, step in enumerate(run):
        for g, group in enumerate(step):
            for i, grad in enumerate(group):
                if grad is None:
                    continue
                memory[g][i] = 0.9 * memory[g][i] + grad
                u, old, lr = np.sign(memory[g][i]), theta[g][i], lrs[g][t]
                share = lr * (STRENGTH, 2 * STRENGTH)[g] * (u * (old - 0.25) < 0)
                theta[g][i] = 0.25 + (1 - share) * (old - 0.25) - lr * u
    return [p for group in theta for p in group]


@pytest.mark.parametrize("engine", ["reference", "foreach", "auto", pytest.param("compiled", marks=pytest.mark.slow)])
def test_every_engine_walks_the_formula(engine, registered):
    params, run, lrs = weights(), gradients(STEPS), [schedule(STEPS, LR), schedule(STEPS, 0.3 * LR)]
    if engine == "compiled":  # one tensor of each group: every tensor, and every set of them, takes seconds
        params, *run = ([step[0][1:], step[1][:1]] for step in (params, *run))
    start = [[p.detach().numpy().copy() for p in group] for group in params]
    drive(build(params, engine), params, run, lrs)
    assert_close(flat(params), walked_in_float64(start, run, lrs))


@pytest.mark.parametrize("other", ["foreach", "reference"])
def test_a_checkpoint_goes_from_engine_to_engine_and_from_name_to_path(other, registered, tmp_path):
    run, whole, half = gradients(STEPS), weights(), weights()
    drive(build(whole, "auto"), whole, run)
    first = build(half, "auto")
    drive(first, half, run[:9])
    torch.save(first.state_dict(), tmp_path / "file.pt")
    second = wd.create(SIGN, groups_of(half), decay=f"{LEASH}(0.25)", engine=other)
    second.load_state_dict(torch.load(tmp_path / "file.pt", weights_only=True))
    assert second.param_groups[0]["weight_decay"] == STRENGTH
    drive(second, half, run[9:])
    assert_close(flat(half), flat(whole))


def test_a_checkpoint_of_another_decay_or_method_is_not_taken_for_ours(registered):
    params = weights()
    optimizer = build(params)
    drive(optimizer, params, gradients(2, missing=False))
    saved = optimizer.state_dict()
    other = build(weights(), decay="waning")
    with pytest.warns(UserWarning, match=r"written with decay=Leash\(to=0.25\).*Waning\(power=2.0\) keeps"):
        other.load_state_dict(saved)
    with pytest.raises(ValueError, match="holds the state of SignMomentum, this is SGD"):
        wd.SGD(groups_of(weights())).load_state_dict(saved)


def test_a_copy_goes_on_alone(registered):
    params, run = weights(), gradients(STEPS)
    optimizer = build(params)
    drive(optimizer, params, run[:5])
    twins, twin = copy.deepcopy((params, optimizer))
    drive(optimizer, params, run[5:])
    drive(twin, twins, run[5:])
    assert_close(flat(twins), flat(params), 0)


def test_a_uniform_decay_of_ones_own_is_attached_to_adamw(registered):
    ours, theirs, run = weights(), weights(), gradients(STEPS, missing=False)
    adamw = torch.optim.AdamW(groups_of(theirs), lr=LR, weight_decay=STRENGTH)
    wd.attach(adamw, Waning())
    mine = wd.create("adam", groups_of(ours), lr=LR, weight_decay=STRENGTH, decay="waning")
    lrs = [schedule(STEPS, LR), schedule(STEPS, 0.3 * LR)]
    for group, lr in zip(adamw.param_groups, (LR, 0.3 * LR), strict=True):
        group["peak_lr"] = lr
    drive(adamw, theirs, run, lrs)
    drive(mine, ours, run, lrs)
    assert_close(flat(theirs), flat(ours))


def test_what_cannot_be_is_refused_when_it_is_built(registered):
    with pytest.raises(TypeError, match=r"Stable\(.*SignMomentum defines no mean_gain\. Decoupled\(\)"):
        wd.create("signmomentum", joined(weights()), decay="stable")
    with pytest.raises(ValueError, match=r'cannot move SignMomentum: .* Use engine="foreach"'):
        build(weights(), "fused")
    with pytest.raises(ValueError, match=r"Leash\(to=0.0\) does more to a weight .* Use engine=\"foreach\""):
        wd.Adam(joined(weights()), weight_decay=0.1, decay="leash", engine="fused")
    with pytest.raises(ValueError, match=r"beta=1 in group 0 is outside \[0, 1\)"):
        wd.create("signmomentum", joined(weights()), beta=1)
    with pytest.raises(TypeError, match=r"'bta'. Did you mean 'beta'\?"):
        wd.create("signmomentum", joined(weights()), bta=0.5)
    with pytest.raises(ValueError, match="is taken by"):
        wd.register("adams", SignMomentum)


def test_it_can_be_attached():
    a, b = weights(), weights()
    theirs = torch.optim.SGD(joined(a), lr=0.1, momentum=0.9, weight_decay=0.3)
    wd.attach(theirs, Leash(0.5))
    mine = wd.SGD(joined(b), lr=0.1, momentum=0.9, weight_decay=0.3, decay=Leash(0.5), engine="reference")
    for optimizer, params in ((theirs, a), (mine, b)):
        drive(optimizer, params, gradients(12))
    assert_close(flat(a), flat(b))


# ---------------------------------------------------------------- the lab


def run_of(**changes):
    own = options(decay=f"{LEASH}(0.1)")
    settings = {"optimizer": SIGN, "weight_decay": 0.1, "epochs": 1, "optimizer_options": own, **changes}
    return with_code(small(**settings))


def test_a_run_by_path_trains_as_the_objects_would(registered):
    """Named in three ways it is one run, with one address and one result."""
    runs = [
        run_of(),
        run_of(optimizer="signmomentum", optimizer_options=options(decay="leash(0.1)")),
        run_of(optimizer="SignMomentum", optimizer_options=options(decay="Leash(to=0.1)")),
    ]
    assert len({run.address for run in runs}) == 1
    assert runs[0].optimizer == SIGN
    result = train(runs[0])
    assert result.status == "finished"
    assert result.weights != train(run_of(optimizer_options=options(decay="leash(0.5)"))).weights


@pytest.mark.slow
def test_a_sweep_by_path_on_worker_processes(tmp_path):
    """Workers are other processes: they find the class by its path and train what this process trains."""
    runs = [run_of(weight_decay=strength) for strength in (0.1, 1.0)]
    results = sweep(runs, Store(tmp_path), executor("local", jobs=1))
    assert [result.run for result in results] == runs
    assert [result.weights for result in results] == [train(run).weights for run in runs]
    assert results[0].weights != results[1].weights


MINE = '''
import torch
import weightdecay


class Mine(weightdecay.Optimizer):
    """The sign of the gradient, times a number."""

    method = "Mine"

    def __init__(self, params, lr=1e-3, weight_decay=0.0, *, decay="decoupled", **options):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "decay": decay}, **options)

    def direction(self, state, grad, group, mean_square):
        return FACTOR * torch.sign(grad)


class Rule(weightdecay.Decay):
    def pull(self, step):
        return FACTOR * step.lr * step.strength
'''


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A function that writes my_rules.py, with one number in it, and imports it anew."""
    folder = tmp_path / "code"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=":")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(factor):
        sys.modules.pop("my_rules", None)
        (folder / "my_rules.py").write_text(MINE.replace("FACTOR", str(factor)))
        importlib.invalidate_caches()

    yield write
    sys.modules.pop("my_rules", None)


def test_the_code_is_in_the_address(module):
    def addresses():
        mine = Run("my_rules:Mine", 0.1, 0.1, seed=0)
        ruled = Run("adam", 0.1, 0.1, seed=0, optimizer_options=options(decay="my_rules:Rule"))
        return [with_code(run).address for run in (mine, ruled)]

    module(1.0)
    first = addresses()
    module(1.0)
    assert addresses() == first
    module(2.0)
    assert not set(addresses()) & set(first)
    plain = Run("adam", 0.1, 0.1, seed=0)
    assert with_code(plain).address == plain.address


TOML = """
title = "My rule against ours"
epochs = 1
train_size = 128
network_options = { width = 4 }
[[grid]]
optimizer = "my_rules:Mine"
weight_decay = [0.1, 1.0]
optimizer_options = { decay = "my_rules:Rule" }
[[grid]]
optimizer = "adams"
weight_decay = 0.1
[executor]
name = "local"
jobs = 1
"""


@pytest.mark.slow
def test_a_sweep_file_names_ones_own_and_the_page_shows_it(module, tmp_path, capsys):
    module(1.0)
    (tmp_path / "mine.toml").write_text(TOML)
    assert main(["sweep", str(tmp_path / "mine.toml"), "--no-estimate"]) == 0
    out, err = capsys.readouterr()
    assert "[3/3]" in err
    folder = tmp_path / "mine-runs"
    assert " Mine " in out
    (page,) = folder.glob("*.html")
    assert "Mine" in page.read_text(encoding="utf-8")
    assert "my_rules:Mine" in (folder / "results.csv").read_text(encoding="utf-8")
    runs = {result.run.optimizer: result.run for result in Store(folder).results()}
    assert set(runs) == {"my_rules:Mine", "adams"}
    assert dict(runs["my_rules:Mine"].optimizer_options) == {"decay": "my_rules:Rule"}
    assert runs["my_rules:Mine"].optimizer_digest
    module(2.0)  # another optimizer now, under the same name
    assert main(["sweep", str(tmp_path / "mine.toml"), "--dry-run", "--no-estimate"]) == 0
    assert "3 runs, 1 of them kept from before" in " ".join(capsys.readouterr().out.split())


OUTSIDE = """
from dataclasses import dataclass
import weightdecay

@dataclass(frozen=True)
class Mine(weightdecay.Decay):
    part: float = 0.5
    needs = frozenset({"mean_gain"})

    def pull(self, step):
        return self.part * step.lr * step.strength * step.mean_gain()
"""

GRID = """
epochs = 1
train_size = 128
network_options = { width = 4 }
optimizer = "adam"
decay = ["stable", "outside.rules:Mine", "outside.rules:Mine(1.0)"]
weight_decay = 10
executor = { name = "local", jobs = 2 }
"""


@pytest.mark.slow
def test_a_decay_outside_of_the_repository_is_compared_with_ours_on_two_workers(tmp_path, monkeypatch, capsys):
    """On the command line and in a sweep file: half of stable's pull is a run of its own, all of it is stable's."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "rules.py").write_text(OUTSIDE)
    monkeypatch.chdir(tmp_path)  # and nowhere else is it found
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("COLUMNS", "120")
    words = ["--optimizers", "adam", "--decays", "stable", "outside.rules:Mine", "--weight-decays", "0", "10"]
    words += ["--seeds", "2", "--epochs", "1", "--train-size", "800", "--batch-size", "400", "--jobs", "2"]
    assert main(["compare", *words, "--out", "compared"]) == 0
    out, err = capsys.readouterr()
    assert "[6/6]" in err
    assert "AdamS " in out
    assert "Adam, Mine " in out
    assert "Adam, Mine" in (tmp_path / "compared" / "compare.html").read_text(encoding="utf-8")
    runs = [result.run for result in Store("compared").results()]
    (mine,) = {run.optimizer_digest for run in runs} - {""}
    assert {(run.optimizer, dict(run.optimizer_options).get("decay", "")) for run in runs if run.weight_decay} == {
        ("adams", ""),
        ("adam", "outside.rules:Mine(part=0.5)"),
    }
    (tmp_path / "grid.toml").write_text(GRID)
    assert main(["sweep", "grid.toml", "--no-estimate"]) == 0
    out = capsys.readouterr().out
    for curve in ("decay=stable", "decay=Mine(part=0.5)", "decay=Mine(part=1.0)"):
        assert curve in out
    by_decay = {dict(r.run.optimizer_options)["decay"]: r for r in Store("grid-runs").results()}
    stable, half, whole = (by_decay[k] for k in ("stable", *(f"outside.rules:Mine(part={x})" for x in (0.5, 1.0))))
    assert half.run.optimizer_digest == mine
    assert stable.weights == whole.weights != half.weights


@pytest.mark.slow
def test_the_command_trains_by_path(module, tmp_path, capsys):
    module(1.0)
    words = ["train", "--device", "cpu", "--epochs", "1", "--train-size", "128", "--network-options", "width=4"]
    words += ["--out", str(tmp_path / "o"), "--optimizer", "my_rules:Mine", "--optimizer-options"]
    words += ["decay=my_rules:Rule"]
    assert main(words) == 0
    assert "finished: test error" in capsys.readouterr().out
    (result,) = Store(tmp_path / "o").results()
    assert result.run.optimizer == "my_rules:Mine"
    assert main(words) == 0
    assert "this run has finished before" in capsys.readouterr().out
    assert main([*words[:-1], "decay=my_rules:Rul"]) == 2
    assert "Did you mean 'Rule'?" in capsys.readouterr().err
