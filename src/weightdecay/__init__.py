"""Every way to decay weights, as one small object that works with every optimizer.

>>> import torch, weightdecay
>>> model = torch.nn.Linear(2, 1)
>>> optimizer = weightdecay.AdamS(model.parameters(), lr=1e-3)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from weightdecay.decay import L2, Decay, Decoupled, Elementwise, Independent, Stable, Step, Vanilla
    from weightdecay.engine.attach import attach
    from weightdecay.named import SGDS, SGDW, AdaiS, AdaiW, AdamS, AdamW, AMSGradS, AMSGradW, available, create
    from weightdecay.optim import (
        SGD,
        AdaBound,
        Adai,
        Adam,
        AMSGrad,
        HeavyBall,
        Optimizer,
        Padam,
        RAdam,
        TensorFlowSGD,
        Yogi,
    )

__all__ = [
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
    "attach",
    "available",
    "create",
]


def __getattr__(name: str) -> Any:
    # Importing torch takes seconds; `weightdecay --help` shall not. The first name asked for loads the core.
    if name in __all__:
        for home in ("named", "optim", "decay", "engine.attach"):
            module = importlib.import_module(f"weightdecay.{home}")
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module 'weightdecay' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
