"""What is about to be trained, and what it will cost: printed before anything starts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from weightdecay.lab.cli.say import say

if TYPE_CHECKING:
    from rich.table import Table

    from weightdecay.lab.run import Run
    from weightdecay.lab.study.conduct import Planned


DEVICES = (1, 8, 64)
"""A card, a machine, a cluster: what the plan divides long work over."""

LONG = 3600.0
"""Seconds of computing from which on it does."""

ROWS = 12
"""Kinds of run that are listed, at most: the plan fits a screen of 24 lines."""

NUMBERS = 36
"""Columns of a terminal that the numbers take; the texts share the rest."""


def print_plan(planned: Planned) -> None:
    """Print what is missing, kind by kind, with its cost, and how long all of it takes: on one screen."""
    from rich.console import Console

    missing, costs = planned.missing, planned.costs
    if missing:
        console = Console()
        console.print(_table(planned, console.width))
    runs = len(planned.runs)
    say(f"{runs} runs, {runs - len(missing)} of them kept from before, in {planned.folder}")
    if not costs:
        return
    total = sum(costs[kind].of(run) for kind, members in _kinds(missing).items() for run in members)
    where = ", ".join(dict.fromkeys(cost.where for cost in costs.values()))
    say(f"estimated: {lasting(total)} of computing on {where}, from a few measured steps")
    if planned.width:
        start = max(cost.worker for cost in costs.values())
        wall = total / min(planned.width, len(missing)) + start
        say(f"about {lasting(wall)} with {planned.width} runs at a time, {lasting(start)} of it to start the workers")
    if total > LONG:
        shares = ", ".join(f"{lasting(total / devices)} on {devices}" for devices in DEVICES)
        say(f"on several of these: {shares}")


def _kinds(runs: Iterable[Run]) -> dict[Run, list[Run]]:
    """Return the runs of each kind, a kind being what their cost depends on."""
    from weightdecay.lab.sweeps.cost import kind

    found: dict[Run, list[Run]] = {}
    for run in runs:
        found.setdefault(kind(run), []).append(run)
    return found


def _table(planned: Planned, width: int) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(planned.title),
        box=box.SIMPLE_HEAD,
        title_justify="left",
        title_style="bold",
        caption_justify="left",
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    texts = max(width, 80) - NUMBERS
    for heading, share in (("data", 0.25), ("network", 0.45), ("optimizers", 0.3)):
        table.add_column(heading, no_wrap=True, overflow="ellipsis", max_width=int(share * texts))
    for heading in ("runs", "epochs", *(("a run", "all") if planned.costs else ())):
        table.add_column(heading, justify="right", no_wrap=True)
    kinds = _kinds(planned.missing)
    lines = [
        (one, epochs, [run for run in members if run.epochs == epochs])
        for one, members in kinds.items()
        for epochs in dict.fromkeys(run.epochs for run in members)
    ]
    for one, epochs, members in lines[:ROWS]:
        optimizers = ", ".join(dict.fromkeys(run.optimizer.rpartition(":")[2] for run in members))
        network = " ".join([one.network, *_what_sets_apart(one, list(kinds))])
        cells = [one.data, network, optimizers, str(len(members)), str(epochs)]
        if one in planned.costs:
            cost = planned.costs[one].of(members[0])
            cells += [lasting(cost), lasting(len(members) * cost)]
        table.add_row(*map(Text, cells))
    if len(lines) > ROWS:
        table.caption = f"and {len(lines) - ROWS} more, {sum(len(members) for *_, members in lines[ROWS:])} runs"
    return table


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
