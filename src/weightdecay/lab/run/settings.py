"""What a person sets, wherever it is written: on a command line, in a file, in Python."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

SEEDS = 2**63
"""Seeds are below it, and a negative one at least its negative: what a generator of torch takes."""


OPTION = "option"
"""In the metadata of a field: its name on a command line, where that is another one."""


def left_out(words: str = "none", name: str | None = None) -> object:
    """Say in a command's help what stands for an option that is left out, and perhaps by which name it goes.

    It stands in an annotation, which is evaluated when a command line is read, as :func:`flag` does.
    """
    import tyro

    return tyro.conf.arg(name=name, help_behavior_hint=f"(default: {words})")


def flag() -> object:
    """Say in a command's help whether a flag is on where it is left out, and nothing of one that is off."""
    import tyro

    return tyro.conf.arg(help_behavior_hint=lambda default: "(default: on)" if default == "True" else "")


class SettingsError(ValueError):
    """A setting that cannot be run: the message names the option, its value, the reason and the way out."""


@contextmanager
def as_settings() -> Iterator[None]:
    """Raise what is refused inside as a SettingsError."""
    try:
        yield
    except ValueError as error:
        raise SettingsError(str(error)) from None


def command_line(settings: Any, words: Iterable[str], leave: Iterable[str] = ()) -> str:
    """Return the command line that asks the same again: its ``words``, and the options that differ from their defaults.

    ``settings`` is a dataclass whose fields are the options, and so are those of a dataclass inside; but for those
    without a default, which are among the words, and those to ``leave`` out.
    """
    return shlex.join(["weightdecay", *words, *_options(settings, type(settings), frozenset(leave))])


def _options(settings: Any, default: Any, leave: Collection[str]) -> Iterator[str]:
    """Yield the options that differ from the default: a class with its defaults, or an object of it."""
    for field in fields(settings):
        value, usual = getattr(settings, field.name), getattr(default, field.name, MISSING)
        name = field.metadata.get(OPTION, field.name)
        if usual is MISSING or name in leave or value == usual:
            continue
        option = name.replace("_", "-")
        if is_dataclass(value):
            yield from _options(value, usual, leave)
        elif isinstance(value, bool):
            yield f"--{option}" if value else f"--no-{option}"
        else:
            yield from (f"--{option}", *map(str, value if isinstance(value, tuple) else (value,)))
