"""Code as a number: what stands for functions of one's own in the address of a run."""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from torch import Tensor

from weightdecay.lab.run.weights import digest as of_tensors

DEEP = 24
"""Attributes of attributes of … are followed so far."""

FOREIGN = {*sys.stdlib_module_names, "torch", "numpy", "weightdecay"}
"""Packages whose code is known by its names: it changes with their versions, and not by the hand of a user."""


def digest(*values: Any) -> str:
    """Return the SHA-256 of what values are made of, the same in every process of one version of Python.

    Of a function: its instructions, defaults and what it closes over, but not what it calls by a name of its module. Of
    a class: its functions and attributes, and those of its bases. Of an object: its class and attributes; of numbers,
    texts, containers, tensors and arrays: what they hold. What cannot be looked into counts by its type.

    Comments, names of files and line numbers do not count, nor what a file says since it was imported.

    >>> import torch
    >>> digest(torch.nn.CrossEntropyLoss()) == digest(torch.nn.CrossEntropyLoss(label_smoothing=0.1))
    False
    """
    found = hashlib.sha256()
    for value in values:
        for part in _parts(value, ()):
            found.update(part)
            found.update(b"\0")
    return found.hexdigest()


def _parts(value: Any, above: tuple[int, ...]) -> Iterator[bytes]:
    """Yield what a value is made of; ``above`` it are those that hold it, which it may hold in turn."""
    yield type(value).__qualname__.encode()
    if value is None or type(value) in (bool, int, float, complex, str, bytes):
        yield repr(value).encode()
    elif id(value) in above or len(above) >= DEEP:
        yield b"..."
    elif isinstance(value, (set, frozenset, Mapping)):  # the same in any order
        pairs = value.items() if isinstance(value, Mapping) else value
        yield from sorted(b"\0".join(_parts(one, (*above, id(value)))) for one in pairs)
    else:
        for inner in _inside(value):
            yield from _parts(inner, (*above, id(value)))
    yield b"."


def _inside(value: Any) -> Iterator[Any]:
    """Yield the values that make a value, to be looked into."""
    if isinstance(value, Tensor):
        yield from (str(value.dtype), *value.shape)
        if not value.is_meta:
            yield of_tensors({"": value.detach().cpu().to_dense()})
    elif hasattr(value, "tobytes") and hasattr(value, "dtype"):  # NumPy's
        yield from (str(value.dtype), *value.shape)
        yield value.tolist() if value.dtype.hasobject else hashlib.sha256(value.tobytes()).hexdigest()
    elif isinstance(value, (list, tuple)):
        yield from value
    elif isinstance(value, functools.partial):
        yield from (value.func, value.args, value.keywords)
    elif isinstance(value, MethodType):
        yield from (value.__func__, value.__self__)
    elif isinstance(value, FunctionType):
        yield from _function(value)
    elif isinstance(value, CodeType):
        yield from _instructions(value)
    elif isinstance(value, ModuleType):
        yield value.__name__
    elif isinstance(value, type):
        yield from _class(value)
    elif hasattr(value, "__wrapped__"):  # of functools.lru_cache
        yield value.__wrapped__
    else:
        yield from _object(value)


def _function(function: FunctionType) -> Iterator[Any]:
    if _foreign(function.__globals__.get("__name__")):  # not its __module__, which a wrapper takes from what it wraps
        yield f"{function.__module__}.{function.__qualname__}"
        return
    yield from (function.__code__, function.__defaults__, function.__kwdefaults__)
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet
            yield "empty"


def _instructions(code: CodeType) -> Iterator[Any]:
    """Yield what a function does, wherever it was typed: not its lines, nor what its parts are called."""
    yield from (code.co_code, code.co_exceptiontable, code.co_flags)
    yield from (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
    yield from (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_consts)


def _class(kind: type) -> Iterator[Any]:
    yield f"{kind.__module__}.{kind.__qualname__}"
    for base in inspect.getmro(kind):
        if not _foreign(base.__module__):
            own = {name: _unhooked(one) for name, one in vars(base).items() if not _foreign_to(base, name, one)}
            yield {name: getattr(one, "__func__", getattr(one, "fget", one)) for name, one in own.items()}


def _foreign_to(kind: type, name: str, attribute: Any) -> bool:
    """Whether an attribute of a class is none of its author's: made by Python, or put there by torch."""
    if not getattr(attribute, "hooked", False):
        return name in SKIPPED
    inherited = next((vars(base)[name] for base in kind.__mro__[1:] if name in vars(base)), None)
    return _unhooked(attribute) is _unhooked(inherited)


def _unhooked(attribute: Any) -> Any:
    """Return the step of an optimizer without torch's profiler: it is put around it when the first one is built."""
    return getattr(attribute, "__wrapped__", attribute) if getattr(attribute, "hooked", False) else attribute


SKIPPED = {
    *("__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__annotations__", "__firstlineno__"),
    *("__static_attributes__", "__annotate__", "__annotate_func__", "__annotations_cache__", "_abc_impl"),
}
"""Attributes of a class that do nothing, or are made by Python."""


def _object(value: Any) -> Iterator[Any]:
    yield type(value)
    if attributes := getattr(value, "__dict__", None):
        yield attributes
    elif " at 0x" not in (said := repr(value)):
        yield said


def _foreign(module: Any) -> bool:
    return isinstance(module, str) and module.partition(".")[0] in FOREIGN
