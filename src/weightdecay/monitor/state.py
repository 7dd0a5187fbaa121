"""What a reading says of a tensor and of a group."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from weightdecay.decay import Number
from weightdecay.monitor.predicted import invariant, predicted
from weightdecay.monitor.sample import Seen

KEPT = 2000
WINDOW = 5
"""Readings over which gradients are averaged, for a prediction and for the angle between gradient and weight."""
SETTLED, AGREEING, ENOUGH = 0.1, 3, 1.0
"""A tensor is in equilibrium if its norm was within 10 % of the prediction in each of the last 3 readings, and
Σ pull has come to 1 since the watch began: before, a norm may be near the prediction only because it began there."""

Facts = tuple[str, float, float, float, Number | None, float]
"""Of a group: kind, λ, lr, pull, gain, total pull."""


@dataclass(frozen=True)
class Recent:
    """What is remembered of a tensor in a reading: cos(g, θ), (‖g‖‖θ‖)², and its norm as a part of the predicted."""

    cosine: float
    unit_grad: float
    ratio: float = math.nan


class _Numbers:
    """Yields the float fields of a dataclass by name."""

    def items(self) -> Iterator[tuple[str, float]]:
        """Yield (name, number)."""
        for field in fields(self):  # type: ignore[arg-type]
            if isinstance(value := getattr(self, field.name), (int, float)):
                yield field.name, float(value)


@dataclass(frozen=True)
class TensorState(_Numbers):
    """A tensor in one reading; NaN where a number is not known. Angles in radians per step."""

    name: str
    group: int
    norm: float
    grad_norm: float
    relative_update: float  # ‖Δθ‖/‖θ‖
    angle: float
    decay_share: float  # ‖decay‖/(‖decay‖ + ‖update without decay‖)
    mask_density: float  # NaN without a mask
    cosine: float  # of gradient and weight
    scale_invariant: bool
    equilibrium_norm: float  # as theory predicts it; NaN where it does not
    equilibrium_angle: float
    norm_to_equilibrium: float  # norm/equilibrium norm
    in_equilibrium: bool
    half: tuple[float, float] | None = None  # the predicted norm and angle at λ/2, as parts of those at λ


@dataclass(frozen=True)
class GroupState(_Numbers):
    """A group in one reading; NaN where a number is not known."""

    kind: str  # of the decay
    weight_decay: float  # λ
    lr: float
    pull: float
    effective_lr: float  # lr · gain
    mean_square: float  # v̄, of the model
    norm: float
    relative_update: float
    angle: float
    half_life: float  # steps
    total_pull: float  # Σ pull since the watch began
    mask_density: float
    decay_share: float
    tensors: int
    scale_invariant: int
    in_equilibrium: int


def tensors_of(
    seen: Mapping[str, Seen],
    facts: Sequence[Facts],
    groups: Sequence[Mapping[str, Any]],
    family: str | None,
    recent: dict[str, deque[Recent]],
) -> list[TensorState]:
    """Return the state of each tensor, and remember in ``recent`` what later readings need."""
    found = []
    for name, one in seen.items():
        kind, strength, lr, pull, _, total = facts[one.group]
        memory = recent.setdefault(name, deque(maxlen=WINDOW))
        memory.append(Recent(one.cosine, (one.grad * one.before) ** 2))
        cosine = _root_mean(past.cosine**2 for past in memory)
        free = one.size > 1 and invariant(cosine, one.size)
        balance = half = None
        if free:
            group, unit_grad = groups[one.group], _root_mean(past.unit_grad for past in memory)
            balance = predicted(family, kind, group, lr, strength, pull, one.size, unit_grad)
            half = predicted(family, kind, group, lr, strength / 2, pull / 2, one.size, unit_grad)
        ratio = one.norm / balance.norm if balance is not None and balance.norm > 0 else math.nan
        memory[-1] = Recent(one.cosine, memory[-1].unit_grad, ratio)
        decayed, update = (math.sqrt(x) for x in one.decayed(0.0 if kind == "l2" else pull))
        known = kind not in ("l2", "unknown") and decayed + update > 0
        masked = not math.isnan(one.masked)
        found.append(
            TensorState(
                name=name,
                group=one.group,
                norm=one.norm,
                grad_norm=one.grad,
                relative_update=one.moved / one.before if one.before > 0 else math.nan,
                angle=one.angle,
                decay_share=decayed / (decayed + update) if known else math.nan,
                mask_density=one.density if masked else math.nan,
                cosine=cosine,
                scale_invariant=free,
                equilibrium_norm=balance.norm if balance else math.nan,
                equilibrium_angle=balance.angle if balance else math.nan,
                norm_to_equilibrium=ratio,
                in_equilibrium=near(memory) and total >= ENOUGH,
                half=(half.norm / balance.norm, half.angle / balance.angle) if balance and half else None,
            )
        )
    return found


def near(recent: Sequence[Recent] | deque[Recent]) -> bool:
    """Return whether the norm was near the predicted one in each of the last readings."""
    last = list(recent)[-AGREEING:]
    return len(last) == AGREEING and all(abs(past.ratio - 1) <= SETTLED for past in last)


def groups_of(
    seen: Mapping[str, Seen], tensors: Sequence[TensorState], facts: Sequence[Facts], mean_square: float
) -> list[GroupState]:
    """Return the state of each group: its tensors as one long vector."""
    found = []
    for place, (kind, strength, lr, pull, gain, total) in enumerate(facts):
        mine = [one for one in seen.values() if one.group == place]
        states = [one for one in tensors if one.group == place]
        whole = Seen(
            place,
            sum(one.size for one in mine),
            *(math.sqrt(sum(getattr(one, part) ** 2 for one in mine)) for part in ("norm", "before", "moved")),
        )
        parts = [one.decayed(pull) for one in mine]
        decayed, update = (math.sqrt(sum(part[i] for part in parts)) for i in range(2))
        known = kind not in ("l2", "unknown") and decayed + update > 0
        masked = [one for one in mine if not math.isnan(one.masked)]
        found.append(
            GroupState(
                kind=kind,
                weight_decay=strength,
                lr=lr,
                pull=pull,
                effective_lr=effective_lr(kind, strength, lr, pull, gain),
                mean_square=mean_square,
                norm=whole.norm,
                relative_update=whole.moved / whole.before if whole.before > 0 else math.nan,
                angle=whole.angle,
                half_life=half_life(pull),
                total_pull=total,
                mask_density=sum(m.density * m.size for m in masked) / sum(m.size for m in masked)
                if masked
                else math.nan,
                decay_share=decayed / (decayed + update) if known else math.nan,
                tensors=len(mine),
                scale_invariant=sum(one.scale_invariant for one in states),
                in_equilibrium=sum(one.in_equilibrium for one in states),
            )
        )
    return found


def effective_lr(kind: str, strength: float, lr: float, pull: float, gain: Number | None) -> float:
    """Return lr · gain; under a stable decay that is pull/λ, whatever the gain."""
    if gain is not None:
        return lr * float(gain)
    return pull / strength if kind == "stable" and strength > 0 and pull < 1 else math.nan


def half_life(pull: float) -> float:
    """Return after how many steps of this pull half of a weight is left, without updates: ln 2/−ln(1 − pull)."""
    if math.isnan(pull) or pull >= 1:
        return math.nan if math.isnan(pull) else 0.0
    return math.inf if pull <= 0 else math.log(2) / -math.log1p(-pull)


def _root_mean(squares: Any) -> float:
    some = [x for x in squares if math.isfinite(x)]
    return math.sqrt(sum(some) / len(some)) if some else math.nan
