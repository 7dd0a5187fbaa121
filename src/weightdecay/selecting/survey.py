"""``audit``: which tensors of a model an optimizer decays, by how much, and what is suspicious about it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from weightdecay.attaching.refusals import unwrapped
from weightdecay.selecting import lock
from weightdecay.selecting.findings import Finding, look
from weightdecay.selecting.groups import roles_of
from weightdecay.selecting.meaning import Meaning, meaning_of
from weightdecay.selecting.roles import ROLES
from weightdecay.selecting.table import text_of
from weightdecay.selecting.tensors import Entry


@dataclass(frozen=True)
class Held:
    """One tensor of the model, and the group that holds it."""

    entry: Entry
    role: str
    reason: str
    strength: float | None
    """λ; None where no group holds the tensor, or the group has no ``weight_decay``."""
    lr: float | None
    meaning: Meaning | None
    groups: int
    """How many groups hold it."""


@dataclass(frozen=True)
class Row:
    """Tensors of one role that are treated alike."""

    role: str
    tensors: int
    elements: int
    weight_decay: float | None
    decay: str
    pull: float | None
    """The fraction by which the weights shrink in one step at the present lr; None where it is not known."""
    reason: str

    @property
    def half_life(self) -> float | None:
        """Steps after which a weight without a gradient has half its size: ln 2 / −ln(1 − pull)."""
        if self.pull is None or not 0 < self.pull < 1:
            return None
        return math.log(2) / -math.log1p(-self.pull)


@dataclass(frozen=True)
class Audit:
    """The result of :func:`audit`; printed, it is the table with the findings below it."""

    rows: tuple[Row, ...]
    findings: tuple[Finding, ...]
    optimizer: str
    steps: float | None
    tensors: tuple[Held, ...] = field(repr=False)

    def __str__(self) -> str:
        return text_of(self)

    def save(self, path: str | Path) -> None:
        """Write which tensors decay, and how, as JSON with one sorted line per tensor, for reviews and for CI."""
        lock.write(Path(path), lock.lines_of(self.tensors))

    def differences(self, path: str | Path) -> list[str]:
        """Return what has changed since :meth:`save`, one line for each kind of change; empty where nothing has.

        Compared are names, λ and decay; not roles, lr or the order of tensors and groups.
        Raises: OSError, ValueError, for a file that is not there, or is none of ours.
        """
        return lock.differences(lock.read(Path(path)), lock.lines_of(self.tensors))


def audit(
    model: nn.Module,
    optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer] | Sequence[Mapping[str, Any]],
    *,
    steps: float | None = None,
) -> Audit:
    r"""Show which tensors an optimizer decays, by how much and why, and mark what is suspicious.

    ``optimizer``
        Any of torch's kind, this package's or not, with a decay attached or not; several that share the model; or the
        groups of :func:`weightdecay.select`, before there is an optimizer.
    ``steps``
        How many steps the training has: pull × steps is then compared with that of published recipes.

    The pull is the fraction by which one step shrinks a weight, at the present lr. For this package's optimizers and
    attached decays it is the decay's (that of the last step, where it follows from gradients); for torch's AdamW, Muon
    and Adafactor lr·λ; for SGD lr·λ·(1 − dampening)/(1 − momentum). For Adam with L2, where it depends on the
    gradients, and for other optimizers none is claimed: their λ acts "as its own".

    Marked are: norms, biases and other vectors that decay towards 0; embeddings whose unseen rows decay; matrices that
    do not decay; a pull lost in 16 bits; pull × steps far outside the usual; tensors in no group, in two, or of no
    known role; a ``group["decay"]`` that nothing reads.

    Raises: TypeError, for what is no module and no optimizer.

    >>> import torch, weightdecay
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.LayerNorm(2))
    >>> optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    >>> report = weightdecay.audit(model, optimizer)
    >>> print(report)
    AdamW
      role    tensors  elements    λ  decay        pull per step  half-life  reason
      matrix        1         8  0.1  Decoupled()           0.01         69  Linear
    ! bias          2         4  0.1  Decoupled()           0.01         69  bias of Linear, bias of LayerNorm
    ! norm          1         2  0.1  Decoupled()           0.01         69  LayerNorm
    ! 2 tensors of role bias decay towards 0: 0.bias, 1.bias.
    ! 1 tensor of role norm decays towards 0: 1.weight.
    """
    optimizers = _optimizers(optimizer)
    homes: dict[int, list[tuple[Any, int]]] = {}
    for each in optimizers:
        for place, group in enumerate(each.param_groups):
            for param in group["params"]:
                homes.setdefault(id(param), []).append((each, place))
    meanings = {
        (id(each), place): meaning_of(each, place) for each in optimizers for place in range(len(each.param_groups))
    }
    tensors = tuple(_held(*found, homes, meanings) for found in roles_of(model))
    known = {id(held.entry.param) for held in tensors}
    foreign = sum(1 for key in homes if key not in known)
    rows = tuple(_rows(tensors))
    name = " and ".join(_name(each) for each in optimizers)
    return Audit(rows, tuple(look(tensors, rows, foreign, steps)), name, steps, tensors)


def _optimizers(given: Any) -> list[Any]:
    several = list(given) if isinstance(given, (list, tuple)) else [given]
    if several and all(isinstance(each, Mapping) and "params" in each for each in several):
        groups = [{**each, "params": _tensors(each["params"])} for each in several]
        return [SimpleNamespace(param_groups=groups)]
    several = [unwrapped(each) for each in several]
    for each in several:
        if not hasattr(each, "param_groups"):
            raise TypeError(
                f"audit(): {type(each).__name__} is not an optimizer: it has no param_groups. Pass the optimizer, "
                "a list of optimizers, or the groups that select() returned."
            )
    if not several:
        raise TypeError("audit(): no optimizer was given.")
    return several


def _tensors(params: Any) -> list[Any]:
    return [params] if isinstance(params, torch.Tensor) else list(params)


def _name(optimizer: Any) -> str:
    return "groups without an optimizer" if isinstance(optimizer, SimpleNamespace) else type(optimizer).__name__


def _held(
    entry: Entry,
    role: str,
    reason: str,
    homes: Mapping[int, list[tuple[Any, int]]],
    meanings: Mapping[tuple[int, int], Meaning],
) -> Held:
    home = homes.get(id(entry.param), [])
    if not home:
        return Held(entry, role, reason, None, None, None, 0)
    optimizer, place = home[0]
    group = optimizer.param_groups[place]
    strength, lr = (None if group.get(key) is None else float(group[key]) for key in ("weight_decay", "lr"))
    given = group.get("role")  # of select(), where a rule of the user's may have decided
    if given in ROLES and given != role:
        role, reason = given, "as its group says"
    return Held(entry, role, reason, strength, lr, meanings[id(optimizer), place], len(home))


def _rows(tensors: Iterable[Held]) -> Iterable[Row]:
    alike: dict[tuple[Any, ...], list[Held]] = {}
    for held in tensors:
        if held.meaning is None and not held.entry.param.requires_grad:
            continue  # frozen, and in no group: nobody's business
        meaning = held.meaning
        key = (held.role, held.strength, meaning and meaning.decay, meaning and meaning.pull)
        alike.setdefault(key, []).append(held)
    order = list(ROLES)
    for (role, strength, decay, pull), members in sorted(alike.items(), key=lambda item: order.index(item[0][0])):
        reasons = list(dict.fromkeys(held.reason for held in members))
        said = ", ".join(reasons[:3]) + (", …" if len(reasons) > 3 else "")
        elements = sum(held.entry.elements for held in members)
        yield Row(role, len(members), elements, strength, decay or "in no group", pull, said)
