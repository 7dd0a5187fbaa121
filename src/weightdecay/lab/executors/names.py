"""Executors by name, as a sweep file and a command line ask for them."""

from __future__ import annotations

import importlib.util
from dataclasses import fields
from typing import Any

from weightdecay.checks import unknown
from weightdecay.lab.executors.base import Executor
from weightdecay.lab.executors.gpus import Gpus
from weightdecay.lab.executors.here import Here
from weightdecay.lab.executors.local import Local
from weightdecay.lab.executors.ray import Ray
from weightdecay.lab.executors.slurm import Slurm

EXECUTORS: dict[str, type[Executor]] = {"here": Here, "local": Local, "gpus": Gpus, "ray": Ray, "slurm": Slurm}

# Executor → (the package it stands on, the extra that installs it).
NEEDS = {"local": ("joblib", "lab"), "gpus": ("joblib", "lab"), "ray": ("ray", "ray"), "slurm": ("submitit", "slurm")}


def executor(name: str, **settings: Any) -> Executor:
    """Return the executor of that name.

    >>> list(executor("here").map(len, ["ab", "c"]))
    [Outcome(item='ab', value=2, error=None), Outcome(item='c', value=1, error=None)]
    >>> executor("local", jobs=2)
    Local(jobs=2, retries=2)

    Raises: ValueError for an unknown name or setting, or a value that cannot be meant; ImportError, which names the
    extra to install, for an engine that is not there.
    """
    if name not in EXECUTORS:
        raise ValueError(unknown("executor", name, EXECUTORS))
    kind: Any = EXECUTORS[name]
    known = [field.name for field in fields(kind)]
    for setting in settings:
        if setting not in known:
            raise ValueError(unknown(f"setting of the executor {name!r}", setting, known))
    made: Executor = kind(**settings)
    package, extra = NEEDS.get(name, ("", ""))
    if package and importlib.util.find_spec(package) is None:
        raise ImportError(
            f"The executor {name!r} needs the package {package}, which is not installed. "
            f'Install the extra: pip install "weightdecay[{extra}]".'
        )
    return made
