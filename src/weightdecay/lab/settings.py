"""What a person sets, wherever it is written: on a command line, in a file, in Python."""

from __future__ import annotations

SEEDS = 2**63
"""Seeds are below it, and a negative one at least its negative: what a generator of torch takes."""


class SettingsError(ValueError):
    """A setting that cannot be run: the message names the option, its value, the reason and the way out."""
