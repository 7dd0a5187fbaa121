"""What is published: the two archives, what a wheel runs without the repository, and what type checkers see."""

import ast
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from forked import ANEW, finished

import weightdecay

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
ENTRY = "[console_scripts]\nweightdecay = weightdecay.lab.cli:main"


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", folder], cwd=ROOT, check=True, capture_output=True
    )
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, source


def test_both_archives_have_the_one_version_and_every_file(archives):
    wheel, source = archives
    version = weightdecay.__version__
    assert (wheel.name, source.name) == (f"weightdecay-{version}-py3-none-any.whl", f"weightdecay-{version}.tar.gz")
    assert "version" not in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    files = [path for path in (ROOT / "src").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    ours = {path.relative_to(ROOT / "src").as_posix() for path in files}
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        about = f"weightdecay-{version}.dist-info"
        assert ours | {"weightdecay/py.typed", f"{about}/licenses/LICENSE"} <= names
        assert {name.split("/")[0] for name in names} == {"weightdecay", about}
        assert file.read(f"{about}/entry_points.txt").decode().strip() == ENTRY
    with tarfile.open(source) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    kept = {f"src/{name}" for name in ours} | {path.relative_to(ROOT).as_posix() for path in ROOT.glob("tests/*.py")}
    assert kept | {"LICENSE", "README.md", "CITATION.cff", "docs/index.md", "make.py"} <= names


@pytest.fixture(scope="module")
def site(archives, tmp_path_factory):
    """As installed: a wheel is an archive that an installer unpacks; the command is what entry_points.txt says."""
    folder = tmp_path_factory.mktemp("installed")
    zipfile.ZipFile(archives[0]).extractall(folder / "site")
    return folder


def installed(folder, code, *arguments):
    """Run code with the wheel in the place of the repository, which it must not see."""
    done = finished(ANEW + INSTALLED + code, folder, *arguments, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


INSTALLED = """
sys.path[:] = [f"{sys.argv[1]}/site", *(path for path in sys.path if path.startswith((sys.prefix, sys.base_prefix)))]
"""


def test_a_wheel_runs_without_the_repository(site):
    code = """
import weightdecay, sys
assert weightdecay.__file__.startswith(sys.argv[1]), weightdecay.__file__
from weightdecay.lab.cli import main
sys.argv = ["weightdecay", "compare", "--help"]
main()
"""
    done = installed(site, code)
    assert "--seeds" in done.stdout


def test_the_doctests_of_the_docs_run_with_the_wheel(site):
    """In docstrings of the core, and on the pages: each block of a page as one session."""
    pages = [str(page) for page in DOCS.rglob("*.md") if "\n>>> " in page.read_text(encoding="utf-8")]
    code = """
import doctest, importlib, pkgutil, re, sys
from pathlib import Path
import weightdecay
tried = 0
for room in ("decay", "optim", "schedule", "transfer"):
    home = importlib.import_module(f"weightdecay.{room}")
    for each in pkgutil.iter_modules(home.__path__, home.__name__ + "."):
        module = sys.modules.get(each.name) or importlib.import_module(each.name)
        failed, done = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
        assert not failed, each.name
        tried += done
parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
for page in sys.argv[2:]:
    names = {"__name__": page}
    for block in re.findall(r"^```python\\n(>>> .*?)^```", Path(page).read_text(encoding="utf-8"), re.M | re.S):
        test = parser.get_doctest(block, {}, page, page, 0)
        test.globs = names
        failed, done = runner.run(test, clear_globs=False)
        assert not failed, page
        tried += done
ours = {m.__file__ for name, m in sys.modules.items() if name.split(".")[0] == "weightdecay"}
assert all(file.startswith(sys.argv[1]) for file in ours), ours
print(tried)
"""
    assert pages
    assert int(installed(site, code, *pages).stdout) > 100


def test_a_type_checker_sees_the_public_names_and_no_others(tmp_path):
    """mypy, with the cache of the project's own run; pyright reads the same lines."""
    script = tmp_path / "three_lines.py"
    script.write_text(
        "import weightdecay\nreveal_type(weightdecay.AdamS)\nreveal_type(weightdecay.schedule.Scheduler)\n"
        "weightdecay.AdamZ\n"
    )
    done = subprocess.run([sys.executable, "-m", "mypy", script], cwd=ROOT, capture_output=True, text=True)
    kinds, scheduler, error, *_ = done.stdout.splitlines()
    assert "-> weightdecay.named.AdamS" in kinds
    assert "-> weightdecay.schedule.scheduler.Scheduler" in scheduler
    assert 'Module has no attribute "AdamZ"' in error


def test_what_a_type_checker_sees_is_what_is_there():
    tree = ast.parse((ROOT / "src/weightdecay/__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
    seen = {alias.asname or alias.name for node in block.body for alias in node.names}
    assert seen == {*weightdecay.__all__, *weightdecay.ROOMS}


def test_hosted_ci_runs_the_projects_own_steps():
    assert "run: .ci/run\n" in (ROOT / ".github/workflows/ci.yml").read_text()
    assert "make.py test" in (ROOT / ".ci/run").read_text()
    assert "make.py test" in (ROOT / "CONTRIBUTING.md").read_text()
