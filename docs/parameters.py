"""What a parameter of the public API means, where its docstring does not say: for Sphinx, and for the test of it."""

import ast
import functools
import inspect
import re
import tomllib
from itertools import pairwise
from pathlib import Path
from textwrap import dedent

import weightdecay


def _options():
    """Return the options of every optimizer, as the docstring of Optimizer defines them."""
    text = inspect.getdoc(weightdecay.Optimizer)
    return {
        name: " ".join(dedent(said).split()) for name, said in re.findall(r"^``(\w+)``\n((?: {4}.*\n?)+)", text, re.M)
    }


def _read():
    table = tomllib.loads((Path(__file__).parent / "parameters.toml").read_text(encoding="utf-8"))
    words = {(None, name): said for name, said in table.pop("every").items()}
    for owners, said in table.items():
        words |= {(owner, name): text for owner in owners.split(",") for name, text in said.items()}
    return words


WORDS = _read()
OPTIONS = _options()


def parameters(obj):
    """Return the names of what a public class or function takes, in order."""
    try:
        found = inspect.signature(obj).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p for p in found if p.name != "self" and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


@functools.cache
def attributes(cls):
    """Return what the source says of the fields of a dataclass, in the strings below them."""
    try:
        body = ast.parse(dedent(inspect.getsource(cls))).body[0].body
    except (OSError, TypeError):
        return {}
    return {
        field.target.id: " ".join(inspect.cleandoc(said.value.value).split())
        for field, said in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(said, ast.Expr) and isinstance(said.value, ast.Constant)
    }


def explains(text, name):
    """Whether a docstring speaks of a parameter."""
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None


def meaning(obj, name):
    """Return what a parameter means, or None where only the docstring says it."""
    said = WORDS.get((obj.__name__, name)) or (attributes(obj).get(name) if inspect.isclass(obj) else None)
    if said is None and inspect.isclass(obj) and issubclass(obj, weightdecay.Optimizer):
        return OPTIONS.get(name) or WORDS.get((None, name))
    if said is None and not explains(inspect.getdoc(obj) or "", name):
        return WORDS.get((None, name))
    return said


def fields(obj):
    """Return a field list for the page: name, meaning, default."""
    lines = []
    for p in parameters(obj):
        said = meaning(obj, p.name)
        if said is not None:
            plain = isinstance(p.default, str | int | float | tuple | type(None))
            default = f" Default: ``{p.default!r}``." if p.default is not p.empty and plain else ""
            code = re.sub(r"(?<![`:])`([^`]+)`(?!`)", r"``\1``", said).replace("|", r"\|")
            lines.append(f":param {p.name}: {code}{default}")
    return lines
