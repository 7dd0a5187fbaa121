"""timm: every optimizer of the catalog in its registry, for ``create_optimizer_v2`` and ``--opt``."""

from __future__ import annotations

import inspect
from typing import Any

# timm.optim, which reads the registry, does not hand it out.
from timm.optim._optim_factory import OptimInfo, OptimizerRegistry, default_registry

from weightdecay.catalog import OptimizerRow, available, optimizer

PREFIX = "wd-"


def register(replace: bool = False, registry: OptimizerRegistry = default_registry) -> list[str]:
    """Put every name of :func:`weightdecay.available` into timm's registry; return the names that now lead here.

    Each is there as "wd-adams" and the like, and also as "adams" where timm has no optimizer of that name. "adam",
    "adamw", "sgd", "sgdw" and "radam" stay timm's: its "sgd" has Nesterov momentum, on which a training script relies.

    ``replace``
        Whether the names that timm has lead here, too: "adamw" is then ours.

    timm splits a model into decayed matrices and undecayed vectors by itself, and "lookahead_adams" wraps any name.
    An option of ours is a keyword: ``create_optimizer_v2(model, "adams", lr=1e-3, weight_decay=5e-4,
    decay="cautious(stable)")``, or ``--opt-kwargs decay=vanilla`` of its training script. Calling it again is harmless,
    and takes in what was registered with :func:`weightdecay.register` since.

    Source: timm 1.0.31, ``timm/optim/_optim_factory.py``.

    >>> import torch
    >>> from timm.optim import create_optimizer_v2
    >>> names = register()
    >>> type(create_optimizer_v2(torch.nn.Linear(2, 2), "adams", lr=1e-3, weight_decay=5e-4))
    <class 'weightdecay.named.AdamS'>
    """
    there = set(registry.list_optimizers())
    names = []
    for known in available():
        row, name = optimizer(known), known.replace("_", "-")  # "_" ends the name of a wrapper there
        free = replace or name not in there or _is_ours(registry, name)
        for said in (PREFIX + name, *((name,) if free else ())):
            registry._optimizers.pop(said, None)  # register() would log that it overwrites
            registry.register(_info(said, row))
            names.append(said)
    return names


def _info(name: str, row: OptimizerRow) -> Any:
    takes = inspect.signature(row.cls).parameters
    return OptimInfo(
        name=name,
        opt_class=row.cls,
        description=f"weightdecay: {row.description}",
        has_eps="eps" in takes,
        has_momentum="momentum" in takes,
        has_betas="betas" in takes,
    )


def _is_ours(registry: OptimizerRegistry, name: str) -> bool:
    return registry.get_optimizer_info(name).description.startswith("weightdecay: ")
