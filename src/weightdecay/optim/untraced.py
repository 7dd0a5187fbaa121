"""Methods that a compiler shall not look into, where there may be no compiler."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def untraced(method: Callable[P, R]) -> Callable[P, R]:
    """Return the method, which ``torch.compile`` leaves outside of its graphs.

    torch marks such methods at their first call, and imports its compiler for that: as much again as torch itself, in
    every process that has an optimizer. A process that has not imported it compiles nothing.
    """
    plain, marked = inspect.unwrap(method), hidden(method)

    @functools.wraps(plain)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return (marked if "torch._dynamo" in sys.modules else plain)(*args, **kwargs)

    return call


def hidden(method: Callable[P, R]) -> Callable[P, R]:
    """Return the method for a process that has imported the compiler: it never looks into it."""
    marked: Callable[P, R] = torch._disable_dynamo(inspect.unwrap(method))  # type: ignore[attr-defined]
    return marked


class Untraced(torch.optim.Optimizer):
    """torch's own base class, in a process that may have no compiler."""

    add_param_group = untraced(torch.optim.Optimizer.add_param_group)
    zero_grad = untraced(torch.optim.Optimizer.zero_grad)
    state_dict = untraced(torch.optim.Optimizer.state_dict)
