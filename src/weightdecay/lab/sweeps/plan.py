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

    [start]                       # what every run starts from, where it differs from the run; one per seed
    optimizer = "adam"
    weight_decay = 0
    classes = "0-4"

    [executor]
    name = "local"
    jobs = 2
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from weightdecay.lab.run import Place, Run
from weightdecay.lab.run.product import BESIDE, RUN, check_known, product, typed
from weightdecay.lab.run.settings import SettingsError

PLACE = {field.name: field for field in fields(Place) if field.name not in ("rank", "world")}
OTHERS = ("title", "out", "grid", "start", "executor", "place")

NOT_OF_START = (
    *("optimizer", "lr", "weight_decay", "weight_decay_schedule", "optimizer_options", "optimizer_digest"),
    "frozen",
)
"""Settings of a run that say nothing of its start."""


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
    check_known(content, (*RUN, *BESIDE, *OTHERS), "a sweep")
    grids = content.get("grid", [{}])
    if not isinstance(grids, list) or not all(isinstance(grid, dict) for grid in grids):
        raise SettingsError("grid must be tables, each headed [[grid]].")
    common = {name: value for name, value in content.items() if name in (*RUN, *BESIDE)}
    runs: list[Run] = []
    for number, grid in enumerate(grids, 1):
        runs += product({**common, **grid}, f"grid {number}" if "grid" in content else "the sweep")
    if "start" in content:
        runs = _started(runs, _table(content, "start"))
    executor = dict(_table(content, "executor")) or {"name": "local"}
    executor.setdefault("name", "local")
    place = dict(_table(content, "place"))
    check_known(place, PLACE, "the table [place]")
    if "data" in place:
        place["data"] = Path(str(place["data"]))
    return Plan(
        title=str(content.get("title", "")),
        runs=tuple(dict.fromkeys(runs)),
        executor=executor,
        place=Place(**{"device": "auto", **typed(place, PLACE, "place.")}),
        out=Path(str(content.get("out", default_out))).expanduser(),
    )


def _started(runs: list[Run], table: Mapping[str, Any]) -> list[Run]:
    """Return the runs with a start: a run like theirs, with what the table says and with nothing of their optimizer.

    Its seed is that of the run, unless the table has one: the same weights for all seeds then.
    """
    described = list(product(table, "the table [start]"))
    if len(described) > 1:
        raise SettingsError(
            f"the table [start] makes {len(described)} runs, and a run starts from one. Give one value of each setting."
        )
    own = {name: getattr(described[0], name) for name in {*table, *NOT_OF_START} - {*BESIDE}}
    return [replace(run, start=replace(run, **own)) for run in runs]


def _table(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = content.get(name, {})
    if not isinstance(table, dict):
        raise SettingsError(f"{name} must be a table, headed [{name}].")
    return table
