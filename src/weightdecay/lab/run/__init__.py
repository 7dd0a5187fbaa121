"""What a run is, and where it is kept: everything that decides a result, its address, its folder. Without torch."""

from __future__ import annotations

from weightdecay.lab.run.place import Place
from weightdecay.lab.run.run import ERROR, PERPLEXITY, Epoch, Metric, Option, Options, Result, Run, options

__all__ = ["ERROR", "PERPLEXITY", "Epoch", "Metric", "Option", "Options", "Place", "Result", "Run", "options"]
