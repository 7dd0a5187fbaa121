r"""One step, looked at: the weights before it, and the numbers of every tensor after it, in one read.

With Δ = θ' − θ, all else follows from norms in float64:

.. math:: 4\,\|\theta\|\,\|\theta'\|\,\sin^2(\angle/2) = \|\Delta\|^2 - (\|\theta'\| - \|\theta\|)^2, \qquad
          \theta\cdot\Delta = \tfrac12\big(\|\theta'\|^2 - \|\theta\|^2 - \|\Delta\|^2\big)

which keeps the digits of a small angle that its cosine has not. The update without the decay is Δ + pull·θ.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from weightdecay.monitor.bundle import Bundle
from weightdecay.optim.sharding import gradient_piece, is_cut, piece, whole_sums

Names = Mapping[Tensor, str]


@dataclass(frozen=True)
class Seen:
    """A tensor in one step. NaN: not known."""

    group: int
    size: int
    norm: float  # ‖θ'‖
    before: float  # ‖θ‖
    moved: float  # ‖Δ‖
    grad: float = math.nan  # ‖g‖
    along: float = math.nan  # g·θ
    density: float = 1.0  # the part of the elements that the mask of a cautious decay lets decay
    masked: float = math.nan  # ‖θ ⊙ mask‖², and
    masked_along: float = math.nan  # Δ·(θ ⊙ mask), of such a decay
    second: float = math.nan  # Σ v̂

    @property
    def angle(self) -> float:
        """Radians between the weights before and after the step."""
        size = 4 * self.before * self.norm
        if not size > 0:
            return math.nan
        return 2 * math.asin(math.sqrt(min(1.0, max(0.0, (self.moved**2 - (self.norm - self.before) ** 2) / size))))

    @property
    def cosine(self) -> float:
        """Of the angle between gradient and weight; NaN where one of them is 0."""
        size = self.grad * self.before
        return self.along / size if size > 0 else math.nan

    def decayed(self, pull: float) -> tuple[float, float]:
        """Return the squares of what the decay took, and of the update without it."""
        whole = math.isnan(self.masked)
        square = self.before**2 if whole else self.masked
        along = (self.norm**2 - self.before**2 - self.moved**2) / 2 if whole else self.masked_along
        return pull**2 * square, max(0.0, self.moved**2 + 2 * pull * along + pull**2 * square)


class Sample:
    """The weights before a step, kept until it is over."""

    @torch.no_grad()
    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.before = {p: piece(p.detach()).clone() for group in optimizer.param_groups for p in group["params"]}

    @torch.no_grad()
    def look(
        self, optimizer: torch.optim.Optimizer, masked: Sequence[bool], bundle: Bundle
    ) -> list[tuple[Tensor, int, list[int]]]:
        """Put the numbers of every tensor that has moved or has a gradient into the bundle; return their places.

        Where tensors are cut into pieces every process must come here, and the sums go over their mesh.
        """
        rows: list[tuple[Tensor, int, list[Any]]] = []
        for place, group in enumerate(optimizer.param_groups):
            for p in group["params"]:
                if p not in self.before or p.numel() == 0:
                    continue
                old, new = real(self.before[p]), real(piece(p.detach()))
                grad = real(gradient_piece(p)) if p.grad is not None and p.grad.layout == torch.strided else None
                moved = new.double() - old.double() if new.element_size() < 4 else new - old
                facts: list[Any] = [norm(new), norm(old), norm(moved)]
                facts += [None, None] if grad is None else [norm(grad), dot(grad, old)]
                facts += self._masked(moved, old) if masked[place] else [None] * 3
                facts += second_moment(optimizer.state.get(p, {}))
                rows.append((p, place, facts))
        self.before.clear()
        _join([(p, facts) for p, _, facts in rows if is_cut(p)])
        return [(p, place, [bundle.add(fact) for fact in facts]) for p, place, facts in rows]

    @staticmethod
    def _masked(moved: Tensor, old: Tensor) -> list[Tensor]:
        """Return the elements of a cautious mask, ‖θ ⊙ mask‖² and Δ·(θ ⊙ mask).

        A decay that acts where u·θ ≥ 0 leaves Δ·θ ≤ 0 there, and Δ·θ > 0 elsewhere: Δ tells the mask without u.
        """
        mask = moved * old <= 0
        kept = torch.where(mask, old, 0.0)
        return [mask.sum(dtype=torch.float64), dot(kept, kept), dot(moved, kept)]


NORMS, SUMS = 4, 9
"""How many of a tensor's facts are norms, and how many are norms or sums, in the order of :meth:`Sample.look`."""


def _join(cut: Sequence[tuple[Tensor, list[Any]]]) -> None:
    """Let the facts of pieces be those of whole tensors, in as many all-reduces as :func:`whole_sums` takes."""
    if not cut:
        return
    squares = [
        [torch.full_like(facts[0], math.nan) if fact is None else fact for fact in facts[:SUMS]] for _, facts in cut
    ]
    for row in squares:
        row[:NORMS] = [x.square() for x in row[:NORMS]]
    wholes = whole_sums([p for p, _ in cut], list(zip(*squares, strict=True)))
    for (_, facts), sums in zip(cut, zip(*wholes, strict=True), strict=True):
        facts[:SUMS] = [*(x.sqrt() for x in sums[:NORMS]), *sums[NORMS:]]


def seen_of(values: Sequence[float], place: int, size: int, beta2: float | None) -> Seen:
    """Return the record of a tensor from its numbers, in the order of :meth:`Sample.look`."""
    norm, before, moved, grad, along, allowed, masked, masked_along, second, steps = values
    corrected = 1 - beta2**steps if beta2 is not None and steps > 0 else math.nan
    return Seen(
        place,
        size,
        norm,
        before,
        moved,
        grad,
        along,
        1.0 if math.isnan(allowed) else allowed / size,
        masked,
        masked_along,
        second / corrected if corrected else math.nan,
    )


def second_moment(memory: Any) -> list[Any]:
    """Return Σv over this process's piece and the step count, of Adam's kind; None where there is no such state."""
    second = memory.get("exp_avg_sq") if isinstance(memory, Mapping) else None
    second = piece(second) if isinstance(second, Tensor) else second
    if not isinstance(second, Tensor) or not second.is_floating_point() or type(second) is not Tensor:
        return [None, None]
    return [second.sum(dtype=torch.float64), memory.get("step")]


def real(tensor: Tensor) -> Tensor:
    """Return a complex tensor as pairs of reals."""
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def norm(tensor: Tensor) -> Tensor:
    """Return the Euclidean norm in float64."""
    found: Tensor = torch.linalg.vector_norm(tensor, dtype=torch.float64)
    return found


def dot(one: Tensor, other: Tensor) -> Tensor:
    """Return Σ one · other in float64."""
    return (one * other).sum(dtype=torch.float64)
