"""Code as a text: what stands for a function of one's own in the address of a run."""

from __future__ import annotations

import functools
import inspect
from types import CodeType
from typing import Any

from torch import nn

from weightdecay.lab.weights import digest

PLAIN = (bool, int, float, str, type(None))
"""Types whose text is their value."""


def text(function: Any) -> str:
    """Return what a callable is made of: its source, or its instructions where no file holds that.

    Of ``functools.partial``, also the arguments; of an object that is called, the class, its plain attributes, and the
    weights and buffers of a module. Not in it: what the code calls, and what a function closes over.

    >>> text(nn.CrossEntropyLoss()) == text(nn.CrossEntropyLoss(label_smoothing=0.1))
    False
    """
    if isinstance(function, functools.partial):
        return "\0".join([text(function.func), repr(function.args), repr(sorted(function.keywords.items()))])
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        pass
    if isinstance(compiled := getattr(function, "__code__", None), CodeType):
        return _instructions(compiled)
    if name := getattr(function, "__qualname__", ""):
        return f"{function.__module__}.{name}"
    plain = {name: value for name, value in getattr(function, "__dict__", {}).items() if isinstance(value, PLAIN)}
    state = digest(function.state_dict()) if isinstance(function, nn.Module) else ""
    return "\0".join([text(type(function)), repr(sorted(plain.items())), state])


def _instructions(compiled: CodeType) -> str:
    """Return a function's bytes, names and constants: what it does, wherever it was typed."""
    constants = [_instructions(one) if isinstance(one, CodeType) else repr(one) for one in compiled.co_consts]
    return "\0".join([compiled.co_code.hex(), *compiled.co_names, *compiled.co_varnames, *constants])
