"""``weightdecay audit``: which tensors of a model decay, and whether that is still what it was."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from weightdecay.checks import nearest
from weightdecay.lab.cli.say import DONE, FAILED, fail, modules_from_here, say
from weightdecay.lab.run.settings import SettingsError, left_out

if TYPE_CHECKING:
    from weightdecay.selecting import Audit


@dataclass(frozen=True)
class AuditSettings:
    """Which tensors an optimizer decays, by how much, and what is suspicious about it.

    TARGET is "module:factory". The factory takes no arguments and returns (model, optimizer); the optimizer may be a
    list of several. Where it returns a model alone, the groups of weightdecay.select(model) are shown.

    For CI: save a file once, review it, commit it, and check against it. The check fails (exit status 1) when a tensor
    comes, goes, or changes its λ or its decay.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "weightdecay audit training:build --save decay.lock",
        "weightdecay audit training:build --check decay.lock",
    )
    target: str
    """The function that builds model and optimizer: "package.module:function", found from the current directory."""
    check: Annotated[Path | None, left_out()] = None
    """Compare with a file that --save wrote: print what has changed, and fail where anything has."""
    save: Annotated[Path | None, left_out()] = None
    """Write the file that --check compares with."""
    steps: Annotated[float | None, left_out()] = None
    """Number of steps of the whole training. With it, a pull × steps far from published recipes is marked."""


def run_audit(settings: AuditSettings) -> int:
    """Print the table; write or compare the file."""
    report = audit_of(settings)
    if settings.check is not None:
        try:
            changes = report.differences(settings.check)
        except ValueError as error:
            raise SettingsError(f"--check: {error}") from None
        if not changes:
            say(f"{settings.check}: {len(report.tensors)} tensors, nothing has changed")
        for change in changes:
            say(change)
        if settings.save is None:
            if not changes:
                return DONE
            return fail(
                f"what decays has changed since {settings.check} was saved. If that is meant: weightdecay audit "
                f"{settings.target} --save {settings.check}.",
                FAILED,
            )
    else:
        say(str(report))
    if settings.save is not None:
        report.save(settings.save)
        say(f"saved   {settings.save}")
    return DONE


def audit_of(settings: AuditSettings) -> Audit:
    """Return the audit of what the factory builds. Raises: SettingsError, for a target that builds no such thing."""
    from torch import nn

    from weightdecay.selecting import audit, select

    built = _built(settings.target)
    if isinstance(built, nn.Module):
        built = built, None
    if not isinstance(built, (tuple, list)) or len(built) != 2 or not isinstance(built[0], nn.Module):
        what = f"{len(built)} things" if isinstance(built, (tuple, list)) else type(built).__name__
        raise SettingsError(f"{settings.target} returned {what}. It must return (model, optimizer), or a model.")
    model, optimizer = built
    try:
        return audit(model, select(model) if optimizer is None else optimizer, steps=settings.steps)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{settings.target}: {error}") from None


def _built(target: str) -> Any:
    """Call the factory at "module:name"."""
    module_name, colon, name = target.partition(":")
    if not (colon and name and module_name):
        raise SettingsError(f'{target!r} is no target. Write "module:factory", as in training:build.')
    modules_from_here()
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise SettingsError(f"{module_name} needs {error.name}, which is not installed.") from None
        raise SettingsError(
            f"no module is called {module_name!r}. Start in the directory that holds it, or set PYTHONPATH."
        ) from None
    except Exception as error:
        raise SettingsError(f"importing {module_name} raised {type(error).__name__}: {error}") from None
    factory: Any = module
    for part in name.split("."):
        if not hasattr(factory, part):
            known = [each for each, value in vars(module).items() if callable(value)]
            raise SettingsError(f"{module_name} has no {part!r}.{nearest(part, known)}")
        factory = getattr(factory, part)
    if not callable(factory):
        raise SettingsError(f"{target} is a {type(factory).__name__}, which cannot be called.")
    try:
        return factory()
    except Exception as error:
        raise SettingsError(f"{target}() raised {type(error).__name__}: {error}") from error
