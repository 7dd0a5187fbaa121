"""The scripts of benchmarks/ run: the one for a GPU is rehearsed on the CPU, and a part that fails loses no other."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from forked import SCRIPT, finished

import weightdecay

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
SECTIONS = ("machine", "checks", "engines", "host", "one step", "epoch", "memory")


def cells(line):
    return tuple(cell.strip() for cell in line.strip().strip("|").split("|"))


@pytest.fixture
def results(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import results

    return results


def tables(folder, results):
    """Return the content of the JSON, the rows in it, and the rows of the Markdown."""
    content = json.loads((folder / "card.json").read_text("utf-8"))
    text = (folder / "card.md").read_text("utf-8")
    lines = [cells(line) for line in text.splitlines() if line.startswith("|")]
    assert lines[0] == results.COLUMNS
    for row in content["rows"]:
        assert row.pop("verdict") == results.Row(**row).verdict
    return content, [results.Row(**row) for row in content["rows"]], lines[2:]


@pytest.mark.slow
def test_the_script_for_a_gpu_is_rehearsed_on_a_cpu(tmp_path, results):
    importlib.import_module("torch._inductor.compile_fx")  # seconds, in each section that compiles
    words = ("--device", "cpu", "--quick", "--minutes", "30", "--out", tmp_path)
    done = finished(SCRIPT, BENCHMARKS / "card.py", *words, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    content, rows, lines = tables(tmp_path, results)
    assert [(s["name"], s["status"], s["message"]) for s in content["sections"]] == [(s, "done", "") for s in SECTIONS]
    assert [row.cells() for row in rows] == lines
    assert not any(row.failed for row in rows)
    # Every section measured something, in this order, and every row was printed when it was there and in the table.
    order = [row.section.split(",")[0] for row in rows if row.what != "the whole section"]
    sections = ["machine", "checks", "engines", "host", "construction", "one step", "epoch", "memory"]
    assert [s for i, s in enumerate(order) if i == 0 or order[i - 1] != s] == sections
    assert all(row.value is not None for row in rows)
    printed = [cells(line) for line in done.stdout.splitlines() if line.startswith("|")]
    body = [line for line in printed if line != results.COLUMNS and set(line) != {"---"}]
    assert body[: len(lines)] == body[len(lines) : 2 * len(lines)] == lines
    # What the issue asks the script to show.
    what = {row.what.split(":")[0] for row in rows}
    assert {"AdamS, fused", "SGDS, foreach", "AdamS, clipped, fused", "SGDS, compiled"} <= what
    assert {"AdamS", "attach(torch fused AdamW, Stable())", "AdamS, first step", "median epoch"} <= what
    checks = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("ok ")]
    assert set(checks) == {"lockstep", "no_waiting", "skipping", "capture", "zero_gradients", "scaler"}


BROKEN = """
import os, sys, time
sys.path.insert(0, {benchmarks!r})
import card
from results import Row

def fine(asked):
    yield Row("fine", "a", 1.0, "ms", "b", 2.0, 0.5, 1.0)

def raises(asked):
    yield Row("raises", "before", 1.0)
    raise ValueError("the | reason\\nand more")

def dies(asked):
    yield Row("dies", "before", 1.0)
    os._exit(3)

def hangs(asked):
    yield Row("hangs", "before", 1.0)
    os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "600")
    time.sleep(600)

def check(asked):
    yield Row("check", "a", 1.0, "of 6 failed", failed=True)

parts = [card.Section(f.__name__, f, s) for f, s in ((raises, 60), (dies, 60), (hangs, 3), (check, 60), (fine, 60))]
sys.exit(card.run(card.Asked("cpu", True), card.Path({folder!r}), parts, card.MINUTES))
"""


@pytest.mark.slow
def test_a_section_that_fails_loses_no_other(tmp_path, results):
    done = finished(BROKEN.format(benchmarks=str(BENCHMARKS), folder=str(tmp_path)))
    assert done.returncode == 1, done.stderr
    content, rows, lines = tables(tmp_path, results)
    assert [(s["name"], s["status"], s["message"]) for s in content["sections"]] == [
        ("raises", "failed", "ValueError: the | reason"),
        ("dies", "failed", "its process ended with exit code 3"),
        ("hangs", "cut off", "it had 3 s"),
        ("check", "done", ""),
        ("fine", "done", ""),
    ]
    assert [row.cells() for row in rows] == lines
    assert [row.what for row in rows if row.section in ("raises", "dies", "hangs")] == [
        "before",
        "the whole section",
    ] * 3
    assert [row.section for row in rows if row.failed] == ["raises", "dies", "hangs", "check"]
    assert next(row for row in rows if row.what == "a" and row.section == "fine").verdict == "met"
    assert "4 failed" in done.stdout


def test_without_a_gpu_the_script_says_what_a_cpu_can_do(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "card.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "CUDA_VISIBLE_DEVICES": "", "OUT": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment, check=False)
    assert done.returncode == 1
    assert "torch sees no GPU. --device cpu --quick rehearses on a CPU" in done.stdout
    assert len(json.loads((tmp_path / "card.json").read_text("utf-8"))["sections"]) == 1


@pytest.mark.slow
def test_host_times_many_small_tensors(results):
    sizes = ("--tensors", 20, "--rounds", 2, "--groups", 5, 10, "--most", 30)
    done = finished(SCRIPT, BENCHMARKS / "host.py", *sizes, "--rows", "torch", "construction", "many")
    assert done.returncode == 0, done.stderr
    rows = [cells(line) for line in done.stdout.splitlines() if line.startswith("| ")][1:]
    assert all(len(row) == len(results.COLUMNS) for row in rows)
    ours = {(row[0], row[1]): row[6] for row in rows}
    for form in ("8", "2×4"):
        for what, goal in {"AdamS": 1.1, "AdamW": 0.95, "SGDS": 1.3, "SGD, foreach": 1.1}.items():
            assert ours[f"host, cpu, 20 tensors of {form}", what].startswith(f"≤ {goal:g} ")
    assert ours["construction, cpu", "AdamS, 10 groups built"].startswith("≤ 1.25 ")
    assert ours["host, cpu, 30 tensors of 8", "AdamS, later step"].startswith("≤ 1.1 ")
    assert all(float(row[5]) > 0 for row in rows)


@pytest.mark.slow
def test_a_step_is_timed_against_that_of_another_checkout(tmp_path):
    """Here against a copy of this one, whose modules leave nothing behind."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "weightdecay").symlink_to(ROOT / "src" / "weightdecay")
    code = f"""
import sys
sys.path.insert(0, {str(BENCHMARKS)!r})
import host, weightdecay
from pathlib import Path
mine = host.loaded()
step = host.other_checkout(Path({str(tmp_path / "src")!r}), "adams", host.parameters([(8,)] * 3, "cpu"))
assert host.loaded() == mine and step.__self__.__class__ is not weightdecay.AdamS
step()
"""
    done = finished(code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["adams", "sgds", "adam", "adamw"])
@pytest.mark.parametrize(("engine", "most"), [("reference", 5), ("auto", 7)])
def test_a_later_step_is_read_in_a_few_files(engine, most, name, results):
    """What does not change between two steps is found when it changes: no step calls what finds it."""
    import profile_step

    optimizer = weightdecay.create(name, profile_step.parameters([(3, 4), (4,)], "cpu"), lr=1e-3, engine=engine)
    seen, _ = profile_step.files(optimizer.step)
    assert len(seen) <= most, seen


def test_moments_in_units_of_a_running_scale_take_the_path_of_scaled_gradients(results):
    import clipping

    assert clipping.check() < 1e-6


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_the_shapes_are_those_of_torchvision(name, results):
    import shapes
    import torchvision

    classes = 10 if name == "resnet18" else 1000
    theirs = getattr(torchvision.models, name)(num_classes=classes)
    assert shapes.NETWORKS[name]() == [tuple(p.shape) for p in theirs.parameters()]


def test_the_network_without_torchvision_is_that_of_the_lab(results):
    import resnet
    import torch

    from weightdecay.lab import models
    from weightdecay.lab.data.base import Facts

    lab = models.build("resnet18", Facts(classes=10, channels=3, size=32), 0)
    ours = resnet.resnet18(small=True)
    ours.load_state_dict(dict(zip(ours.state_dict(), lab.state_dict().values(), strict=True)))
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(ours.eval()(images), lab.eval()(images))
