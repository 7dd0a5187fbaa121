"""The suite always ends: with a test that is too slow, one that hears nothing, and one that takes its process along."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from make import PYTEST  # noqa: E402

FINE = "def test_one(): pass\ndef test_two(): pass\n"
BAD = {
    "slow": ("import time\ndef test_it(): time.sleep(600)\n", r"Failed: Timeout \(>2.0s\)"),
    "deaf": (
        "import signal, time\n"
        "def test_it():\n    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])\n    time.sleep(600)\n",
        r"worker 'gw\d' crashed while running 'test_bad.py::test_it'",
    ),
    "dies": ("import os\ndef test_it(): os.abort()\n", r"worker 'gw\d' crashed while running 'test_bad.py::test_it'"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", BAD)
def test_a_run_with_a_bad_test_fails_and_ends(kind, tmp_path):
    code, words = BAD[kind]
    (tmp_path / "test_bad.py").write_text(code)
    for i in range(4):
        (tmp_path / f"test_fine{i}.py").write_text(FINE)
    limits = ("-o", "timeout=2", "-o", "faulthandler_timeout=4", "-o", "testpaths=.", "-p", "no:cacheprovider")
    command = [sys.executable, "-m", "pytest", *PYTEST, "-c", str(ROOT / "pyproject.toml"), *limits, "--rootdir", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(words, done.stdout), done.stdout
    assert re.search(r"^1 failed, \d+ passed", done.stdout, re.M), done.stdout


def test_a_test_has_a_limit_and_one_that_does_not_hear_it_a_second():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert 0 < settings["timeout"] < settings["faulthandler_timeout"]
    assert settings["faulthandler_exit_on_timeout"]
