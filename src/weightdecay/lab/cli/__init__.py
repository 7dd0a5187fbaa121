"""The ``weightdecay`` command."""

from __future__ import annotations

from weightdecay.lab.cli.command import main

__all__ = ["main"]
