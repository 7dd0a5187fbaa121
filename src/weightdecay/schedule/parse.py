"""A shape as text, for configurations. Read with ``ast``; nothing is evaluated."""

from __future__ import annotations

import ast
import inspect
from typing import Any

from weightdecay.checks import nearest, unknown
from weightdecay.schedule.budget import Budget
from weightdecay.schedule.composed import Absolute, Product, Sequence, Warmup
from weightdecay.schedule.curves import Constant, Cosine, Linear, LogTime, Rise, Sawtooth
from weightdecay.schedule.following import AntiPhase, Follow
from weightdecay.schedule.plateau import Plateau
from weightdecay.schedule.shape import Shape
from weightdecay.schedule.table import HoldDrop, Steps

NAMES: dict[str, type[Shape]] = {
    "constant": Constant,
    "linear": Linear,
    "cosine": Cosine,
    "rise": Rise,
    "sawtooth": Sawtooth,
    "log_time": LogTime,
    "steps": Steps,
    "hold_drop": HoldDrop,
    "follow": Follow,
    "anti_phase": AntiPhase,
    "plateau": Plateau,
    "budget": Budget,
    "sequence": Sequence,
    "warmup": Warmup,
    "absolute": Absolute,
}
"""The shapes that a text can name."""

EXAMPLE = 'Write a name or a call, as in "cosine", "linear(1, 0)" or "warmup(100, cosine)".'


def parse(text: str) -> Shape:
    """Return the shape that a text describes: ``"cosine"``, ``"linear(1, 0)"``, ``"warmup(100, follow(2) * cosine)"``.

    Upper and lower case are the same, and so are ``hold_drop`` and ``HoldDrop``: the repr of a shape and its ``str``
    read as that shape. Arguments are literals, or shapes where a class takes one.

    Raises: ValueError, for a text that describes no shape: an unknown name, unknown arguments, anything but literals.

    >>> parse("linear(1, 0)")
    Linear(start=1.0, end=0.0)
    >>> parse("cosin")
    Traceback (most recent call last):
    ValueError: no shape is called 'cosin'. Did you mean 'cosine'? Known: absolute, anti_phase, ...
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{text!r} is not a shape. {EXAMPLE}") from error
    return _shape(tree, text)


def name_of(shape: Shape) -> str:
    """Return the name of its class in a text."""
    return next((name for name, cls in NAMES.items() if cls is type(shape)), type(shape).__name__)


def _shape(node: ast.expr, text: str) -> Shape:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return Product(_shape(node.left, text), _shape(node.right, text))
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return Constant(node.value)  # type: ignore[arg-type]
    call = node if isinstance(node, ast.Call) else None
    name = call.func if call is not None else node
    if not isinstance(name, ast.Name):
        raise ValueError(f"{ast.unparse(node)!r} is not a shape. {EXAMPLE}")
    cls = _named(name.id)
    args, kwargs = [], {}
    if call is not None:
        args = [_argument(each, text) for each in call.args]
        if any(keyword.arg is None for keyword in call.keywords):
            raise ValueError(f"{text!r}: write every argument of {cls.__name__} by its name, without **.")
        kwargs = {str(keyword.arg): _argument(keyword.value, text) for keyword in call.keywords}
    signature = inspect.signature(cls)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        takes = ", ".join(each for each in signature.parameters)
        near = next((nearest(key, signature.parameters) for key in kwargs if key not in signature.parameters), "")
        raise ValueError(f"{ast.unparse(node)}: {error}.{near} {cls.__name__} takes {takes}.") from None
    try:
        return cls(*args, **kwargs)
    except TypeError as error:
        raise ValueError(f"{ast.unparse(node)} is no {cls.__name__}: {error}") from error


def _named(name: str) -> type[Shape]:
    plain = {known.replace("_", ""): cls for known, cls in NAMES.items()}
    found = plain.get(name.lower().replace("_", ""))
    if found is None:
        raise ValueError(unknown("shape", name, NAMES))
    return found


def _argument(node: ast.expr, text: str) -> Any:
    """A literal, or a shape; ``inf`` is a number."""
    if isinstance(node, ast.Name) and node.id == "inf":
        return float("inf")
    if isinstance(node, (ast.Name, ast.Call, ast.BinOp)):
        return _shape(node, text)
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError):
        raise ValueError(f"{ast.unparse(node)!r} in {text!r} is neither a literal nor a shape.") from None
