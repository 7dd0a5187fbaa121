"""What stands for code in an address: the same for the same, another for another, in every process."""

from __future__ import annotations

import enum
import functools
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from weightdecay.lab.run.source import digest


def typed(source, name="it"):
    """What somebody typed at a prompt: no file holds it."""
    names = {"__name__": "__main__", "nn": nn, "functools": functools, "torch": torch}
    exec(source, names)
    return names[name]


class Weighted:
    def __init__(self, weight):
        self.weight, self.me = weight, self  # which holds itself

    def loss(self, outputs, targets):
        return self.weight * (outputs - targets).abs().mean()


class Smooth(nn.Module):
    def __init__(self, smoothing):
        super().__init__()
        self.inner = nn.CrossEntropyLoss(label_smoothing=smoothing)


class Kind(enum.Enum):
    ONE = 1
    TWO = 2


def scaled(scale, *, more=1):
    return lambda x, plus=scale: scale * x + more


def wrapped(scale):
    def decorate(function):
        @functools.wraps(function)
        def inner(x):
            return scale * function(x)

        return inner

    return decorate


TWO_LINES = """
def call(model, loss): return loss
it = call(model=3, loss=lambda x: x
          + {})
"""
CLASS = """
class it(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Linear(1, {})
"""
SET = "it = lambda x: x in {{'mse', 'l1', 'huber', '{}'}}"

PAIRS = {
    "a number in a lambda": [typed(f"it = lambda x: x + {n}") for n in (1, 1, 2)],
    "a nested function": [
        typed(f"def it(x):\n    def inner(y): return y + {n}\n    return inner(x)") for n in (1, 1, 2)
    ],
    "a lambda over two lines": [typed(TWO_LINES.format(n)) for n in (1, 1, 2)],
    "two lambdas on a line": [typed(f"a, it = (lambda x: 0), (lambda x: {n})") for n in (1, 1, 2)],
    "a class at a prompt": [typed(CLASS.format(n)) for n in (1, 1, 50)],
    "a constant set": [typed(SET.format(n)) for n in ("a", "a", "b")],
    "a name that is called": [typed(f"def it(x): return torch.{n}(x)") for n in ("exp", "exp", "log")],
    "keyword defaults": [scaled(1, more=n) for n in (1, 1, 2)],
    "defaults and closures": [scaled(n) for n in (1, 1, 2)],
    "a decorator": [wrapped(n)(abs) for n in (1, 1, 2)],
    "partial": [functools.partial(max, n) for n in (1, 1, 2)],
    "partial of a function": [functools.partial(scaled, scaled(n)) for n in (1, 1, 2)],
    "partial of many numbers": [
        functools.partial(max, torch.cat([torch.zeros(2000), torch.tensor([n])])) for n in (1, 1, 2)
    ],
    "a cache": [functools.lru_cache(scaled(n)) for n in (1, 1, 2)],
    "a method": [Weighted(n).loss for n in (1.0, 1.0, 2.0)],
    "an array": [np.arange(3000.0) + n for n in (1, 1, 2)],
    "an array of objects": [np.array([n, "a"], dtype=object) for n in (1, 1, 2)],
    "a number of NumPy's": [np.float32(n) for n in (1, 1, 2)],
    "a shape": [torch.zeros(n, 6 // n) for n in (2, 2, 3)],
    "bytes": [bytes([n]) for n in (1, 1, 2)],
    "an attribute": [nn.CrossEntropyLoss(label_smoothing=n) for n in (0.0, 0.0, 0.1)],
    "a buffer": [nn.CrossEntropyLoss(torch.tensor([1.0, n])) for n in (1.0, 1.0, 2.0)],
    "a module in a module": [Smooth(n) for n in (0.0, 0.0, 0.1)],
    "a container": [{"a": [1, (n, None)], "b": {1, 2}} for n in (1, 1, 2)],
    "a type": [1, 1, 1.0],
    "a function of torch's": [functional.mse_loss, functional.mse_loss, functional.l1_loss],
    "a built-in function": [max, max, min],
    "a member of an enumeration": [Kind.ONE, Kind.ONE, Kind.TWO],
}


def print_all():
    print(digest(*(each[0] for each in PAIRS.values())))


@pytest.mark.parametrize("what", PAIRS)
def test_equal_for_equal_and_not_for_another(what):
    same, again, other = PAIRS[what]
    assert digest(same) == digest(again) != digest(other)


def test_the_order_of_a_dictionary_and_where_code_stands_do_not_count():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest([1, 2]) != digest([2, 1]) != digest((2, 1))
    assert digest(1, 23) != digest(12, 3) != digest(123)
    here = "it = lambda x: x + 1"
    assert digest(typed(here)) == digest(typed(f"# a comment\n\n{here}  # and another"))


def test_a_function_is_what_was_imported_and_not_what_its_file_says_by_now(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    file = tmp_path / "edited_later.py"
    file.write_text("def it(x):\n    return x + 1\n")
    import edited_later

    before = digest(edited_later.it)
    file.write_text("def it(x):\n    return x + 2\n")
    assert digest(edited_later.it) == before


def test_it_is_the_same_in_every_process():
    """Whatever Python's hashes of texts, on which the order of sets depends, and wherever objects lie in memory."""
    code = f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r}); import test_source as t; t.print_all()"
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


def test_a_class_of_an_optimizer_is_the_same_after_one_was_built():
    """When the first one is built, torch puts its profiler around the step of the class."""
    inherits = type("Inherits", (torch.optim.SGD,), {"__module__": "mine"})
    own = type("Own", (torch.optim.SGD,), {"__module__": "mine", "step": lambda self, closure=None: None})
    other = type("Own", (torch.optim.SGD,), {"__module__": "mine", "step": lambda self, closure=None: 1})
    before = [digest(kind) for kind in (inherits, own, other)]
    assert len(set(before)) == 3
    weightdecays = typed("import weightdecay\nclass it(weightdecay.SGD):\n    def direction(self, *_): return 0")
    fresh = digest(weightdecays)
    for kind in (inherits, own, other, weightdecays):
        kind([torch.nn.Parameter(torch.ones(2))], lr=0.1)
        assert vars(kind).get("step") is None or vars(kind)["step"].hooked
    assert [digest(kind) for kind in (inherits, own, other)] == before
    assert digest(weightdecays) == fresh
