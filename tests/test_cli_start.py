"""What the command imports before it answers: a mistake, a plan and a finished run need no torch.

Guarded by what is imported, not by a clock.
"""

import inspect
import json
import subprocess
import sys
from importlib import import_module

import pytest
from fakes import fake_result
from lab import small

from weightdecay import catalog
from weightdecay.lab import data, models
from weightdecay.lab.run import Place, options
from weightdecay.lab.run.store import Store
from weightdecay.lab.training import sound, takes
from weightdecay.optim.options import ELSEWHERE

SWEEP = 'epochs = 1\noptimizer = "adams"\nweight_decay = 1e-3\n'

REFUSED = {
    "option": (["train", "--weight-decai", "1"], "Did you mean --weight-decay?"),
    "command": (["trian"], "no command is called 'trian'. Did you mean 'train'?"),
    "optimizer": (["train", "--optimizer", "adms"], "Did you mean 'adams'?"),
    "network": (["train", "--network", "resnet19"], "Did you mean 'resnet18'?"),
    "network option": (["train", "--network-options", "widht=4"], "Did you mean 'width'?"),
    "network option's value": (["train", "--network-options", "width=0"], "width=0 of the network 'resnet8' must be"),
    "data set": (["train", "--data", "cifar11"], "Did you mean 'cifar10'?"),
    "decay": (["train", "--optimizer-options", "decay=stabel"], "Did you mean 'stable'?"),
    "decay's call": (["train", "--optimizer-options", "decay=stabel(power=0.25)"], "Did you mean 'stable'?"),
    "decay inside a decay": (["train", "--decay", "cautious(stabel)"], "Did you mean 'stable'?"),
    "decay's argument": (["train", "--decay", "cautious(stable(pwoer=1))"], "Did you mean 'power'?"),
    "decay's number": (["train", "--decay", "stable(power=-1)"], "Stable(power=-1): power must be"),
    "optimizer's option": (["train", "--optimizer-options", "moments=1", "betsa=0.9,0.99"], "Did you mean 'betas'?"),
    "option of the run": (["train", "--optimizer-options", "lr=3"], "lr is a setting of the run itself"),
    "λ": (["train", "--weight-decay", "-1"], "weight_decay=-1 in the run is outside [0, inf)"),
    "lr": (["train", "--lr", "nan"], "--lr nan: a learning rate is a number"),
    "norm": (["train", "--max-grad-norm", "-1"], "max_grad_norm=-1"),
    "seed": (["train", "--seed", "99999999999999999999999"], "seed=99999999999999999999999: it must fit"),
    "schedule": (["train", "--milestones", "80"], "milestones=(80.0,)"),
    "λ's schedule": (["train", "--weight-decay-schedule", "cosin"], "Did you mean 'cosine'?"),
    "λ's schedule's call": (["train", "--weight-decay-schedule", "warmup(9, cosin)"], "Did you mean 'cosine'?"),
    "batch of all": (["train", "--batch-size", "99999999999999999999"], "use less than 2**63"),
    "epochs": (["train", "--epochs", "99999999999999999999"], "epochs=99999999999999999999"),
    "batch": (["train", "--batch-size", "0"], "batch_size=0 is less than 1"),
    "device": (["train", "--device", "banana"], "device='banana' is not a device"),
    "device's usual name": (["train", "--device", "gpu"], "Did you mean 'cuda'?"),
    "threads": (["train", "--threads", "-2"], "--threads -2"),
    "workers": (["train", "--workers", "-2"], "workers=-2"),
    "compared": (["compare", "--optimizers", "adms"], "Did you mean 'adams'?"),
    "compared decay": (["compare", "--decays", "stable", "cautious(stabel)"], "Did you mean 'stable'?"),
    "compared batch": (["compare", "--batch-size", "99999999999999999999"], "--batch-size 99999999999999999999"),
    "compared grid": (["compare", "--seeds", "1000000000"], "the grid makes 20,000,000,000 runs, and 1,000,000 are"),
    "compared λ": (["compare", "--weight-decays", "-1"], "--weight-decays -1"),
    "experiment": (["reproduce", "fig99"], "Did you mean 'fig9'?"),
    "task": (["referee", "noisy-digit"], "Did you mean 'noisy-digits'?"),
    "judged decay": (["referee", "smoke", "--decays", "decoupled", "stabel"], "Did you mean 'stable'?"),
    "no reference": (["referee", "smoke", "--decays", "stable"], "'decoupled' is what the others are judged against"),
    "spectrum's device": (["spectrum", "x", "--device", "banana"], "device='banana' is not a device"),
    "no file": (["sweep", "nowhere.toml"], "nowhere.toml cannot be read"),
    "sweep's executor": (["sweep", "executor.toml"], "Did you mean 'here'?"),
    "sweep's size": (["sweep", "size.toml"], "the sweep makes 1,000,000,000 runs, and 1,000,000 are the most"),
    "sweep's network": (["sweep", "network.toml"], "Did you mean 'resnet8'?"),
    "sweep's option": (["sweep", "option.toml"], "Did you mean 'betas'?"),
    "sweep's decay": (["sweep", "inside.toml"], "Did you mean 'stable'?"),
    "sweep's λ": (["sweep", "decay.toml"], "weight_decay=-1 in the run is outside"),
}
"""A mistake → the command line, and a part of its one line."""

FRESH = """
import contextlib, io, json, sys
from weightdecay.lab.cli import main
seen = {}
for name, words in json.loads(sys.argv[1]).items():
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(words)
    loaded = sorted({"torch", "scipy", "matplotlib", "sklearn"} & set(sys.modules))
    seen[name] = [status, out.getvalue(), err.getvalue(), loaded]
    for module in [each for each in sys.modules if each.partition(".")[0] in loaded]:
        del sys.modules[module]  # the next one is not to blame
print(json.dumps(seen))
"""

RUN = small()
FINISHED = [
    *("train", "--optimizer", RUN.optimizer, "--lr", str(RUN.lr), "--weight-decay", str(RUN.weight_decay)),
    *("--epochs", "4", "--batch-size", "64", "--train-size", "128", "--label-noise", "0.2"),
    *("--network-options", "width=4", "--device", "cpu"),
]


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What one fresh interpreter answers to all of the command lines, and what it had to import for each."""
    folder = tmp_path_factory.mktemp("start")
    (folder / "executor.toml").write_text(SWEEP + '[executor]\nname = "her"\n')
    (folder / "network.toml").write_text(SWEEP + 'network = "resnet9"\n')
    (folder / "size.toml").write_text(SWEEP + "seeds = 1000000000\n")
    (folder / "decay.toml").write_text(SWEEP.replace("1e-3", "-1"))
    (folder / "option.toml").write_text(SWEEP + "[optimizer_options]\nbetsa = 0.9\n")
    (folder / "inside.toml").write_text(SWEEP + 'decay = "cautious(stabel)"\n')
    Store(folder / "kept").save(fake_result(RUN))
    asked = {name: words for name, (words, _) in REFUSED.items()}
    asked |= {"finished": [*FINISHED, "--out", str(folder / "kept")]}
    asked |= {f"help of {name}": [name, "--help"] for name in ("train", "sweep", "advise")} | {"version": ["--version"]}
    done = subprocess.run(
        [sys.executable, "-c", FRESH, json.dumps(asked)], check=True, timeout=240, cwd=folder, stdout=subprocess.PIPE
    )
    left = {path.name for path in folder.iterdir() if path.suffix != ".toml"}
    return {**json.loads(done.stdout), "left": left}


@pytest.mark.parametrize("name", REFUSED)
def test_a_mistake_is_refused_in_one_line_before_torch_is_imported(name, seen):
    status, out, err, loaded = seen[name]
    assert (status, out, loaded) == (2, "", [])
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert REFUSED[name][1] in err


def test_a_refusal_leaves_no_folder(seen):
    assert seen["left"] == {"kept"}


def test_a_finished_run_is_told_without_torch(seen):
    status, out, err, loaded = seen["finished"]
    assert (status, err, loaded) == (0, "", [])
    assert out.startswith("this run has finished before; nothing was trained.\nfinished: test error ")


def test_help_and_version_need_no_torch(seen):
    for name in ("help of train", "help of sweep", "help of advise", "version"):
        assert (seen[name][0], seen[name][3]) == (0, []), name


@pytest.mark.parametrize("name", models.NETWORKS)
def test_the_table_of_networks_has_their_options(name):
    file, _, known = models.NETWORKS[name]
    network = getattr(import_module(f"weightdecay.lab.models.{file}"), name)
    assert set(known) == set(inspect.getfullargspec(network).kwonlyargs)


def test_the_table_of_optimizers_has_their_options():
    assert set(takes.BY_SOME) == {name for name in catalog.OPTIMIZERS if name in catalog.BUILT_IN}
    for name, own in takes.BY_SOME.items():
        parameters = set(inspect.signature(catalog.optimizer(name).cls).parameters) - {"params"}
        assert parameters == {*takes.BY_ALL, *own}, name
        assert len(parameters) == len(takes.BY_ALL) + len(own), name
    assert set(takes.OFF) == set(ELSEWHERE)


def test_the_table_of_data_sets_names_files_that_read_them():
    for file in data.DATA.values():
        read = import_module(f"weightdecay.lab.data.{file}").load
        assert list(inspect.signature(read).parameters) == ["name", "place"]
    assert set(data.DATA) > data.FIXED
    assert data.digest("digits", Place()) == ""
    assert data.digest("pydoc", Place())


def test_what_can_be_run_is_not_refused():
    for run in (small(), small(network_options=options(width=2), weight_decay=0.0), small(seed=-(2**63))):
        sound.check(run)
        sound.check_names(run)
