"""Each test's seconds are kept for the next run, and a run with a limit ends and says what it did not begin."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from seconds import TABLE, table

HERE = Path(__file__).parent
SLOW = "import time\n" + "\n".join(f"def test_{i}(): time.sleep(0.4)" for i in range(5))


def run(folder, *options):
    """Run pytest on tests that take 0.4 s each, with the hooks and without torch."""
    (folder / "conftest.py").write_text(f"import sys\nsys.path.insert(0, {str(HERE)!r})\nfrom seconds import *")
    (folder / "test_first.py").write_text("def test_it(): pass")
    (folder / "test_slow.py").write_text(SLOW)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "--rootdir", ".", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["here", "in a worker"])
def test_the_seconds_of_every_test_are_kept_and_those_of_others_stay(workers, tmp_path):
    assert table(tmp_path) == {}
    assert run(tmp_path, *workers).returncode == 0
    first = table(tmp_path)
    assert set(first) == {"test_first.py", "test_slow.py"}
    assert set(first["test_slow.py"]) == {f"test_{i}" for i in range(5)}
    assert all(0.4 <= took < 2 for took in first["test_slow.py"].values())
    assert run(tmp_path, *workers, "test_slow.py::test_1").returncode == 0
    again = table(tmp_path)
    assert again.pop("test_slow.py").keys() == first.pop("test_slow.py").keys()
    assert again == first


def test_what_is_no_table_is_none(tmp_path):
    file = tmp_path / ".pytest_cache" / "v" / TABLE
    file.parent.mkdir(parents=True)
    file.write_text("{")
    assert table(tmp_path) == {}
    file.write_text(json.dumps({"test_gone.py": {"test_it": 1.0}}))
    run(tmp_path, "test_first.py")
    assert set(table(tmp_path)) == {"test_first.py"}, "of a file that is gone nothing is kept"


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["here", "in a worker"])
def test_after_the_limit_no_test_begins_and_the_rest_is_named(workers, tmp_path):
    done = run(tmp_path, *workers, "--limit", "0")
    assert "not begun within 0 s" in done.stdout
    assert "test_first.py: 1 of 1 tests" in done.stdout
    assert "test_slow.py: 5 of 5 tests" in done.stdout
    assert "passed" not in done.stdout
    assert "not begun" not in run(tmp_path, *workers, "--limit", "60").stdout
