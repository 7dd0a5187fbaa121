"""What a person sets, wherever it is written: on a command line, in a file, in Python."""

from __future__ import annotations


class SettingsError(ValueError):
    """A setting that cannot be run: the message names the option, its value, the reason and the way out."""
