"""Settings as a person writes them in a file: what cannot be meant is refused before anything starts, by its name."""

from __future__ import annotations

from typing import Any


def whole(setting: str, value: Any, least: int, hint: str) -> None:
    """Refuse what is not a whole number of at least ``least``. Raises: ValueError."""
    if type(value) is not int or value < least:  # not isinstance: True is an int
        raise ValueError(f"{setting}={value!r}: must be an integer of at least {least}. {hint}")


def number(setting: str, value: Any, least: float, hint: str) -> None:
    """Refuse what is not a number of at least ``least``. Raises: ValueError."""
    if type(value) not in (int, float) or not least <= value < float("inf"):
        raise ValueError(f"{setting}={value!r}: must be a number of at least {least:g}. {hint}")


def text(setting: str, value: Any, hint: str) -> None:
    """Refuse what is not a string with something in it. Raises: ValueError."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"{setting}={value!r}: must be a text. {hint}")
