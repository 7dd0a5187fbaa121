"""Your own network, data and loss in the lab."""

from __future__ import annotations

from weightdecay.lab.own.own import Own

__all__ = ["Own"]
