"""The reach of a weight decay: vectors, groups, a λ written later, a λ that is a tensor, weights in bfloat16."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from weightdecay.measuring.experiment import given
from weightdecay.measuring.walk import LR, STEPS, STRENGTH, TorchWalk, low_precision

T = TypeVar("T")
SIDE, LONG, SMALL = 32, 40, 1e-3
"""Of the weight in bfloat16: elements per side, steps, the pull of each. Roundings average out to a few percent."""


@dataclass(frozen=True)
class Reach:
    """None wherever the optimizer refused to be tried, or has no λ in its groups."""

    vectors: bool | None  # whether a vector beside a matrix decays
    groups: bool | None  # whether a group with λ = 0 of its own keeps its weights, and another one decays
    written: bool | None  # whether a λ that is written into a group later counts
    tensor: bool | None  # whether a λ that is a tensor gives the path of the same number
    bfloat16: float | None  # which part of the decay arrives in bfloat16 weights


def reach(walk: TorchWalk, pull: float) -> Reach:
    """Try it all. ``pull`` is that of λ = 0.01 at lr 0.1, as far as it is known: NaN for L2."""
    start, grads = given()
    lrs = [LR] * STEPS

    def two(strength: float, groups: tuple[dict[str, Any], ...] = ()) -> list[Tensor]:
        return walk.several(lrs, [grads, grads[:, 0]], [start, start[0]], strength, groups=groups)

    def matrices(*strengths: float) -> list[Tensor]:
        groups = [{walk.key: strength} for strength in strengths]
        return walk.several(lrs, [grads] * len(groups), [start] * len(groups), STRENGTH, groups=groups)

    def writing(change: Callable[[Any], Any]) -> list[Tensor]:
        def write(group: dict[str, Any], step: int) -> None:
            if step == STEPS // 2:
                group[walk.key] = change(group[walk.key])

        return walk.several(lrs, [grads], [start], STRENGTH, write=write)

    vectors = _tried(lambda: not torch.equal(two(STRENGTH)[1], two(0.0)[1]))
    groups = _tried(lambda: _own(matrices(STRENGTH, 0.0), matrices(0.0, 0.0)))
    written = tensor = None
    if walk.in_groups:
        number = walk(lrs, grads, STRENGTH, start)
        effect = (number - walk(lrs, grads, 0.0, start)).abs().max().item()
        written = _tried(lambda: not torch.equal(writing(lambda _: 0.0)[0], number))
        tensors = _tried(lambda: writing(lambda strength: torch.tensor(strength, dtype=walk.dtype))[0])
        tensor = None if tensors is None else (tensors - number).abs().max().item() <= 1e-3 * effect
    return Reach(vectors, groups, written, tensor, _tried(lambda: _arrives(walk, pull)))


def _tried(what: Callable[[], T]) -> T | None:
    try:
        return what()
    except Exception:  # whatever somebody's optimizer raises where it refuses
        return None


def _own(mixed: list[Tensor], free: list[Tensor]) -> bool:
    """Whether of two like matrices the first one, whose group has a λ, moved as with λ, and the second did not.

    Optimizers with a mean over the model let the second one feel the first; under a shared λ both move alike.
    """
    first, second = ((one - other).abs().max().item() for one, other in zip(mixed, free, strict=True))
    return second < 0.5 * first


def _arrives(walk: TorchWalk, pull: float) -> float | None:
    """Return the decay of weights in bfloat16 as a part of the decay of the same weights in full precision.

    λ is such that the pull of a step is :data:`SMALL`, less than the 2⁻⁹ of a weight that rounding takes for nothing:
    an optimizer that rounds after the decay and again after the update loses all of it; one that rounds their sum
    keeps it on average, because an update is larger than that.
    """
    draw = torch.Generator().manual_seed(1)
    start = 1.0 + torch.rand(SIDE, SIDE, generator=draw).bfloat16().double()
    grads = 0.05 + 0.15 * torch.rand(LONG, SIDE, SIDE, generator=draw, dtype=torch.float64)
    grads *= torch.where(torch.rand(LONG, SIDE, SIDE, generator=draw) < 0.5, -1.0, 1.0)
    lrs = [LR] * LONG
    strength = STRENGTH if not abs(pull) > SMALL else STRENGTH * SMALL / abs(pull)

    def decay(one: TorchWalk) -> Tensor:
        return one(lrs, grads, 0.0, start)[-1] - one(lrs, grads, strength, start)[-1]

    whole = decay(walk)
    size = whole.square().sum().item()
    rounded = decay(low_precision(walk))
    return (rounded * whole).sum().item() / size if size > 0 else None
