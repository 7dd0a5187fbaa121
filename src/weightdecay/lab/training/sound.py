"""Whether a run can be meant, as far as that is known without torch: a mistake is refused at once."""

from __future__ import annotations

from weightdecay import catalog
from weightdecay.checks import NON_NEGATIVE, checked, unknown
from weightdecay.lab import data, models
from weightdecay.lab.data import sizes
from weightdecay.lab.run import Run
from weightdecay.lab.run.settings import SEEDS
from weightdecay.lab.training import schedule, takes

DTYPES = ("float32", "float64", "bfloat16")

STRATEGIES = ("ddp", "fsdp")
"""Of several processes: replicated, or sharded by FSDP2."""

OF_THE_RUN = ("lr", "weight_decay", "max_grad_norm")
"""What an optimizer is built with, beside its options."""


def check(run: Run) -> None:
    """Refuse settings that no task and no machine can compute. Raises: ValueError, which names the field."""
    row = catalog.optimizer(run.optimizer)
    if row.name in catalog.BUILT_IN:  # those of your own have ranges and options of their own
        for name in ("lr", "weight_decay"):
            checked(name, getattr(run, name), NON_NEGATIVE, "the run")
        takes.check(row.name, row.title, dict(run.optimizer_options))
    for name, _ in run.optimizer_options:
        if name in OF_THE_RUN:
            raise ValueError(f"optimizer_options: {name} is a setting of the run itself, and is given there.")
    if not -SEEDS <= run.seed < SEEDS:
        raise ValueError(f"seed={run.seed}: it must fit into 64 bits, from -2**63 to below 2**63.")
    if not 0 <= run.max_grad_norm < float("inf"):
        raise ValueError(f"max_grad_norm={run.max_grad_norm:g}: it is a norm above 0, or 0 for no clipping.")
    sizes.check(run)
    if run.dtype not in DTYPES:
        raise ValueError(f"dtype={run.dtype!r}: use one of {', '.join(DTYPES)}.")
    if run.strategy not in STRATEGIES:
        raise ValueError(unknown("strategy", run.strategy, STRATEGIES))
    schedule.check(run)
    if run.start is not None:
        check_start(run, run.start)
    elif run.frozen:
        raise ValueError("frozen=True: the run has no start, and nothing to freeze. Name a start, or train all.")


def check_start(run: Run, start: Run) -> None:
    """Refuse weights of another network, or of other processes. Raises: ValueError, which names the field."""
    check(start)
    for name in ("network", "network_options", "processes"):
        here, there = getattr(run, name), getattr(start, name)
        if here != there:
            raise ValueError(f"start: {name} of that run is {there!r}, and of this one {here!r}. Use the same.")


def check_names(run: Run) -> None:
    """Refuse an unknown data set, network or option of a network. Raises: ValueError, with the nearest name."""
    for one in run.line():
        data.find(one.data)
        models.check(one.network, one.network_options)
