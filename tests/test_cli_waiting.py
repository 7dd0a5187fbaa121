"""What a person hears while runs are waited for: the plan before torch is imported, its cost, and how far it is."""

import io
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fakes import fake_result
from rich.console import Console

from weightdecay.lab.cli import view as views
from weightdecay.lab.cli.planned import print_plan
from weightdecay.lab.executors.here import Here
from weightdecay.lab.run import Place
from weightdecay.lab.run.store import Store
from weightdecay.lab.study.compare import Settings, question
from weightdecay.lab.study.conduct import Planned
from weightdecay.lab.sweeps import cost as costs

SETTINGS = Settings(optimizers=("adams",), seeds=2)

DRIVER = """
import json, sys
from fakes import fake_result
from weightdecay.lab.cli import main
from weightdecay.lab.sweeps import sweep as sweeps
seen = {}

def fake(runs, store, on, place, task=None, on_result=None, on_failure=None):
    seen["with the plan printed"] = sorted({"torch", "scipy", "matplotlib"} & set(sys.modules))
    for run in runs:
        on_result(fake_result(run), False)
    return [fake_result(run) for run in runs]

sweeps.sweep = fake
seen["status"] = main(["compare", "--out", sys.argv[1]])
seen["at the end"] = sorted({"torch"} & set(sys.modules))
print(json.dumps(seen))
"""


def test_compare_prints_its_plan_and_starts_its_workers_without_torch(tmp_path):
    """Torch is for the workers: the process that waits for them has no use for it, also not for the report."""
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(tmp_path)], cwd=here, capture_output=True, text=True, check=True, timeout=240
    )
    *lines, last = done.stdout.splitlines()
    assert any("51 runs, 0 of them kept from before" in line for line in lines)
    assert json.loads(last) == {"with the plan printed": [], "status": 0, "at the end": []}


@pytest.fixture
def silent(tmp_path):
    """A view that no terminal shows."""
    return views.View(question(SETTINGS), Store(tmp_path), Console(file=io.StringIO(), width=200))


def test_a_line_tells_how_far_the_runs_are_and_how_long_the_rest_will_take(silent, monkeypatch):
    view = silent
    now = view.begun
    monkeypatch.setattr(time, "monotonic", lambda: now + 10.0)
    assert view.progress_line() == "starting the workers and the first runs, 10 s so far"
    runs = view.runs
    kept, new, later = runs[0], runs[1], runs[2]
    view.add(fake_result(kept), reused=True)
    view.add(fake_result(new), reused=False)
    every = sum(run.epochs for run in runs) - kept.epochs  # what is kept costs nothing
    assert view.progress_line() == (
        f"{new.epochs} of {every} epochs, about {10 * (every - new.epochs) / new.epochs:.0f} s to go"
    )
    with view.store.open(later) as folder:
        folder.log(fake_result(later).epochs[0])
    monkeypatch.setattr(time, "monotonic", lambda: now + 20.0)
    assert view.progress_line().startswith(f"{new.epochs + 1} of {every} epochs, about ")


def test_nobody_waits_in_silence(silent, monkeypatch, capsys):
    monkeypatch.setattr(views, "SILENCE_SECONDS", 0.2)
    with views.live(question(SETTINGS), silent.store):
        time.sleep(2.5)
    assert "[0/8] starting the workers and the first runs" in capsys.readouterr().err


def test_the_stated_cost_includes_the_start_of_the_workers(tmp_path, capsys):
    runs = question(SETTINGS).runs
    cost = costs.Cost(start=0.0, step=0.1, judging=0.0, steps=16, where="CPU", worker=7.0)
    print_plan(Planned("t", runs, runs, {costs.kind(runs[0]): cost}, 4, tmp_path))
    total = len(runs) * cost.of(runs[0])
    assert f"about {total / 4 + 7:.0f} s with 4 runs at a time, 7.0 s of it to start the workers" in " ".join(
        capsys.readouterr().out.split()
    )


def test_the_start_of_a_worker_is_what_the_probe_did_not_take(monkeypatch):
    """Measured from outside: a worker that takes 0.3 s to be ready, and a probe of 0.2 s."""

    def rehearse(run, place, task=None):
        time.sleep(0.5)
        return costs.Cost(0.0, 0.1, 0.0, 16, "CPU", probed=0.2)

    monkeypatch.setattr(costs, "rehearse", rehearse)
    (found,) = costs.measure(question(SETTINGS).runs, Here(), Place()).values()
    assert 0.3 <= found.worker < 0.5
