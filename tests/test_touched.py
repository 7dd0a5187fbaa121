"""``make.py test --fast``: what a change touches, nearest first, and what of it fits into the time."""

import subprocess

import pytest
from touched import GUESS, LAWS, Graph, changed, choose

FILES = {
    "src/weightdecay/__init__.py": """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from weightdecay.optim import Adam
__all__ = ["Adam"]
""",
    "src/weightdecay/optim/__init__.py": """
from weightdecay.optim.adam import Adam as Adam
from weightdecay.optim.sgd import SGD
""",
    "src/weightdecay/optim/adam.py": "from weightdecay.optim.member import Member",
    "src/weightdecay/optim/sgd.py": "class SGD: pass",
    "src/weightdecay/optim/member.py": "class Member: pass",
    "src/weightdecay/nets/__init__.py": "from importlib import import_module\nNETS = {'one': 1}\nimport_module('one')",
    "src/weightdecay/nets/one.py": "",
    "src/weightdecay/alone.py": "",
    "benchmarks/speed.py": "import weightdecay.alone",
    "docs/page.md": "a page",
    "make.py": "",
    "tests/cases.py": "import weightdecay as wd\nwd.Adam",
    "tests/test_adam.py": "import weightdecay as wd\nwd.Adam()",
    "tests/test_cases.py": "import cases",
    "tests/test_sgd.py": "from weightdecay import optim\noptim.SGD",
    "tests/test_nets.py": "from weightdecay import nets\nnets.NETS",
    "tests/test_program.py": "CODE = 'from weightdecay.alone import x'",
    "tests/test_table.py": "ROWS = {'adam': 'weightdecay:Adam'}",
    "tests/test_speed.py": "SCRIPT = 'benchmarks/speed.py'",
    "tests/test_pages.py": 'PAGES = "docs"',
}
TOUCHED = {
    "src/weightdecay/optim/adam.py": {"adam": 0.5, "table": 1, "cases": 2},
    "src/weightdecay/optim/member.py": {"adam": 2, "table": 2, "cases": 3},
    "src/weightdecay/optim/sgd.py": {"sgd": 0.5},
    "src/weightdecay/nets/one.py": {"nets": 2},
    "src/weightdecay/alone.py": {"program": 1},
    "benchmarks/speed.py": {"speed": 0.5},
    "docs/page.md": {"pages": 2},
    "tests/cases.py": {"cases": 0.5},
    "tests/test_sgd.py": {"sgd": 0},
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A package with packages that hand names on, a table of names, a program as text, a script and a page."""
    root = tmp_path_factory.mktemp("checkout")
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def names(far):
    return {file.removeprefix("test_").removesuffix(".py"): distance for file, distance in far.items()}


@pytest.mark.parametrize("path", TOUCHED)
def test_a_test_is_as_near_as_the_imports_between(path, checkout):
    assert names(Graph(checkout).distances([path])) == TOUCHED[path]


def test_of_two_changes_the_nearer_one_counts(checkout):
    far = names(Graph(checkout).distances(["src/weightdecay/optim/member.py", "src/weightdecay/optim/adam.py"]))
    assert far == {"adam": 0.5, "table": 1, "cases": 2}


def test_whoever_imports_what_was_deleted_is_touched(checkout):
    (checkout / "src/weightdecay/alone.py").unlink()
    try:
        assert names(Graph(checkout, ["src/weightdecay/alone.py"]).distances(["src/weightdecay/alone.py"])) == {
            "program": 1
        }
    finally:
        (checkout / "src/weightdecay/alone.py").write_text("")


def test_what_every_test_stands_on_touches_every_test(checkout):
    every = {name.removeprefix("tests/test_").removesuffix(".py") for name in FILES if "tests/test_" in name}
    assert set(names(Graph(checkout).distances(["pyproject.toml"]))) == every


def test_what_differs_is_what_main_has_not_whether_committed_or_known_to_git(tmp_path):
    def git(*words):
        who = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-b", "main")
    for name in ("same", "committed", "edited", "deleted"):
        (tmp_path / name).write_text(name)
    git("add", ".")
    git("commit", "-m", "all")
    assert changed(tmp_path) == []
    git("checkout", "-b", "mine")
    (tmp_path / "committed").write_text("other")
    git("commit", "-a", "-m", "other")
    (tmp_path / "edited").write_text("other")
    (tmp_path / "deleted").unlink()
    (tmp_path / "new").write_text("new")
    assert changed(tmp_path) == ["committed", "deleted", "edited", "new"]


SECONDS = {f"tests/{law}": {"test_it": 1.0} for law in LAWS} | {
    "tests/test_near.py": {"test_quick": 1.0, "test_slow": 50.0, "test_third": 2.0},
    "tests/test_far.py": {"test_it": 4.0},
}
FAR = {"test_far.py": 3, "test_near.py": 1, "test_new.py": 2}


def test_the_tests_of_the_change_come_first_then_the_laws_and_then_the_nearest():
    files, without, left = choose({**FAR, "test_own.py": 0.5}, SECONDS, 1000.0)
    order = ("test_own.py", *sorted(LAWS), "test_near.py", "test_new.py", "test_far.py")
    assert files == [f"tests/{file}" for file in order]
    assert (without, left) == ([], {})


def test_of_a_file_that_does_not_fit_the_quick_tests_run_and_the_others_are_named():
    files, without, left = choose(FAR, SECONDS, len(LAWS) + 3 + GUESS + 4)
    assert [file for file in files if "law" not in file][-3:] == [
        "tests/test_near.py",
        "tests/test_new.py",
        "tests/test_far.py",
    ]
    assert without == ["tests/test_near.py::test_slow"]
    assert left == {"test_near.py": "1 of 3 tests, 50 s"}


def test_a_file_of_which_nothing_fits_does_not_run():
    files, _, left = choose(FAR, SECONDS, len(LAWS) + 3.0)
    assert files[len(LAWS) :] == ["tests/test_near.py"]
    assert left == {
        "test_near.py": "1 of 3 tests, 50 s",
        "test_new.py": "never ran here",
        "test_far.py": "1 of 1 tests, 4 s",
    }
