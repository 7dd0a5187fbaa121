"""A decay as text: a name, a call, a path, one inside the other. Read with ``ast``; nothing is evaluated."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import io
import tokenize
from typing import Any

from weightdecay.checks import nearest
from weightdecay.decay.base import Decay


def decay_of(value: Any, where: str) -> Decay:
    """Return the decay that a user passed or wrote into a group: an object as it is, a text as :func:`parse` reads it.

    ``where`` names the place for the message, as in ``"group 2"``.

    Raises: TypeError, for what is neither; ValueError, for a text that names no decay.
    """
    if isinstance(value, Decay):
        return value
    if isinstance(value, str):
        try:
            return parse(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"decay={value!r} in {where}: {error}") from error
    hint = f" Call the class: {value.__name__}()." if isinstance(value, type) and issubclass(value, Decay) else ""
    raise TypeError(
        f"decay={value!r} in {where} is not a Decay.{hint} Pass an object: L2(), Vanilla(), Decoupled(), "
        'Independent(), Stable() or Elementwise(); or a name, as in "stable" or "stable(power=0.25)".'
    )


def parse(text: str) -> Decay:
    """Return the decay that a text describes: ``"stable"``, ``"stable(power=0.25)"``, ``"package.module:Rule(0.3)"``.

    Names are those of ``weightdecay.catalog``, upper and lower case are the same. Arguments are literals, or decays
    again where a class takes one: ``"cautious(stable)"``. The repr of a decay reads as that decay.

    Raises: ValueError, for a text that describes no decay: an unknown name, unknown arguments, anything but literals.

    >>> parse("stable(power=0.25)")
    Stable(power=0.25, eps=0.0)
    >>> parse("Stabel")
    Traceback (most recent call last):
    ValueError: no decay is called 'Stabel'. Did you mean 'stable'? Known: cautious, corrected, ...
    """
    try:
        readable, paths = _without_paths(text.strip())
        tree = ast.parse(readable, mode="eval").body
    except (SyntaxError, tokenize.TokenError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(
            f'{text!r} is not a decay. Write a name or a call, as in "stable" or "stable(power=0.25)".'
        ) from error
    return _decay(tree, paths, text)


def _without_paths(text: str) -> tuple[str, dict[str, str]]:
    """Put one name in the place of every path "package.module:Class", which is no expression of Python."""
    tokens = [t for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.string.strip()]
    if any(t.start[0] > 1 for t in tokens):
        raise ValueError("more than one line")
    paths: dict[str, str] = {}
    pieces, at, i = [], 0, 0
    while i < len(tokens):
        j = i + 1
        if tokens[i].type == tokenize.NAME:
            colon = False
            while j + 1 < len(tokens) and tokens[j].string in (".", ":") and tokens[j + 1].type == tokenize.NAME:
                colon |= tokens[j].string == ":"
                j += 2
            if colon:
                start, end = tokens[i].start[1], tokens[j - 1].end[1]
                name = f"path_{len(paths)}_"
                paths[name] = text[start:end].replace(" ", "")
                pieces += [text[at:start], name]
                at = end
        i = j
    return "".join([*pieces, text[at:]]), paths


def _decay(node: ast.expr, paths: dict[str, str], text: str) -> Decay:
    call = node if isinstance(node, ast.Call) else None
    name = call.func if call is not None else node
    if not isinstance(name, ast.Name):
        raise ValueError(f'{ast.unparse(node)!r} is not a decay. Write a name or a call, as in "stable(power=0.25)".')
    # By text: the catalog stands above the decays it lists.
    catalog: Any = importlib.import_module("weightdecay.catalog")
    cls: type[Decay] = catalog.decay(paths.get(name.id, name.id)).cls
    args, kwargs = [], {}
    if call is not None:
        args = [_argument(each, paths, text, cls.words) for each in call.args]
        if any(keyword.arg is None for keyword in call.keywords):
            raise ValueError(f"{text!r}: write every argument of {cls.__name__} by its name, without **.")
        kwargs = {str(keyword.arg): _argument(keyword.value, paths, text, cls.words) for keyword in call.keywords}
    signature = inspect.signature(cls)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        takes = ", ".join(map(str, signature.parameters.values())) or "nothing"
        near = next((nearest(key, signature.parameters) for key in kwargs if key not in signature.parameters), "")
        raise ValueError(f"{cls.__name__}: {error}.{near} {cls.__name__} takes {takes}.") from None
    try:
        return cls(*args, **kwargs)
    except TypeError as error:
        raise ValueError(f"{ast.unparse(node)} is no {cls.__name__}: {error}") from error


def _argument(node: ast.expr, paths: dict[str, str], text: str, words: frozenset[str]) -> Any:
    """A literal, a word that the class knows, or a decay."""
    if isinstance(node, ast.Name) and node.id.lower() in words:
        return node.id.lower()
    if isinstance(node, (ast.Name, ast.Call)):
        return _decay(node, paths, text)
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError):
        raise ValueError(f"{ast.unparse(node)!r} in {text!r} is neither a literal nor a decay.") from None


def spelled(decay: Decay) -> str:
    """Return a text that :func:`parse` reads as this decay, in any process that can import its class."""
    catalog: Any = importlib.import_module("weightdecay.catalog")
    path = catalog.path_of(type(decay))
    ours = (key for key, row in catalog.DECAYS.items() if key in catalog.BUILT_IN and row.cls is type(decay))
    name = next(ours, path)
    fields = (field for field in dataclasses.fields(decay) if field.init)
    values = ((field.name, getattr(decay, field.name)) for field in fields if getattr(decay, field.name) is not None)
    inside = ", ".join(f"{key}={spelled(value) if isinstance(value, Decay) else repr(value)}" for key, value in values)
    return f"{name}({inside})" if inside else str(name)
