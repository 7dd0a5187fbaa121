"""The tests that a change touches, nearest first: by who imports whom, read from the source without importing it.

    python tests/touched.py [--seconds 240]     what differs from the branch main, as arguments for pytest

A test file is as near as the number of imports between it and a changed file. A name that a package only hands on is
an import of the file that defines it: ``weightdecay.Adam`` is ``weightdecay.optim.adam``. Dotted names in texts count
too, as programs and tables have them; and a test is next to a changed page or script whose name or folder it has.
"""

import argparse
import ast
import functools
import re
import subprocess
import sys
from collections import deque
from pathlib import Path

from seconds import table

ROOT = Path(__file__).parents[1]
LAWS = ("test_architecture.py", "test_laws.py", "test_bad_input.py", "test_catalog.py")
"""Run whatever changed, after the change's own tests."""
ALL = ("tests/conftest.py", "pyproject.toml")
"""A change of these touches every test."""
GUESS = 3.0
"""Seconds of a file that never ran here, its slow tests left out."""
DOTTED = re.compile(r"\bweightdecay(?:\.\w+)*(?::\w+)?")


def changed(root=ROOT):
    """Return the paths that differ from the branch main, those that git does not know yet included."""
    for name in ("origin/main", "main", "HEAD"):
        base = git(root, "merge-base", name, "HEAD")
        if base:
            break
    return sorted({*git(root, "diff", "--name-only", *base), *git(root, "ls-files", "--others", "--exclude-standard")})


def git(root, *words):
    """Return the lines that git prints; none where it fails."""
    return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False).stdout.splitlines()


class Graph:
    """Who imports whom among the Python files of a checkout."""

    def __init__(self, root=ROOT, also=()):
        self.root = root
        folders = {
            "src": "weightdecay/**/*.py",
            "tests": "**/*.py",
            "benchmarks": "*.py",
            "examples": "*.py",
            "docs": "*.py",
        }
        paths = [path for folder, pattern in folders.items() for path in (root / folder).glob(pattern)]
        paths += [
            root / "make.py",
            *(root / name for name in also if name.endswith(".py")),
        ]  # deleted ones are imported yet
        self.paths = {self.name(path): path for path in paths}
        self.sources = {name: path.read_text("utf-8") if path.exists() else "" for name, path in self.paths.items()}

    def name(self, path):
        """Return a file's dotted name; one outside of the package is imported by its bare name."""
        parts = path.relative_to(self.root).with_suffix("").parts
        parts = parts[1:] if parts[0] == "src" or len(parts) > 1 else parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @functools.cached_property
    def edges(self):
        """{file: the files it imports}."""
        return {name: self.imports(name) for name in self.paths}

    @functools.cache  # noqa: B019 - a graph lives as long as its process
    def tree(self, name):
        return ast.parse(self.sources[name])

    @functools.cache  # noqa: B019
    def bound(self, name):
        """Return what the imports of a file bind: {its name for it: (module, name in the module or None)}."""
        found = {}
        for node in ast.walk(self.tree(name)):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    found[alias.asname or alias.name] = (alias.name, None)
            elif isinstance(node, ast.ImportFrom):
                found |= {alias.asname or alias.name: (node.module or "", alias.name) for alias in node.names}
        return found

    def home(self, module, name):
        """Return the file that defines a name of a module, through the packages that hand it on."""
        if name is None:
            return module if module in self.paths else None
        if f"{module}.{name}" in self.paths:
            return f"{module}.{name}"
        if module not in self.paths:
            return None
        further = self.bound(module).get(name) if self.paths[module].name == "__init__.py" else None
        return (further and further != (module, name) and self.home(*further)) or module

    def imports(self, name):
        tree, bound, found = self.tree(name), self.bound(name), set()
        package, dynamic = self.paths[name].name == "__init__.py", "import_module(" in self.sources[name]
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} | {"*"}
        for local, (module, what) in bound.items():
            # What a package imports and does not use, it hands on: whoever asks for it by name imports it.
            if not package or local in used or "." in local:
                found.add(self.home(module, what))
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and plain(node):
                first, *rest, last = ast.unparse(node).split(".")
                module = self.home(*bound[first]) if first in bound else first if first in self.paths else None
                if module and (first in bound or f"{first}." in " ".join(bound)):
                    found.add(self.home(".".join([module, *rest]), last))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                if dynamic:  # a table of the files beside this one, imported when they are asked for
                    found.add(self.home(name if package else name.rpartition(".")[0], node.value))
                for dotted in DOTTED.findall(node.value):
                    module, _, last = dotted.replace(":", ".").rpartition(".")
                    found.add(self.home(module, last) if module else None)
        return found - {None, name}

    def distances(self, paths):
        """Return {test file: imports between it and the nearest of the changed paths}."""
        tests = {name for name, path in self.paths.items() if path.name.startswith("test_")}
        if any(path in ALL for path in paths):
            return {self.paths[name].name: 1 for name in tests}
        far = {name: 0 for name, path in self.paths.items() if str(path.relative_to(self.root)) in paths}
        for path in map(Path, paths):
            if path.suffix != ".py" or path.parts[0] not in ("src", "tests"):
                said = {name: mentions(self.sources[name], path) for name in tests}
                far |= {name: min(distance, far.get(name, distance)) for name, distance in said.items() if distance}
        importers = {name: {other for other, found in self.edges.items() if name in found} for name in self.paths}
        queue = deque(sorted(far, key=far.get))
        while queue:
            name = queue.popleft()
            for other in importers[name]:
                if far[name] + 1 < far.get(other, 1 << 30):
                    far[other] = far[name] + 1
                    queue.append(other)
        stems = {Path(path).stem for path in paths}
        return {
            self.paths[name].name: min(distance, 0.5 if name.removeprefix("test_") in stems else distance)
            for name, distance in far.items()
            if name in tests and self.paths[name].exists()
        }


def plain(node):
    """Say whether an attribute is a dotted name."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name)


def mentions(source, path):
    """Return how near a test is to a page or a script: 1 by its name, 2 by its folder, 0 for not at all."""
    if path.name in source:
        return 1
    return 2 if any(f'"{part}"' in source for part in path.parts[:-1]) else 0


def choose(far, seconds, budget):
    """Return the files to run in order, what of them to leave out, and {file: why it is left out, at least in part}.

    Of a file that does not fit whole, its quickest tests run.
    """
    order = sorted({*far, *LAWS}, key=lambda file: (rank(file, far), sum_of(seconds, file), file))
    files, without, left = [], [], {}
    for file in order:
        known = seconds.get(f"tests/{file}", {"": GUESS})
        fits, slow = [], []
        for name, took in sorted(known.items(), key=lambda pair: pair[1]):
            (fits if took <= budget else slow).append(name)
            budget -= took if took <= budget else 0
        if slow:
            seen, took = f"tests/{file}" in seconds, sum(known[name] for name in slow)
            left[file] = f"{len(slow)} of {len(known)} tests, {took:.0f} s" if seen else "never ran here"
        if fits:
            files.append(f"tests/{file}")
            without += [f"tests/{file}::{name}" for name in slow]
    return files, without, left


def rank(file, far):
    """Return the order: the change's own tests, the laws, and then all others by how near they are."""
    distance = far.get(file, 1)
    return distance if distance < 1 else 1 if file in LAWS else 1 + distance


def sum_of(seconds, file):
    return sum(seconds.get(f"tests/{file}", {"": GUESS}).values())


def main():
    """Print pytest's arguments, one in a line, and to stderr what they leave out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=240.0, help="of all tests together, as they last took here")
    budget = parser.parse_args().seconds
    paths = changed()
    far, seconds = Graph(also=paths).distances(paths), table(ROOT)
    files, without, left = choose(far, seconds, budget)
    print(*files, *(f"--deselect={name}" for name in without), sep="\n")
    if any(file not in seconds and far.get(Path(file).name) for file in files):  # one that is new itself runs whole
        print("-m", "not slow", sep="\n")
        left["of the others"] = "the slow tests, as some files never ran here and how long they take is not known"
    tell(paths, far, files, left)


def tell(paths, far, files, left):
    """Say what differs, what runs and what does not."""
    say = functools.partial(print, file=sys.stderr)
    say(f"{len(paths)} files differ from main and touch {len(far)} test files. {len(files)} run, nearest first:")
    say("   ", *(Path(file).stem.removeprefix("test_") for file in files))
    if left:
        say("There is no time for these, which `make.py test` runs:")
        for why in dict.fromkeys(left.values()):
            say("   ", *(file for file in left if left[file] == why), f"({why})")


if __name__ == "__main__":
    main()
