"""Every way to decay weights, as one small object that works with every optimizer.

>>> import torch, weightdecay
>>> model = torch.nn.Linear(2, 1)
>>> optimizer = weightdecay.AdamS(model.parameters(), lr=1e-3)
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from weightdecay import attaching as attaching
    from weightdecay import catalog as catalog
    from weightdecay import decay as decay
    from weightdecay import engine as engine
    from weightdecay import lab as lab
    from weightdecay import measuring as measuring
    from weightdecay import monitor as monitor
    from weightdecay import optim as optim
    from weightdecay import schedule as schedule
    from weightdecay import selecting as selecting
    from weightdecay import spectrum as spectrum
    from weightdecay import theory as theory
    from weightdecay import transfer as transfer
    from weightdecay.attaching import attach
    from weightdecay.catalog import available, create, register, unregister
    from weightdecay.decay import (
        L2,
        Cautious,
        Corrected,
        Decay,
        Decoupled,
        Elementwise,
        Hyperball,
        Independent,
        LogTime,
        NormTarget,
        RadialBrake,
        Stable,
        Step,
        TouchedRows,
        Toward,
        Vanilla,
    )
    from weightdecay.measuring import assert_decays, measure
    from weightdecay.named import SGDS, SGDW, AdaiS, AdaiW, AdamS, AdamW, AMSGradS, AMSGradW
    from weightdecay.optim import (
        SGD,
        AdaBound,
        Adai,
        Adam,
        AMSGrad,
        HeavyBall,
        Lion,
        Muon,
        MuonAdamW,
        NAdam,
        Optimizer,
        Padam,
        RAdam,
        TensorFlowSGD,
        Yogi,
    )
    from weightdecay.selecting import audit, select

__all__ = [
    "Cautious",
    "Corrected",
    "Hyperball",
    "LogTime",
    "NormTarget",
    "RadialBrake",
    "TouchedRows",
    "Toward",
    "Decay",
    "Decoupled",
    "Elementwise",
    "Independent",
    "L2",
    "Stable",
    "Step",
    "Vanilla",
    "AMSGrad",
    "AdaBound",
    "Adai",
    "Adam",
    "HeavyBall",
    "Lion",
    "Muon",
    "MuonAdamW",
    "NAdam",
    "Optimizer",
    "Padam",
    "RAdam",
    "SGD",
    "TensorFlowSGD",
    "Yogi",
    "AMSGradS",
    "AMSGradW",
    "AdaiS",
    "AdaiW",
    "AdamS",
    "AdamW",
    "SGDS",
    "SGDW",
    "assert_decays",
    "attach",
    "audit",
    "available",
    "create",
    "measure",
    "register",
    "select",
    "unregister",
]

ROOMS = (
    *("attaching", "catalog", "decay", "engine", "lab", "measuring", "monitor", "optim", "schedule"),
    *("selecting", "spectrum", "theory", "transfer"),
)
"""Modules that are there after ``import weightdecay``, each imported when it is first asked for."""

EXTRAS = {"spectrum": ("numpy", "scipy", "curvlinops")}
"""The rooms that are an extra of the same name, and what that installs."""


if not TYPE_CHECKING:  # which would take any name for one of ours

    def __getattr__(name: str) -> Any:
        # Importing torch takes seconds; `weightdecay --help` shall not. The first name asked for loads the core.
        if name in ROOMS:
            return _room(name)
        if name in __all__:
            for home in ("catalog", "named", "optim", "decay", "attaching", "selecting", "measuring"):
                module = importlib.import_module(f"weightdecay.{home}")
                if name in vars(module):
                    return vars(module)[name]
        near = difflib.get_close_matches(name, [*__all__, *ROOMS], n=1, cutoff=0.75)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise AttributeError(f"module 'weightdecay' has no attribute {name!r}.{hint}")


def _room(name: str) -> Any:
    for needed in EXTRAS.get(name, ()):
        if importlib.util.find_spec(needed) is None:
            raise ImportError(
                f"weightdecay.{name} needs {needed}, which is not installed. Install the extra: "
                f'pip install "weightdecay[{name}]".',
                name=needed,
            )
    return importlib.import_module(f"weightdecay.{name}")


def __dir__() -> list[str]:
    return [*globals(), *__all__, *ROOMS]
