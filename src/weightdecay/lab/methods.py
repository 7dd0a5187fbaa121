"""What the lab knows of an optimizer before it has trained anything: the rows of the catalog."""

from __future__ import annotations

from weightdecay import catalog

Method = catalog.OptimizerRow
METHODS = catalog.OPTIMIZERS
method = catalog.optimizer


def takes_momentum(optimizer: str) -> bool:
    """Whether it takes a ``momentum``; the others have their own."""
    return method(optimizer).family == "sgd"
