"""The optimizers that the rules know: those of the catalog."""

from __future__ import annotations

from collections.abc import Mapping

from weightdecay.catalog import OPTIMIZERS, OptimizerRow

KNOWN: Mapping[str, OptimizerRow] = OPTIMIZERS
"""Those that are registered."""
