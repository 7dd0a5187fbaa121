"""What a network may be asked for: its options by name, and which values each may take."""

from __future__ import annotations

from collections.abc import Callable, Collection

from weightdecay.checks import unknown
from weightdecay.lab.run import Option, Options


def _whole(value: Option) -> bool:
    return type(value) is int and value >= 1


def _fraction(value: Option) -> bool:
    return type(value) in (int, float) and 0 <= value < 1  # type: ignore[operator]


# An option means the same in every network that has it.
VALUES: dict[str, tuple[Callable[[Option], bool], str]] = {
    "width": (_whole, "a whole number of channels, 1 or more"),
    "embedding": (_whole, "a whole number of features, 1 or more"),
    "hidden": (_whole, "a whole number of features, 1 or more"),
    "layers": (_whole, "a whole number, 1 or more"),
    "dropout": (_fraction, "a fraction in [0, 1)"),
    "heads": (_whole, "a whole number, 1 or more"),
    "norm": (lambda value: isinstance(value, bool), "True or False"),
    "paper_eps": (lambda value: isinstance(value, bool), "True or False"),
}


def checked(network: str, options: Options, known: Collection[str]) -> dict[str, Option]:
    """Return the options as a dictionary. Raises: ValueError, for an unknown name or a value that makes no sense."""
    for name, value in options:
        if not known:
            raise ValueError(f"{name}={value!r}: the network {network!r} has no options. Leave them empty.")
        if name not in known:
            raise ValueError(unknown(f"option of the network {network!r}", name, known))
        allowed, words = VALUES[name]
        if not allowed(value):
            raise ValueError(f"{name}={value!r} of the network {network!r} must be {words}.")
    return dict(options)
