"""``make.py test`` says what it does and how long that took, here and the last time; and no failure is lost."""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

import make

FINE, FAILS = ("-c", "print('said this')"), ("-c", "print('said that'); raise SystemExit(3)")


@pytest.fixture
def steps(tmp_path, monkeypatch):
    """Return a function that begins a test of two programs beside each other."""
    monkeypatch.setattr(make, "TOOK", tmp_path / "took.json")
    monkeypatch.setattr(make, "BIN", Path(sys.executable).parent)

    def both(beside, then):
        begun = make.Steps("test", ("mypy", "pytest"))
        begun.beside("mypy", "python", *beside)
        begun.test("python", *then)

    return both


def test_the_seconds_of_each_step_are_said_and_again_the_next_time(steps, capfd):
    steps(FINE, FINE)
    first = capfd.readouterr().out
    assert "test: mypy, pytest.\nNot timed on this machine yet.\n" in first
    assert all(re.search(rf"^= {step}: \d+ s$", first, re.M) for step in ("mypy", "pytest", "all"))
    assert len(re.findall("^said this$", first, re.M)) == 2
    steps(FINE, FINE)
    assert re.match(r"test: mypy \d+ s, pytest \d+ s\.\nLast time here: \d+ s\.\n", capfd.readouterr().out)


@pytest.mark.parametrize(("beside", "then"), [(FAILS, FINE), (FINE, FAILS), (FAILS, FAILS)])
def test_a_step_that_fails_lets_the_others_end_and_is_named(beside, then, steps, capfd):
    bad = {name for name, words in (("mypy", beside), ("pytest", then)) if words is FAILS}
    with pytest.raises(SystemExit) as left:
        steps(beside, then)
    assert set(left.value.code.removeprefix("failed: ").split(", ")) == bad
    said = capfd.readouterr().out
    assert all(f"= {name}: FAILED after" in said for name in bad)
    assert len(re.findall("^said th(?:is|at)$", said, re.M)) == 2
    assert not make.TOOK.exists(), "only a run that succeeded tells how long one takes"


@pytest.mark.parametrize(("seconds", "said"), [(0.4, "0 s"), (99, "99 s"), (100, "1 min 40 s"), (1416, "23 min 36 s")])
def test_a_duration_is_in_words(seconds, said):
    assert make.duration(seconds) == said
