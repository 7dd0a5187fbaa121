"""The optimizers that the rules know: those of the catalog, and one that people bring with them."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping

from weightdecay.catalog import OPTIMIZERS, OptimizerRow

LION = OptimizerRow(
    title="Lion",
    path="lion",
    family="sign",
    decay="decoupled",
    base="lion",
    lr=1e-4,
    centre=6.0,
    description="The sign of a momentum, arXiv:2302.06675; with weightdecay.attach.",
)
KNOWN: Mapping[str, OptimizerRow] = ChainMap(OPTIMIZERS, {"lion": LION})
"""Those that are registered, and Lion."""
