"""The optimizer of a model in one call: a name or a class, a decay, a selection of tensors; and λ over time."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from weightdecay.attaching import attach
from weightdecay.catalog import optimizer as row_of
from weightdecay.decay import Decay
from weightdecay.optim import Optimizer
from weightdecay.schedule import Scheduler
from weightdecay.selecting import Preset, select

Kind = str | type[torch.optim.Optimizer]
"""An optimizer: a name of ``available()``, a path "package.module:Class", or a class of torch's kind."""


def build(
    model: nn.Module,
    optimizer: Kind = "adams",
    *,
    weight_decay: float | None = None,
    decay: Decay | str | None = None,
    preset: str | Preset | None = None,
    roles: Mapping[str, Any] | None = None,
    rules: Iterable[Any] = (),
    **options: Any,
) -> torch.optim.Optimizer:
    """Return the optimizer over the groups that :func:`weightdecay.select` makes; MuonAdamW makes its own.

    ``weight_decay``
        λ of what decays; by default that of the class.
    ``decay``
        By default that of the class. To a class that is not ours the decay is attached.
    ``preset``, ``roles``, ``rules``
        As of :func:`weightdecay.select`.

    ``options`` go to the class: lr, betas, engine, ….

    Raises: ValueError, where groups have a decay of their own that nothing would read, and what ``select``, the class
            and ``attach`` raise; TypeError, for what is no optimizer.

    >>> optimizer = build(nn.Linear(2, 2), torch.optim.AdamW, weight_decay=0.1, decay="stable", lr=1e-3)
    >>> [(group["name"], group["weight_decay"]) for group in optimizer.param_groups]
    [('matrix', 0.1), ('bias', 0.0)]
    """
    cls = kind_of(optimizer)
    strength = default_of(cls, "weight_decay") if weight_decay is None else weight_decay
    if getattr(cls, "takes_model", False):
        if preset is not None or roles is not None or tuple(rules):
            raise ValueError(
                f"{cls.__name__} deals out the tensors of a model itself: leave out preset, roles and rules, or build "
                'it over groups that name their method, {"params": …, "method": "muon"}.'
            )
        groups: Any = model
    else:
        groups = select(model, strength, preset=preset, roles=roles, rules=rules)
    if issubclass(cls, Optimizer):
        if decay is not None:
            options["decay"] = decay
        return cls(groups, weight_decay=strength, **options)
    if decay is None and (stranded := [group["name"] for group in groups if "decay" in group]):
        raise ValueError(
            f"the group{'s' * (len(stranded) > 1)} {', '.join(stranded)} of {cls.__name__} would have a decay that "
            'nothing reads. Attach one for the others, too: decay="decoupled".'
        )
    built = cls(groups, weight_decay=strength, **options)  # type: ignore[call-arg]
    if decay is not None:
        attach(built, decay)
    return built


def kind_of(optimizer: Kind) -> type[torch.optim.Optimizer]:
    """Return the class. Raises: ValueError, for an unknown name; TypeError, for what is no optimizer."""
    if isinstance(optimizer, str):
        return row_of(optimizer).cls
    if isinstance(optimizer, type) and issubclass(optimizer, torch.optim.Optimizer):
        return optimizer
    raise TypeError(f"{optimizer!r} is not an optimizer: pass a name ('adams') or a class (torch.optim.AdamW).")


def scheduled(optimizer: torch.optim.Optimizer, shape: Any, total_steps: int | None, who: str) -> Scheduler:
    """Return λ over time for a framework that steps schedulers without a metric.

    Raises: ValueError, for a ``Plateau``, which would never see one, and what ``Scheduler`` raises.
    """
    scheduler = Scheduler(optimizer, shape, total_steps=total_steps)
    if scheduler.writer.judged:
        raise ValueError(
            f"{shape} reads a metric, and {who} hands none to it. Build a weightdecay.schedule.Scheduler yourself, and "
            "call its step(metric) in place of step()."
        )
    return scheduler


def default_of(cls: type[torch.optim.Optimizer], option: str) -> float:
    """Return what a class takes when nobody says anything; 0 where it has no such option."""
    parameter = inspect.signature(cls).parameters.get(option)
    return 0.0 if parameter is None or parameter.default is parameter.empty else float(parameter.default)
