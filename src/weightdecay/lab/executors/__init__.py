"""Engines that run a list of independent calls, behind one ``map``."""

from weightdecay.lab.executors.base import EngineError, Executor, Outcome, RunFailure
from weightdecay.lab.executors.names import executor

__all__ = ["EngineError", "Executor", "Outcome", "RunFailure", "executor"]
