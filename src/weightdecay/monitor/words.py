"""What the numbers of a reading support, in words, and in a table."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence

from weightdecay.monitor.state import AGREEING, ENOUGH, SETTLED, GroupState, Recent, TensorState, near

HEAD = ("", "decay", "λ", "lr", "pull", "half-life", "Σ pull", "‖θ‖", "‖Δ‖/‖θ‖", "angle", "decay share")


def table(groups: Sequence[GroupState], tensors: Sequence[TensorState], steps: int) -> str:
    """Return the groups, and the tensors under them, in columns."""
    rows: list[tuple[str, ...]] = [(f"step {steps}", *HEAD[1:])]
    for i, group in enumerate(groups):
        numbers = (group.weight_decay, group.lr, group.pull, group.half_life, group.total_pull, group.norm)
        shares = (group.relative_update, group.angle, group.decay_share)
        rows.append((f"group {i}", group.kind, *map(short, (*numbers, *shares))))
        for one in (each for each in tensors if each.group == i):
            shown = (one.norm, one.relative_update, one.angle, one.decay_share)
            rows.append((f"  {one.name}", *[""] * 6, *map(short, shown)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    lines = [
        "  ".join(
            cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def sentences(
    groups: Sequence[GroupState], tensors: Sequence[TensorState], recent: Mapping[str, deque[Recent]]
) -> list[str]:
    """Return what follows from the last readings, each with its criterion."""
    said = []
    for i, group in enumerate(groups):
        mine = [one for one in tensors if one.group == i]
        if group.weight_decay == 0:
            said.append(f"Group {i}: λ is 0, nothing decays.")
            continue
        free = [one for one in mine if one.scale_invariant]
        told = [one for one in free if math.isfinite(one.equilibrium_norm)]
        there = [one for one in told if one.in_equilibrium]
        if free:
            said.append(
                f"Group {i}: the gradients of {names(free)} are at right angles to the weights, as they are before a "
                "normalisation layer: the loss does not depend on their norm."
            )
        if free and not told:
            said.append(f"Group {i}: no equilibrium is known for {group.kind} decay under this optimizer.")
        if there:
            said.append(
                f"{names(there)} {is_are(there)} in equilibrium: the norm was within {SETTLED:.0%} of the "
                f"predicted one in each of the last {AGREEING} readings. {halved(there, group)}"
            )
        away = [one for one in told if one not in there and len(recent.get(one.name, ())) >= AGREEING]
        early = [one for one in away if near(recent[one.name])]
        if early:
            said.append(
                f"{names(early)} {is_are(early)} near the predicted norm, within {SETTLED:.0%}, but perhaps only "
                f"because the training began there: the pull of all steps is {short(group.total_pull)}, and "
                f"below {ENOUGH:g} decay has had no time to act."
            )
        far = [one for one in away if one not in early]
        if far:
            low, high = min(one.norm_to_equilibrium for one in far), max(one.norm_to_equilibrium for one in far)
            within = f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g} to {high:.3g}"
            said.append(
                f"{names(far)} {is_are(far)} not in equilibrium: the norm is {within} times the predicted "
                f"one. It comes nearer over about 1/pull = {short(1 / group.pull)} steps of this lr."
            )
    return said


def halved(there: Sequence[TensorState], group: GroupState) -> str:
    """Return what half the λ would do, by the forms that predicted norm and angle.

    A stable pull depends on v̄, which would move as the norms do: of it nothing is said.
    """
    halves = {tuple(round(x, 2) for x in one.half) for one in there if one.half is not None}
    if group.kind == "stable" or len(halves) != 1:
        return ""
    ((norm, angle),) = halves
    return (
        f"Half the λ would leave the size of the next steps as it is, and over about 1/pull = {short(1 / group.pull)} "
        f"steps make the norm {norm:.2f} times as large and the angle of a step {angle:.2f} times."
    )


def names(some: Sequence[TensorState]) -> str:
    """Return names, or how many there are."""
    if len(some) > 4:
        return f"{len(some)} tensors ({some[0].name} … {some[-1].name})"
    return ", ".join(one.name for one in some)


def is_are(some: Sequence[object]) -> str:
    """Return the verb."""
    return "is" if len(some) == 1 else "are"


def short(value: float) -> str:
    """Return three digits; nothing for what is not known."""
    if math.isnan(value):
        return ""
    return "∞" if math.isinf(value) else f"{value:.3g}"
