"""Settings as a person writes them, in a file or in Python: strictly read, several values of each multiplied out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, replace
from typing import Any

from weightdecay.checks import unknown, whole_at_least
from weightdecay.lab.run.methods import method, portable, with_code
from weightdecay.lab.run.run import ITS_OWN, Option, Options, Run, options
from weightdecay.lab.run.settings import SettingsError, as_settings

ONE_PROCESS = ("processes", "strategy")
"""Of a run under torchrun; those of a sweep have one process each."""

RUN = {
    field.name: field
    for field in fields(Run)
    if field.name not in ("data_digest", "optimizer_digest", "start", *ONE_PROCESS)
}
TABLES = ("optimizer_options", "network_options")
OF_DATA_AND_NETWORK = (
    *("data", "network", "network_options", "train_size", "validation_size", "test_size"),
    *("image_size", "classes", "label_noise", "augment", "sequence"),
)
"""Fields that only the lab's own data and networks heed."""

MOST = 1_000_000
"""Runs of a grid: each is an object in memory and a folder on the disk."""

BESIDE = ("seeds", "decay")
"""Settings that are no fields of a run: ``seeds`` is how many; ``decay`` is one of the optimizer's options."""


def check_known(names: Iterable[str], known: Iterable[str], where: str) -> None:
    """Refuse names that are not known. Raises: SettingsError, with the nearest."""
    for name in names:
        if name not in known:
            raise SettingsError(f"{where}: " + unknown("setting", name, tuple(known)))


def product(settings: Mapping[str, Any], where: str) -> Iterator[Run]:
    """Yield every combination of the values of all settings: fields of a run, and those :data:`BESIDE` them.

    Raises: SettingsError, which begins with ``where`` the settings are from.
    """
    check_known(settings, (*RUN, *BESIDE), where)
    settings = dict(settings)
    if "seeds" in settings:
        if "seed" in settings:
            raise SettingsError(
                f"{where}: seed and seeds are both set. Use seeds = 3 for 0, 1 and 2, or seed = [0, 1, 2]."
            )
        count = settings.pop("seeds")
        with as_settings():
            whole_at_least(f"{where}: seeds", count, 1, "It is the number of seeds.")
        settings["seed"] = range(count)
    settings.setdefault("seed", 0)
    for name in ("optimizer", "weight_decay"):
        if name not in settings:
            raise SettingsError(f"{where} has no {name}. Set it to one value, or to a list of them.")
    axes = [_values(name, value, where) for name, value in settings.items()]
    if (size := math.prod(map(len, axes))) > MOST:
        raise SettingsError(
            f"{where} makes {size:,} runs, and {MOST:,} are the most. Take fewer values, or fewer seeds."
        )
    for combination in itertools.product(*axes):
        values = dict(zip(settings, combination, strict=True))
        try:
            decay = values.pop("decay", "")
            run = settled(Run(**{"lr": ITS_OWN, **typed(values, RUN, "")}), decay)
        except SettingsError as error:
            raise SettingsError(f"{where}: {error}") from error
        yield run


def settled(run: Run, decay: Any = "") -> Run:
    """Return the run with everything that its names stand for: the learning rate of its optimizer, a decay, its code.

    Raises: SettingsError, for a name that is not known.
    """
    name = portable(run.optimizer)
    return with_code(
        replace(
            run,
            optimizer=name,
            lr=method(name).lr if math.isnan(run.lr) else run.lr,
            optimizer_options=with_decay(run.optimizer_options, decay),
        )
    )


def with_decay(table: Options, decay: Any) -> Options:
    """Return an optimizer's options with a decay among them. Raises: SettingsError, for what is no text, and for two.

    >>> with_decay((("momentum", 0.9),), "stable")
    (('decay', 'stable'), ('momentum', 0.9))
    """
    if not isinstance(decay, str):
        raise SettingsError(f'decay = {decay!r} must be a text in quotes, as in decay = "stable".')
    if not decay:
        return table
    if "decay" in dict(table):
        raise SettingsError(f"decay = {decay!r}, and optimizer_options has a decay too. Give it once.")
    return options({**dict(table), "decay": decay})


def _values(name: str, value: Any, where: str) -> Sequence[Any]:
    """Return the values that a setting takes, one or more."""
    if name in TABLES:
        return _tables(name, value, where)
    if name == "milestones":  # itself a list: several of them are a list of lists
        several = isinstance(value, list) and bool(value) and all(isinstance(one, list) for one in value)
        return [tuple(one) for one in value] if several else [tuple(value) if isinstance(value, list) else value]
    if isinstance(value, dict):
        return _range(name, value, where)
    if isinstance(value, range):
        return value
    if not isinstance(value, list):
        return [value]
    if not value:
        raise SettingsError(f"{where}: {name} = []: an empty list makes no run.")
    return value


def _tables(name: str, value: Any, where: str) -> list[Options]:
    if not isinstance(value, dict):
        raise SettingsError(f"{where}: {name} must be a table, as in {name} = {{ momentum = 0.9 }}.")
    axes = [_values(f"{name}.{key}", one, where) for key, one in value.items()]
    found = []
    for combination in itertools.product(*axes):
        pairs: dict[str, Option] = dict(zip(value, combination, strict=True))
        found.append(options(pairs))
    return found


def _range(name: str, table: Mapping[str, Any], where: str) -> list[float] | list[int]:
    """Return ``count`` numbers from ``from`` to ``to``, evenly in their logarithm; with ``scale = "linear"`` evenly.

    Rounded to three digits, so that what is printed is what is run; of a setting that is a whole number, to those.
    """
    allowed = ("from", "to", "count", "scale")
    check_known(table, allowed, f"{where}: the range of {name}")
    missing = [key for key in allowed[:3] if key not in table]
    if missing:
        raise SettingsError(
            f"{where}: the range of {name} has no {missing[0]}. Write {{ from = 1e-4, to = 1e-2, count = 3 }}."
        )
    low, high, count, scale = table["from"], table["to"], table["count"], table.get("scale", "log")
    if scale not in ("log", "linear"):
        raise SettingsError(f'{where}: the range of {name} has scale = {scale!r}. Use "log" or "linear".')
    if not isinstance(count, int) or count < 2:
        raise SettingsError(
            f"{where}: the range of {name} has count = {count!r}. Two are the least, both ends included."
        )
    if count > MOST:
        raise SettingsError(f"{where}: the range of {name} has {count:,} values, and {MOST:,} runs are the most.")
    if scale == "log" and not (low > 0 and high > 0):
        raise SettingsError(
            f"{where}: the range of {name} goes from {low} to {high}, and a logarithm has no 0. "
            'Start above it, and add 0 in a grid of its own; or set scale = "linear".'
        )
    steps = [i / (count - 1) for i in range(count)]
    if scale == "log":
        values = [math.exp(math.log(low) + part * (math.log(high) - math.log(low))) for part in steps]
    else:
        values = [low + part * (high - low) for part in steps]
    if name in RUN and RUN[name].type == "int":
        return list(dict.fromkeys(map(round, values)))
    return [float(f"{value:.3g}") for value in values]


def typed(values: Mapping[str, Any], known: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the values in the types of the fields; a whole number may stand for a float, nothing else is converted."""
    found = {}
    for name, value in values.items():
        kind = known[name].type
        if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        expected = {"float": float, "int": int, "str": str, "bool": bool}.get(kind)
        if expected and (
            value != value or not isinstance(value, expected) or (expected is int and isinstance(value, bool))
        ):
            default = known[name].default
            example = "" if default is MISSING else f" The default is {default!r}."
            words = {float: "a number", int: "a whole number", str: "a text in quotes", bool: "true or false"}[expected]
            raise SettingsError(f"{where}{name} = {value!r} must be {words}.{example}")
        if name == "milestones" and not (
            isinstance(value, tuple)
            and all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in value)
        ):
            raise SettingsError(f"{where}milestones = {value!r} must be fractions of the epochs, as in [0.4, 0.8].")
        found[name] = value
    return found
