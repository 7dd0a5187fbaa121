"""What is about to be trained, and what it will cost: printed before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from weightdecay.lab.cli.outcome import wide_enough
from weightdecay.lab.cli.say import say
from weightdecay.lab.run.settings import SettingsError

if TYPE_CHECKING:
    from weightdecay.lab.executors import Executor
    from weightdecay.lab.run import Run
    from weightdecay.lab.run.store import Store
    from weightdecay.lab.sweeps.cost import Cost


def measured(missing: list[Run], on: Executor, place: Any) -> Mapping[Run, Cost]:
    """Measure each kind of run. Raises: SettingsError, for a kind that cannot be computed: before hours of others."""
    from weightdecay.lab.executors import RunFailure
    from weightdecay.lab.sweeps.cost import measure

    costs = {}
    for kind, cost in measure(missing, on, place).items():
        if isinstance(cost, RunFailure):
            raise SettingsError(f"{kind.network} on {kind.data} cannot be trained: {cost.message or cost.type}")
        costs[kind] = cost
    return costs


def print_plan(
    title: str, runs: list[Run], missing: list[Run], costs: Mapping[Run, Cost], on: Executor, store: Store
) -> float:
    """Print what is missing, kind by kind, with its cost, and how long all of it takes; return that in seconds."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from weightdecay.lab.sweeps.cost import kind

    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    for heading, side in (("data", "left"), ("network", "left"), ("optimizers", "left"), ("runs", "right")):
        table.add_column(heading, justify=side)  # type: ignore[arg-type]
    for heading in ("epochs", "an epoch", "a run", "all of them"):
        table.add_column(heading, justify="right")
    kinds: dict[tuple[Run, int], list[Run]] = {}
    for run in missing:
        kinds.setdefault((kind(run), run.epochs), []).append(run)
    total = 0.0
    for (one, epochs), members in kinds.items():
        cost = costs.get(one)
        optimizers = ", ".join(dict.fromkeys(run.optimizer for run in members))
        network = " ".join([one.network, *_what_sets_apart(one, [each for each, _ in kinds])])
        cells = [one.data, network, optimizers, str(len(members)), str(epochs)]
        if cost:
            total += len(members) * cost.of(members[0])
            cells += [lasting(cost.epoch), lasting(cost.of(members[0])), lasting(len(members) * cost.of(members[0]))]
        table.add_row(*map(Text, cells), *([] if cost else ["not measured"] * 3))
    if missing:
        wide_enough(table).print(table)
    kept = len(runs) - len(missing)
    say(f"{len(runs)} runs, {kept} of them kept from before, in {store.folder}")
    if costs:
        where = ", ".join(dict.fromkeys(cost.where for cost in costs.values()))
        width = on.width()
        at_once = f"; about {lasting(total / min(width, len(missing)))} with {width} at once" if width else ""
        say(f"estimated: {lasting(total)} of computing on {where}{at_once}, from a few measured steps")
    return total


NAMED = ("data", "data_digest", "network", "network_options")
"""What has a column of its own."""


def _what_sets_apart(one: Run, others: list[Run]) -> list[str]:
    """Return what a kind of run has of its own beside data and network: its network's options, its batch size …."""
    from weightdecay.lab.sweeps.cost import KEPT

    varied = [name for name in KEPT if len({getattr(each, name) for each in others}) > 1]
    own = [f"{name}={getattr(one, name)}" for name in varied if name not in NAMED]
    return [f"{name}={value}" for name, value in one.network_options] + own


def lasting(seconds: float) -> str:
    """Return a duration as a person says it.

    >>> lasting(0.4), lasting(75), lasting(7000), lasting(200000)
    ('0.4 s', '75 s', '117 min', '55.6 h')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
