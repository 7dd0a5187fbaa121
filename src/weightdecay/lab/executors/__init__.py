"""Engines that run a list of independent calls, behind one ``map``."""

from weightdecay.lab.executors.base import Executor, Outcome, RunFailure
from weightdecay.lab.executors.names import executor

__all__ = ["Executor", "Outcome", "RunFailure", "executor"]
