"""What the pages show runs as it is written and prints what they say; their links lead somewhere."""

import ast
import doctest
import os
import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from textwrap import dedent

import pytest
import torch

import weightdecay

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *(page for page in sorted(DOCS.rglob("*.md")) if "_build" not in page.parts)]
FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<tag>[^\n]*)\n(?P<code>.*?)^ *(?P=fence)", re.M | re.S)

NOT_PYTHON = {"", "text", "toml", "{toctree}", "{eval-rst}"}
"""What else may stand between fences. Anything new has to be decided here."""

ELSEWHERE = {
    ("docs/lab/own.md", "task.compare("): "several processes, for which it must be a script: test_own.py runs it",
    **{
        ("docs/frameworks.md", part): f"imports a framework: test_in_{name}.py runs it"
        for part, name in (
            ("transformers.Trainer(", "huggingface"),
            ("accelerate.Accelerator(", "accelerate"),
            ("lightning.Trainer(", "lightning"),
            ("timm.optim", "timm"),
            ("OptimizersContainer.Config", "torchtitan"),
        )
    },
}
"""Blocks that are not run here, by page and a part of the block, and why. All others are."""


def network():
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    return model


def plain():
    """What a page about the library takes for granted."""
    return {"torch": torch, "weightdecay": weightdecay, "model": network()}


def readme():
    """And an optimizer "that you already have", and weights sorted by their kind."""
    model = network()
    kinds = {True: [], False: []}
    for p in model.parameters():
        kinds[p.ndim > 1].append(p)
    names = {"model": model, "matrices": kinds[True], "biases_and_norms": kinds[False]}
    return {**plain(), **names, "optimizer": torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=5e-4)}


class Tracker:
    def __init__(self):
        self.scalars = {}

    def add_scalar(self, name, value, step):
        self.scalars[name, step] = value


def tracked():
    return {"model": torch.nn.Linear(4, 2), "tracker": Tracker()}


def results():
    """The folder of a sweep: here that of the page's own run."""
    os.symlink("runs", "digits-runs")
    return {}


GIVEN = {
    "README.md": readme,
    "docs/attach.md": plain,
    "docs/engines.md": plain,
    "docs/sharding.md": plain,
    "docs/frameworks.md": tracked,
    "docs/lab/runs.md": results,
    **{f"docs/decays/{page.stem}.md": plain for page in (DOCS / "decays").glob("*.md")},
}
"""What a page presupposes. The code of all other pages runs as it is pasted."""


@dataclass
class Block:
    line: int
    code: str

    def run(self, page, names):
        """Run as a person would: a last line without a name gives a value. Lines in a traceback are the page's."""
        if self.code.startswith(">>>"):
            return self.check(page, names)
        tree = ast.increment_lineno(ast.parse(self.code), self.line)
        last = ast.Expression(tree.body.pop().value) if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, page, "exec"), names)
        return last and eval(compile(last, page, "eval"), names)

    def check(self, page, names):
        test = doctest.DocTestParser().get_doctest(self.code, {}, page, page, self.line)
        test.globs = names  # not a copy: the blocks of a page are one session
        said = []
        failed, tried = doctest.DocTestRunner(verbose=False).run(test, out=said.append, clear_globs=False)
        assert tried
        assert not failed, "".join(said)


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def parts(page):
    """Return the blocks of Python, in order, and the page without them."""
    text = page.read_text(encoding="utf-8")
    blocks, rest = [], text
    for found in FENCE.finditer(text):
        if found["tag"].strip() == "python":
            blocks.append(Block(text[: found.start()].count("\n") + 1, dedent(found["code"])))
            rest = rest.replace(found[0], "")
    return blocks, rest


def blocks(page):
    """Return those that run here."""
    name = name_of(page)
    return [b for b in parts(page)[0] if not any(name == where and part in b.code for where, part in ELSEWHERE)]


TUTORIALS = DOCS / "tutorials"
"""Their code trains, and runs in test_tutorials.py; so does that of the quickstart."""

RUN = {
    name_of(page): blocks(page)
    for page in PAGES
    if blocks(page) and page.parent != TUTORIALS and page.name != "quickstart.md"
}


def run_block(page, part, **names):
    """Run a block that is not run here, found by a part of it; return its names."""
    (block,) = (each for each in parts(ROOT / page)[0] if part in each.code)
    names["__name__"] = page
    block.run(page, names)
    return names


def run(page, folder, monkeypatch):
    """Run the blocks of a page in one namespace; return it, and the values of their last lines."""
    monkeypatch.chdir(folder)
    names, values = {"__name__": page}, []
    given = GIVEN.get(page, dict)()
    for block in RUN[page]:
        names.update(given)  # before each: one block of the README replaces an optimizer, the next one has it still
        values.append(block.run(page, names))
    return names, values


@pytest.mark.parametrize("page", RUN)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    names, values = run(page, tmp_path, monkeypatch)
    for optimizer in [*names.values(), *values]:
        if isinstance(optimizer, torch.optim.Optimizer):
            p = optimizer.param_groups[0]["params"][0]
            before = p.detach().clone()
            optimizer.step()
            assert torch.isfinite(p).all()
            assert p.dtype == torch.bfloat16 or not torch.equal(before, p)


SAYING = ["docs/extending.md", "docs/lab/executors.md", "docs/lab/networks.md", "docs/lab/reproduce.md"]


@pytest.mark.parametrize("page", SAYING)
def test_a_page_says_what_its_code_prints(page, tmp_path, monkeypatch, capsys):
    run(page, tmp_path, monkeypatch)
    said = capsys.readouterr().out.splitlines()
    assert said
    comments = re.findall("# (.*)", "\n".join(block.code for block in RUN[page]))
    assert [comment for comment in comments if comment in said] == said


def test_a_run_has_the_address_and_the_error_of_its_page(tmp_path, monkeypatch, capsys):
    names, _ = run("docs/lab/runs.md", tmp_path, monkeypatch)
    first, second = capsys.readouterr().out.splitlines()
    address, status, error = re.search(r"# (\w{16}) (\w+) ([\d.]+)", RUN["docs/lab/runs.md"][0].code).groups()
    assert first.split()[:2] == [address, status]
    assert names["result"].last == pytest.approx(float(error), abs=1)  # the last bits are the processor's
    assert second.split() == ["adams", "0.01", "0", status, str(names["result"].last)]


def test_a_weight_in_bfloat16_stands_where_the_page_says(tmp_path, monkeypatch):
    (mean,) = run("docs/low-precision.md", tmp_path, monkeypatch)[1]
    (said,) = re.findall(r"p\.float\(\)\.mean\(\)  # ([\d.]+);", RUN["docs/low-precision.md"][0].code)
    assert f"{mean:.3f}" == said


def test_the_spectrum_is_that_of_a_trained_network(tmp_path, monkeypatch):
    names, _ = run("docs/spectrum.md", tmp_path, monkeypatch)
    matrix, start, found, model = (names[name] for name in ("matrix", "start", "found", "model"))
    inputs, targets = (torch.cat(each) for each in zip(*names["data"], strict=True))
    losses = [names["loss"](model(inputs), targets).item()]
    moments = [torch.linalg.vector_norm(weights).item() ** 2 for weights in (start, matrix.weights())]
    assert [measured.weights.sum().item() for measured in (found.start, found.end)] == pytest.approx(moments, rel=1e-4)
    torch.nn.utils.vector_to_parameters(start, model.parameters())
    losses.append(names["loss"](model(inputs), targets).item())
    assert losses[0] < 0.7 * losses[1]
    budgets = re.findall(r"budget=([\d.]+) \* (\d+)", RUN["docs/spectrum.md"][1].code)
    lr, steps = names["optimizer"].param_groups[0]["lr"], next(iter(names["optimizer"].state.values()))["step"]
    assert [(float(a), int(b)) for a, b in budgets] == [(lr, int(steps))]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_code_of_a_page_is_passed_over(page):
    """A block with another fence, or without one, would not be run."""
    tags = {found["tag"].strip() for found in FENCE.finditer(page.read_text(encoding="utf-8"))}
    assert tags <= {"python", *NOT_PYTHON}
    code = re.findall(r"^\s*(?:>>> |import \w+|from [\w.]+ import ).*", parts(page)[1], re.M)
    assert code == []


def test_what_runs_elsewhere_and_what_is_given_is_on_the_pages():
    for page, part in ELSEWHERE:
        assert sum(part in block.code for block in parts(ROOT / page)[0]) == 1
    assert set(GIVEN) <= set(RUN)


def listed():
    """Return the objects that the pages list for Sphinx. A name that is none raises."""
    objects = []
    for page in PAGES:
        blocks = (
            found["code"] for found in FENCE.finditer(page.read_text(encoding="utf-8")) if "eval-rst" in found["tag"]
        )
        for directive in (each for block in blocks for each in re.split(r"^\.\. ", block, flags=re.M)[1:]):
            kind, name = re.match(r"(automodule|autoclass|autofunction|py:data):: (\S+)", directive).groups()
            module = re.search(r"^   :module: (\S+)", directive, re.M)
            home, _, short = f"{module[1]}.{name}".rpartition(".") if module else name.rpartition(".")
            # Not pkgutil.resolve_name: it takes weightdecay.theory.bias for the file, where a function has that name.
            it = import_module(name) if kind == "automodule" else getattr(import_module(home), short)
            members = re.search(r"^   :members:( [^:]+)?", directive, re.M)
            names = members[1].split(",") if members and members[1] else it.__all__ if members else ()
            objects += [it, *(getattr(it, each.strip()) for each in names)]
    return objects
