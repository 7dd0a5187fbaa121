"""What is about to be trained, and what it will cost: printed before anything starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightdecay.lab.cli.outcome import wide_enough
from weightdecay.lab.cli.say import say

if TYPE_CHECKING:
    from weightdecay.lab.run import Run
    from weightdecay.lab.study.conduct import Planned


DEVICES = (1, 8, 64)
"""A card, a machine, a cluster: what the plan divides long work over."""

LONG = 3600.0
"""Seconds of computing from which on it does."""


def print_plan(planned: Planned) -> None:
    """Print what is missing, kind by kind, with its cost, and how long all of it takes."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from weightdecay.lab.sweeps.cost import kind

    title, missing, costs = planned.title, planned.missing, planned.costs
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
    runs = len(planned.runs)
    say(f"{runs} runs, {runs - len(missing)} of them kept from before, in {planned.folder}")
    if costs:
        where = ", ".join(dict.fromkeys(cost.where for cost in costs.values()))
        width = planned.width
        at_once = f"; about {lasting(total / min(width, len(missing)))} with {width} at once" if width else ""
        say(f"estimated: {lasting(total)} of computing on {where}{at_once}, from a few measured steps")
    if total > LONG:
        shares = ", ".join(f"{lasting(total / devices)} on {devices}" for devices in DEVICES)
        say(f"on several of what it was measured on, one run each at a time: {shares}")


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
