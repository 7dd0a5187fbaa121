"""Options of an optimizer, a network or an executor as words: ``NAME=VALUE``."""

from __future__ import annotations

from typing import Any

from weightdecay.lab.run import Option, Options, options
from weightdecay.lab.run.settings import SettingsError


def read_options(option: str, words: tuple[str, ...]) -> Options:
    """Return ``NAME=VALUE`` words as options: true and false, whole numbers, numbers, several of them, else text.

    >>> read_options("--optimizer-options", ("momentum=0.9", "nesterov=true", "betas=0.9,0.95"))
    (('betas', (0.9, 0.95)), ('momentum', 0.9), ('nesterov', True))
    """
    found: dict[str, Option] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise SettingsError(f"{option} {word}: write NAME=VALUE, as in momentum=0.9.")
        values = [_value(part) for part in text.split(",")]
        several = len(values) > 1 and not any(isinstance(value, str) for value in values)
        found[name.replace("-", "_")] = tuple(values) if several else _value(text)  # type: ignore[assignment]
    return options(found)


def _value(text: str) -> Option:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def written_options(table: Options) -> tuple[str, ...]:
    """Return the words that :func:`read_options` reads as these options.

    >>> written_options((("betas", (0.9, 0.95)), ("nesterov", True)))
    ('betas=0.9,0.95', 'nesterov=True')
    """
    plain: tuple[tuple[str, Any], ...] = table
    return tuple(f"{name}={','.join(map(str, v)) if isinstance(v, tuple) else v}" for name, v in plain)
