"""What the lab knows of an optimizer before it has trained anything: the rows of the catalog."""

from __future__ import annotations

import inspect
from dataclasses import replace

from weightdecay import catalog
from weightdecay.decay import parse, spelled
from weightdecay.lab.run.run import Run
from weightdecay.lab.run.settings import SettingsError

Method = catalog.OptimizerRow
METHODS = catalog.OPTIMIZERS


def method(optimizer: str) -> Method:
    """Return the row of an optimizer; of one that is not found here, as in old results, what its name says."""
    try:
        return catalog.optimizer(optimizer)
    except ValueError:
        title = optimizer.rpartition(":")[2]
        return Method(title, optimizer, "sign", "l2", optimizer, lr=1e-3, centre=40.0, description="Not found here.")


def takes_momentum(optimizer: str) -> bool:
    """Whether it takes a ``momentum``; the others have their own."""
    row = method(optimizer)
    if row.name in catalog.BUILT_IN or row.family != "sgd":
        return row.family == "sgd"
    return "momentum" in inspect.signature(row.cls).parameters


def portable(optimizer: str) -> str:
    """Return a name that every process understands: of one's own optimizer its path.

    Raises: SettingsError, for an unknown name, with the nearest known one.
    """
    try:
        return catalog.portable(optimizer)
    except ValueError as error:
        raise SettingsError(str(error)) from error


def with_code(run: Run) -> Run:
    """Return the run as every process understands it, with the digest of the code of one's own optimizer and decay.

    The address of a run that uses none but ours is unchanged. Raises: SettingsError, for what is not known.
    """
    own: list[object] = []
    name = portable(run.optimizer)
    if name not in catalog.BUILT_IN:
        own.append(catalog.optimizer(name).cls)
    options = dict(run.optimizer_options)
    decay = options.get("decay")
    if isinstance(decay, str) and decay.lower() not in catalog.BUILT_IN:
        try:
            built = parse(decay)
        except ValueError as error:
            raise SettingsError(f"decay={decay!r}: {error}") from error
        if ":" in (text := spelled(built)):
            options["decay"] = text
            own.append(built)
    if not own:
        return replace(run, optimizer=name)
    from weightdecay.lab.run import source

    table = tuple(sorted(options.items()))
    return replace(run, optimizer=name, optimizer_options=table, optimizer_digest=source.digest(*own)[:16])
