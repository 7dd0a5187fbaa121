"""A sweep as a file: what is the same for all runs, what takes several values, and where it is computed.

TOML, because ``1e-3`` is a number in it::

    title = "AdamW against AdamS"
    data = "cifar10"
    network = "resnet20"
    epochs = 100
    seeds = 3

    [[grid]]                      # every combination of the lists in it
    optimizer = "adamw"
    weight_decay = [0.05, 0.5, 5]

    [[grid]]
    optimizer = "adams"
    weight_decay = { from = 5e-5, to = 5e-3, count = 3 }

    [executor]
    name = "local"
    jobs = 2
"""

from __future__ import annotations

import itertools
import math
import re
import tomllib
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from weightdecay.lab.run import Option, Options, Place, Run, options
from weightdecay.lab.run.methods import method, portable, with_code
from weightdecay.lab.run.settings import SettingsError
from weightdecay.lab.study.question import Point, Question

ONE_PROCESS = ("processes", "strategy")
"""Of a run under torchrun; those of a sweep have one process each."""

RUN = {
    field.name: field for field in fields(Run) if field.name not in ("data_digest", "optimizer_digest", *ONE_PROCESS)
}
PLACE = {field.name: field for field in fields(Place) if field.name not in ("rank", "world")}
TABLES = ("optimizer_options", "network_options")
OTHERS = ("title", "seeds", "out", "grid", "executor", "place")


@dataclass(frozen=True)
class Plan:
    """What a sweep file asks for."""

    title: str
    runs: tuple[Run, ...]
    executor: Mapping[str, Any]  # name and settings, as executor() takes them
    place: Place
    out: Path


def read(path: Path) -> Plan:
    """Return the plan in a file. Raises: SettingsError, which names the file, the key, the value and the way out."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not TOML: {error}.") from None
    try:
        return plan(content, default_out=Path(f"{path.stem}-runs"))
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from None


def plan(content: Mapping[str, Any], default_out: Path = Path("weightdecay-runs")) -> Plan:
    """Return the plan in the content of a file. Raises: SettingsError."""
    _known(content, (*RUN, *OTHERS), "a sweep")
    grids = content.get("grid", [{}])
    if not isinstance(grids, list) or not all(isinstance(grid, dict) for grid in grids):
        raise SettingsError("grid must be tables, each headed [[grid]].")
    common = {name: value for name, value in content.items() if name in (*RUN, "seeds")}
    runs: list[Run] = []
    for number, grid in enumerate(grids, 1):
        runs += product({**common, **grid}, f"grid {number}" if "grid" in content else "the sweep")
    executor = dict(_table(content, "executor")) or {"name": "local"}
    executor.setdefault("name", "local")
    place = dict(_table(content, "place"))
    _known(place, PLACE, "the table [place]")
    if "data" in place:
        place["data"] = Path(str(place["data"]))
    return Plan(
        title=str(content.get("title", "")),
        runs=tuple(dict.fromkeys(runs)),
        executor=executor,
        place=Place(**{"device": "auto", **_typed(place, PLACE, "place.")}),
        out=Path(str(content.get("out", default_out))).expanduser(),
    )


def _known(names: Iterable[str], known: Iterable[str], where: str) -> None:
    from weightdecay.checks import unknown

    for name in names:
        if name not in known:
            raise SettingsError(f"{where}: " + unknown("setting", name, tuple(known)))


def _table(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = content.get(name, {})
    if not isinstance(table, dict):
        raise SettingsError(f"{name} must be a table, headed [{name}].")
    return table


# ---------------------------------------------------------------- from lists to runs


def product(settings: Mapping[str, Any], where: str) -> Iterator[Run]:
    """Yield every combination of the values of all settings: fields of a run, and ``seeds``, how many of them.

    Raises: SettingsError, which begins with ``where`` the settings are from.
    """
    _known(settings, (*RUN, "seeds"), where)
    settings = dict(settings)
    if "seeds" in settings:
        if "seed" in settings:
            raise SettingsError(
                f"{where}: seed and seeds are both set. Use seeds = 3 for 0, 1 and 2, or seed = [0, 1, 2]."
            )
        count = settings.pop("seeds")
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise SettingsError(f"{where}: seeds = {count!r}: it is a number of seeds, 1 or more.")
        settings["seed"] = list(range(count))
    settings.setdefault("seed", 0)
    for name in ("optimizer", "weight_decay"):
        if name not in settings:
            raise SettingsError(f"{where} has no {name}. Set it to one value, or to a list of them.")
    axes = [_values(name, value, where) for name, value in settings.items()]
    for combination in itertools.product(*axes):
        values = dict(zip(settings, combination, strict=True))
        try:
            values["optimizer"] = portable(str(values["optimizer"]))
            values.setdefault("lr", method(values["optimizer"]).lr)
            run = with_code(Run(**_typed(values, RUN, "")))
        except SettingsError as error:
            raise SettingsError(f"{where}: {error}") from error
        yield run


def _values(name: str, value: Any, where: str) -> list[Any]:
    """Return the values that a setting takes, one or more."""
    if name in TABLES:
        return _tables(name, value, where)
    if name == "milestones":  # itself a list: several of them are a list of lists
        several = isinstance(value, list) and bool(value) and all(isinstance(one, list) for one in value)
        return [tuple(one) for one in value] if several else [tuple(value) if isinstance(value, list) else value]
    if isinstance(value, dict):
        return _range(name, value, where)
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


def _range(name: str, table: Mapping[str, Any], where: str) -> list[float]:
    """Return ``count`` numbers from ``from`` to ``to``, evenly in their logarithm; with ``scale = "linear"`` evenly.

    Rounded to three digits, so that what is printed is what is run.
    """
    allowed = ("from", "to", "count", "scale")
    _known(table, allowed, f"{where}: the range of {name}")
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
    return [float(f"{value:.3g}") for value in values]


def _typed(values: Mapping[str, Any], known: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the values in the types of the fields; a whole number may stand for a float, nothing else is converted."""
    found = {}
    for name, value in values.items():
        kind = known[name].type
        if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        expected = {"float": float, "int": int, "str": str, "bool": bool}.get(kind)
        if expected and (not isinstance(value, expected) or (expected is int and isinstance(value, bool))):
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


# ---------------------------------------------------------------- from runs to questions

AXES = ("optimizer", "lr", "weight_decay", "seed")


def questions(runs: Iterable[Run], command: str, title: str = "") -> dict[str, Question]:
    """Return a question for each data and network, by a name that a folder can have.

    Numbers of different ones are not compared, nor those of one whose content or code has changed (``data_digest``).
    Runs that differ by seed only are a point; those that differ in lr and λ a curve; what else differs names the curve.
    """
    groups: dict[tuple[str, str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.data, run.network, run.data_digest), []).append(run)
    versions = Counter((data, network) for data, network, _ in groups)
    found: dict[str, Question] = {}
    for (data, network, digest), members in groups.items():
        version = digest[:8] if versions[data, network] > 1 else ""
        name = _folder(f"{_short(data)}-{network}", f"-{version}" if version else "", found)
        found[name] = _question(members, command, title, f" (version {version})" if version else "")
    return found


def _short(data: str) -> str:
    return data.rstrip("/").rpartition("/")[2].replace(":", "-")


def _folder(name: str, ending: str, taken: Container[str]) -> str:
    """Return a name of letters, digits, "-", "_" and ".", of 80 characters at most, that is not taken.

    A file system counts bytes, 255 of them: so rare letters are fewer.
    """
    plain = re.sub(r"[^\w.-]+", "-", name).lstrip(".")
    tails = itertools.chain([ending], (f"{ending}-{number}" for number in itertools.count(2)))
    cut = (plain[: 80 - len(tail)].encode()[: 240 - len(tail)].decode(errors="ignore") + tail for tail in tails)
    return next(made for made in cut if made not in taken)


def _question(runs: list[Run], command: str, title: str, version: str) -> Question:
    described = {run: _described(run) for run in runs}
    names = {name: None for one in described.values() for name in one}
    varied = [name for name in names if len({one.get(name) for one in described.values()}) > 1]
    # What an optimizer always has (its own options) does not set its curves apart.
    own = {
        name
        for name in varied
        if all(
            len({described[run].get(name) for run in runs if run.optimizer == optimizer}) == 1
            for optimizer in {run.optimizer for run in runs}
        )
    }
    points: dict[Point, list[Run]] = {}
    for run in runs:
        variant = ", ".join(
            f"{name}={described[run][name]}" for name in varied if name not in own and name in described[run]
        )
        points.setdefault(Point(run.optimizer, run.lr, run.weight_decay, variant), []).append(run)
    first = runs[0]
    noise = {run.label_noise for run in runs}
    rows = [("Sweep", title)] if title else []
    rows += [("Data", first.data + version), ("Network", first.network)]
    rows += [("The same for all", ", ".join(f"{k} {v}" for k, v in described[first].items() if k not in varied))]
    return Question(
        points={point: tuple(sorted(members, key=lambda run: run.seed)) for point, members in points.items()},
        setting=f"{_short(first.data)}{version} with {first.network}",
        command=command,
        rows=tuple(rows),
        label_noise=max(noise),
        name="sweep",
    )


def _described(run: Run) -> dict[str, str]:
    """Return everything but the axes of a comparison, each as text, options one by one."""
    found: dict[str, str] = {}
    for name, value in asdict(run).items():
        if name in TABLES:
            found |= {key: f"{one:g}" if isinstance(one, float) else str(one) for key, one in getattr(run, name)}
        elif name not in (*AXES, "data", "network", "data_digest"):
            found[name] = f"{value:g}" if isinstance(value, float) else str(value)
    return found
