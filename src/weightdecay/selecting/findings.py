"""What is suspicious in an audit, in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from weightdecay.decay import Decay, TouchedRows
from weightdecay.optim.parameters import low_precision
from weightdecay.selecting.roles import ROLES

if TYPE_CHECKING:
    from weightdecay.selecting.survey import Held, Row

USUAL = (0.1, 500.0)
"""Outside of this, pull × steps is far from published recipes, which lie between 0.5 and 50 (``docs/select.md``)."""


@dataclass(frozen=True)
class Finding:
    """One suspicion."""

    kind: str
    """decays, embedding, matrix, nothing, rounding, total, missing, twice, frozen, foreign, unread or unknown."""
    text: str
    names: tuple[str, ...] = ()
    """Of the tensors, where it is about some."""
    roles: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.text


def look(tensors: Sequence[Held], rows: Sequence[Row], foreign: int, steps: float | None) -> Iterator[Finding]:
    """Yield every suspicion, the most serious first."""
    yield from _groups(tensors, foreign)
    yield from _strengths(tensors)
    yield from _small(tensors)
    if steps is not None:
        yield from _totals(rows, steps)


def _groups(tensors: Sequence[Held], foreign: int) -> Iterator[Finding]:
    """Tensors that are not where they should be."""
    missing = [held for held in tensors if not held.groups and held.entry.param.requires_grad]
    if missing:
        yield _of("missing", missing, "in no group: not trained, not decayed")
    twice = [held for held in tensors if held.groups > 1]
    if twice:
        yield _of("twice", twice, "in two groups: moved and decayed twice per step")
    frozen = [held for held in tensors if held.groups and not held.entry.param.requires_grad and held.strength]
    if frozen:
        yield _of("frozen", frozen, "in a group with λ above 0, but frozen: without a gradient most optimizers skip")
    if foreign:
        yield Finding(
            "foreign",
            f"{foreign} tensor{'s' * (foreign > 1)} in the groups {'are' if foreign > 1 else 'is'} not in the model: "
            "copies in another precision, or flattened pieces. Audit the optimizer before it is wrapped.",
        )
    unread = [held for held in tensors if held.meaning is not None and held.meaning.unread]
    if unread:
        decay = unread[0].meaning.unread  # type: ignore[union-attr]
        way_out = "weightdecay's own optimizers read it, and attach(optimizer, …) does"
        yield _of("unread", unread, f"in groups whose decay {decay} nothing reads; {way_out}")
    unknown = [held for held in tensors if held.role == "other" and held.groups]
    if unknown:
        yield _of("unknown", unknown, "of no known role")


def _strengths(tensors: Sequence[Held]) -> Iterator[Finding]:
    """Roles that decay and should not, and the other way round."""
    held_by = [held for held in tensors if held.groups and held.entry.param.requires_grad and held.strength is not None]
    if held_by and not any(held.strength for held in held_by):
        yield Finding("nothing", "nothing decays: every λ is 0.")
        return
    for role in ROLES.values():
        ours = [held for held in held_by if held.role == role.name]
        if role.decays:
            without = [held for held in ours if not held.strength]
            if without:
                yield _of("matrix", without, f"of role {role.name} {_does(without)} not decay", (role.name,))
            continue
        pulled = [held for held in ours if held.strength and not _anchored(held)]
        if role.name == "embedding":
            pulled = [held for held in pulled if not _touched(held)]
            if pulled:
                verb = "decay" if len(pulled) > 1 else "decays"
                said = f"of role embedding {verb}: rows that no batch has seen shrink too (TouchedRows spares them)"
                yield _of("embedding", pulled, said, (role.name,))
        elif pulled and role.name != "other":
            verb = "decay" if len(pulled) > 1 else "decays"
            yield _of("decays", pulled, f"of role {role.name} {verb} towards 0", (role.name,))


def _small(tensors: Sequence[Held]) -> Iterator[Finding]:
    """Pulls that 16 bits round away."""
    for dtype in (torch.bfloat16, torch.float16):
        # θ(1 − pull) rounds back to θ where pull·θ is under half a spacing: eps/4 to eps/2 of θ, as its digits are.
        half = torch.finfo(dtype).eps / 2
        lost = [
            held
            for held in tensors
            if held.meaning is not None
            and low_precision(held.entry.param)
            and held.entry.param.dtype == dtype
            and held.meaning.pull
            and held.meaning.pull < half
            and not held.meaning.keeps_small
        ]
        if lost:
            pulls = [held.meaning.pull for held in lost]  # type: ignore[union-attr]
            largest = max(pull for pull in pulls if pull is not None)
            whose = "all weights" if largest < half / 2 else "some weights"
            name = str(dtype).removeprefix("torch.")
            yield _of(
                "rounding",
                lost,
                f"in {name}, where a pull of {largest:.3g} is under half the spacing of the numbers for {whose} and is "
                f"rounded away (weightdecay's optimizers keep it with rounding=)",
            )


def _totals(rows: Iterable[Row], steps: float) -> Iterator[Finding]:
    """Pull × steps far from the usual."""
    low, high = USUAL
    totals: dict[str, list[str]] = {}
    for row in rows:
        if row.pull and not low <= row.pull * steps <= high:
            totals.setdefault(f"{row.pull * steps:.3g}", []).append(row.role)
    for total, roles in totals.items():
        said = "decay takes next to nothing of a weight" if float(total) < low else "a weight is forgotten many times"
        yield Finding(
            "total",
            f"pull × steps is {total} over {steps:,.0f} steps, where published recipes have 0.5 to 50: {said} "
            f"({', '.join(dict.fromkeys(roles))}).",
            roles=tuple(roles),
        )


def _does(some: Sequence[Held]) -> str:
    return "do" if len(some) > 1 else "does"


def _of(kind: str, some: Sequence[Held], said: str, roles: tuple[str, ...] = ()) -> Finding:
    names = tuple(held.entry.name for held in some)
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return Finding(kind, f"{len(names)} tensor{'s' * (len(names) > 1)} {said}: {shown}.", names, roles)


def _chain(held: Held) -> Iterator[Decay]:
    decay = held.meaning.rule if held.meaning is not None else None
    while decay is not None:
        yield decay
        decay = getattr(decay, "decay", None)


def _anchored(held: Held) -> bool:
    return any(type(decay).anchor is not Decay.anchor and getattr(decay, "target", None) != 0 for decay in _chain(held))


def _touched(held: Held) -> bool:
    return any(isinstance(decay, TouchedRows) for decay in _chain(held))
