"""What a person sets, wherever it is written: on a command line, in a file, in Python."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import MISSING, fields
from typing import Any

SEEDS = 2**63
"""Seeds are below it, and a negative one at least its negative: what a generator of torch takes."""


class SettingsError(ValueError):
    """A setting that cannot be run: the message names the option, its value, the reason and the way out."""


def command_line(settings: Any, words: Iterable[str], leave: Iterable[str] = ()) -> str:
    """Return the command line that asks the same again: its ``words``, and the options that differ from their defaults.

    ``settings`` is a dataclass whose fields are the options, but for those without a default, which are among the
    words, and those to ``leave`` out.
    """
    line = ["weightdecay", *words]
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.default is MISSING or field.name in leave or value == field.default:
            continue
        option = field.name.replace("_", "-")
        if isinstance(value, bool):
            line.append(f"--{option}" if value else f"--no-{option}")
        else:
            line += [f"--{option}", *map(str, value if isinstance(value, tuple) else (value,))]
    return shlex.join(line)
