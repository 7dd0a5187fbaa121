"""The arrows of the house: who may import whom. Read from the source, not from what happens to be loaded."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent / "src" / "weightdecay"
CORE_ROOMS = (
    *(
        "checks",
        "whole",
        "catalog",
        "decay",
        "optim",
        "engine",
        "attaching",
        "named",
        "document",
        "measuring",
        "monitor",
        "theory",
        "transfer",
        "schedule",
        "selecting",
        "spectrum",
    ),
    *("integrations", "lab", "__init__", "__main__"),
)

# Room → what it may import of the package; third-party names beside it.
# Everybody may import checks, which imports nothing. The catalog's rows are plain data: to read them is no arrow to the
# classes behind them, which are imported by their path when somebody asks (catalog → {engine, optim, decay}).
MAY_IMPORT = {
    "checks": (set(), set()),
    "whole": (set(), set()),
    "catalog": ({"checks"}, set()),
    "decay": ({"decay", "checks"}, {"torch"}),
    "optim": ({"optim", "decay", "checks"}, {"torch"}),
    "engine": ({"engine", "optim", "decay", "checks"}, {"torch"}),
    "attaching": ({"attaching", "engine", "optim", "decay", "checks"}, {"torch"}),
    "measuring": ({"measuring", "catalog", "checks"}, {"torch"}),
    "document": ({"document", "whole"}, set()),
    "monitor": (
        {"monitor", "document", "measuring", "theory", "attaching", "optim", "decay", "checks", "whole"},
        {"torch"},
    ),
    "theory": ({"theory"}, {"torch"}),
    "transfer": ({"transfer", "catalog"}, {"torch"}),
    "schedule": ({"schedule", "checks"}, {"torch", "matplotlib"}),  # the latter when a picture is asked for
    "selecting": ({"selecting", "attaching", "optim", "decay", "checks", "whole"}, {"torch"}),
    "spectrum": ({"spectrum", "theory"}, {"torch", "curvlinops", "scipy", "numpy"}),  # an extra
    "named": ({"engine", "optim", "decay"}, {"torch"}),
    # A leaf: no room has it in its row, and each of its files may import the one framework that it is for.
    "integrations": (
        {"integrations", "attaching", "catalog", "schedule", "selecting", "monitor", "optim", "decay"},
        {"torch"},
    ),
    "__init__": (set(), set()),  # every name is imported when it is asked for
}
FRAMEWORKS = {
    "axolotl": {"axolotl", "pydantic"},
    "huggingface": {"transformers"},
    "lightning": {"lightning", "pytorch_lightning"},
    "timm": {"timm"},
}
WITHOUT_TORCH = ("checks", "whole", "catalog")
# All that attach() takes of the engines is their account of v̄, and how a change is seen.
OF_ENGINE = {"attaching": {"weightdecay.engine.mean_square", "weightdecay.engine.buckets"}}
# The rooms of the lab → what each may import of the others, beside the core. Within a room everybody sees everybody.
LAB = {
    "run": set(),
    "data": {"run"},
    "models": {"data", "run"},
    "own": {"data", "run"},
    "training": {"models", "data", "run"},
    "executors": {"run"},
    "sweeps": {"executors", "training", "data", "run"},
    "study": {"sweeps", "executors", "run"},
    "referee": {"study", "sweeps", "executors", "run"},
    "paper": {"study", "run"},
    "report": {"paper", "referee", "study", "training", "run"},
    "pages": {"report", "training", "data", "run"},
    "cli": {"pages", "report", "paper", "referee", "study", "sweeps", "training", "executors", "data", "run"},
}
# Arrows that point up: a method that a user calls on what stands below imports, when it is called, who does the work.
LATE = {"own/own.py": {"study", "report", "executors"}}


def imports(path):
    tree = ast.parse(path.read_text())
    if room(path) in (*WITHOUT_TORCH, "__init__"):  # what stands under TYPE_CHECKING is never imported
        tree.body = [node for node in tree.body if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node))]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where an arrow goes"
            yield node.module
            if node.module in ("weightdecay", "weightdecay.lab"):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(path):
    parts = path.relative_to(SRC).parts
    return parts[0].removesuffix(".py")


FILES = list(SRC.rglob("*.py"))


@pytest.mark.parametrize("path", [p for p in FILES if room(p) in MAY_IMPORT], ids=lambda p: str(p.relative_to(SRC)))
def test_the_core_imports_torch_and_the_standard_library_and_only_downwards(path):
    rooms, third = MAY_IMPORT[room(path)]
    for name in imports(path):
        top, *rest = name.split(".")
        if top == "weightdecay":
            assert rest
            assert rest[0] in rooms, f"{path.name} imports {name}"
            if rest[0] == "engine" and room(path) in OF_ENGINE:
                assert name in OF_ENGINE[room(path)], f"{path.name} imports {name}"
        else:
            framework = FRAMEWORKS.get(path.stem, set()) if room(path) == "integrations" else set()
            assert top in third | framework or top in sys.stdlib_module_names, f"{path.name} imports {name}"


@pytest.mark.parametrize("path", [p for p in FILES if room(p) == "lab"], ids=lambda p: str(p.relative_to(SRC)))
def test_the_lab_imports_only_downwards(path):
    inside = path.relative_to(SRC / "lab").parts[0].removesuffix(".py")
    if inside == "__init__":
        assert set(imports(path)) <= {"__future__"}
        return
    first = {node.module for node in ast.parse(path.read_text()).body if isinstance(node, ast.ImportFrom)}
    for name in imports(path):
        assert not name.startswith("weightdecay.integrations"), f"{inside} imports {name}"
        if name.startswith("weightdecay.lab."):
            other = name.split(".")[2]
            late = LATE.get(str(path.relative_to(SRC / "lab")), set()) if name not in first else set()
            assert other == inside or other in LAB[inside] | late, f"{inside} imports {name}"


def test_the_arrows_of_the_lab_make_no_circle():
    """Each room names only rooms that stand before it in the table."""
    below: set[str] = set()
    for name, rooms in LAB.items():
        assert rooms <= below, f"{name} names {rooms - below}"
        below.add(name)
    assert below == {path.name for path in (SRC / "lab").iterdir() if (path / "__init__.py").exists()}


def test_every_room_is_known():
    assert {room(p) for p in FILES} <= set(CORE_ROOMS)


FRESH = """
import copy, json, sys
seen = {}

import weightdecay
seen["torch with the package"] = "torch" in sys.modules
weightdecay.AdamS
seen["torch with its first name"] = "torch" in sys.modules

rooms = ("catalog", "decay", "lab", "measuring", "monitor", "optim", "schedule", "selecting", "spectrum", "theory")
rooms = (*rooms, "transfer")
seen["rooms in dir"] = sorted(set(rooms) - set(dir(weightdecay)))
extras = {"sklearn", "scipy", "matplotlib", "jinja2", "rich", "tyro", "joblib", "torchvision", "PIL", "cloudpickle"}
extras |= {"ray", "submitit"}

import torch
p = torch.nn.Parameter(torch.ones(2, 2))
p.grad = torch.ones(2, 2)
for name in weightdecay.available():
    weightdecay.create(name, [p], lr=0.1, weight_decay=0.1).step()
weightdecay.schedule.Scheduler(weightdecay.AdamS([p], weight_decay=0.1), "cosine", total_steps=9).step()
seen["extras"] = sorted(extras & set(sys.modules))

ps = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
for engine in ("auto", "reference", "foreach", "fused"):
    optimizer = weightdecay.AdamS(ps[:1], engine=engine)
    optimizer.add_param_group({"params": ps[1:]})
    for p in ps:
        p.grad = torch.ones(3)
    optimizer.step()
    optimizer.zero_grad()
    optimizer.load_state_dict(copy.deepcopy(optimizer).state_dict())
seen["compiler"] = "torch._dynamo" in sys.modules

seen["rooms"] = [n for n in rooms if getattr(weightdecay, n) is not sys.modules[f"weightdecay.{n}"]]

def anew(first):
    for name in [name for name in sys.modules if name.split(".")[0] == "weightdecay"]:
        del sys.modules[name]
    __import__(first)
    import weightdecay
    from weightdecay import attach
    return weightdecay.attach is attach and hasattr(attach, "__code__")

for first in ("weightdecay.attaching.handle", "weightdecay.engine"):
    seen[first] = anew(first)

compiled = torch.compile(weightdecay.AdamS(ps).step, backend="eager")
ps[0].grad = torch.ones(3)
compiled()
seen["compiler after compiling"] = "torch._dynamo" in sys.modules
print(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def seen():
    """What a fresh interpreter sees, asked in this order: starting one with torch takes seconds."""
    done = subprocess.run([sys.executable, "-c", FRESH], check=True, timeout=240, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def test_the_core_works_without_the_extras(seen):
    """Building and stepping every optimizer loads no package of an extra."""
    assert seen["extras"] == []


def test_importing_the_package_does_not_import_torch(seen):
    """`weightdecay --help` answers at once; the first name asked for loads the core."""
    assert not seen["torch with the package"]
    assert seen["torch with its first name"]


def test_a_process_that_compiles_nothing_does_not_import_the_compiler(seen):
    """The methods of torch's base class do at their first call: as much again as torch itself, in every process."""
    assert not seen["compiler"]
    assert seen["compiler after compiling"]


@pytest.mark.parametrize("first", ["weightdecay.attaching.handle", "weightdecay.engine"])
def test_attach_is_the_function_whatever_is_imported_first(first, seen):
    assert seen[first]


def test_every_room_is_there_after_importing_the_package(seen):
    assert seen["rooms in dir"] == seen["rooms"] == []


def test_the_table_the_checks_and_a_decay_from_a_text_do_not_import_torch():
    code = """
import sys
from weightdecay import catalog, checks
from weightdecay.transfer import setting
catalog.available(), catalog.optimizer("adams").lr, catalog.decay("stable").words, "lion" in setting.OPTIMIZERS
from weightdecay.decay import parse
for name in catalog.DECAYS:
    parse(name), catalog.decay(name).cls
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_room_without_its_extra_names_the_extra():
    code = """
import sys
sys.modules["curvlinops"] = None  # as if it were not installed
import weightdecay
try:
    weightdecay.spectrum
except ImportError as error:
    assert 'pip install "weightdecay[spectrum]"' in str(error), error
else:
    raise AssertionError("spectrum was imported without curvlinops")
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_can_be_asked_for():
    import weightdecay

    for name in weightdecay.__all__:
        assert getattr(weightdecay, name).__doc__
        assert name in dir(weightdecay)
    with pytest.raises(AttributeError, match="no attribute 'AdamZ'"):
        weightdecay.AdamZ  # noqa: B018
