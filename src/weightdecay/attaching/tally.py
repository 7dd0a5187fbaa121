"""S and t of every tensor of somebody else's optimizer, and what they add to v̄."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from weightdecay.engine.mean_square import Account, spoilt

Four = list[float] | Tensor
"""Σ of what v̂ keeps, Σ of what this step adds to it, Σ‖g‖² and Σn: Python numbers where all tensors are alike."""


@dataclass(slots=True)
class Alike:
    """Tensors on the CPU, whole, of one β₂ and one age: of these v̄ takes the sum only."""

    beta2: float
    corrected: bool  # for its bias, by 1 − β₂ᵗ
    t: float
    total: float  # ΣS
    elements: float


class Tally(Account):
    r"""S and t of every tensor, where nobody else counts the steps.

    .. math:: \bar v_t = \frac{\beta_2 \sum_i S_{t-1,i} + (1-\beta_2) \sum_i \|g_i\|^2}{(1-\beta_2^t) \sum_i n_i}

    where all tensors are :class:`Alike`. Then the host does this in Python numbers: for many small tensors a call of
    torch costs it as much as ten tensors. Otherwise v̄ is that of :class:`~weightdecay.engine.mean_square.Account`.
    """

    def __init__(self) -> None:
        self._values = torch.empty(0, device="cpu")
        self._behind = 0
        """How many steps the counts in ``_values`` lack."""
        self.alike: Alike | None = None
        super().__init__(rows=2)
        self._squares = self._counts = torch.empty(0, device="cpu")
        self._total: float | None = None  # ΣS after the step that was measured, where that was in numbers
        self._next: tuple[Tensor | None, bool | Tensor] | None = None
        """S and t as the step will leave them, None where they follow from ΣS, and for which tensors it counts."""

    @property
    def values(self) -> Tensor:
        """S and t of every tensor."""
        if self._behind:
            self._values[1] += self._behind
            self._behind = 0
        return self._values

    @values.setter
    def values(self, values: Tensor) -> None:
        self._values, self._behind, self.alike = values, 0, None

    def set_constants(self, beta2: list[float], corrected: list[bool], share: Tensor, elements: Tensor) -> None:
        """Take β₂ of every tensor, whether v̂ corrects it, and for how much of each and of the model we answer."""
        self.constants(beta2, share, elements)
        weights = torch.tensor([float(each) for each in corrected], dtype=torch.float64, device=share.device)
        self.uncorrected = None if all(corrected) else weights
        self.alike = self._alike(beta2, corrected, share, elements)

    def _alike(self, beta2: list[float], corrected: list[bool], share: Tensor, elements: Tensor) -> Alike | None:
        if share.device.type != "cpu" or len(set(beta2)) != 1 or len(set(corrected)) != 1 or not 0 <= beta2[0] < 1:
            return None
        sums, t = self.values
        if not (share == 1).all() or not (t == t[0]).all() or not sums.isfinite().all():
            return None
        return Alike(beta2[0], corrected[0], t[0].item(), sums.sum().item(), elements.item())

    # ---------------------------------------------------------------- the step

    def measure(self, squares: Tensor, found: Tensor | None) -> Four:
        """Return what the tensors add to v̄; ``squares`` are the ‖g‖² of this step, ``found`` a GradScaler's finding.

        Nothing is remembered before :meth:`take_step`.
        """
        self._squares, self._next, self._total = squares, None, None
        one = self.alike
        if one is None or found is not None:
            return self._by_tensor(found)
        added = squares.sum().item()
        power = one.beta2 ** (one.t + 1) if one.corrected else 0.0
        kept, new = one.beta2 * one.total, (1 - one.beta2) * added
        self._total = kept + new
        return [kept / (1 - power), new / (1 - power), added, one.elements]

    def _by_tensor(self, found: Tensor | None) -> Tensor:
        self._counts = self.values[1] + 1
        return self.mine(self._squares, self._counts, found)

    def note(self, well: bool | Tensor, found: Tensor | None) -> None:
        """Note S and t as the step will leave them, after :meth:`measure`; ``well``: whether all gradients were."""
        if self._total is not None:
            if well is True:
                self._next = None, True
                return
            self._by_tensor(found)
            self._total = None
        sums = self.after(1.0)
        counted: bool | Tensor = True
        if well is not True:
            # A tensor whose gradient is not finite keeps its account; the others go on, as the optimizer's moments do.
            counted = torch.isfinite(sums) if found is None else torch.isfinite(sums) & (found == 0)
        self._next = torch.stack([sums, self._counts]), counted

    @property
    def waits(self) -> bool:
        """Whether a step was noted that is not taken yet."""
        return self._next is not None

    def forget_step(self) -> None:
        """Forget a step that was noted and not taken. What was measured stays: another optimizer's step did that."""
        self._next = None

    def steps_after(self, members: slice) -> Tensor:
        """Return t of some tensors, once the step is taken."""
        if self._next is None:
            return torch.empty(0)
        values, _ = self._next
        return (self.values[1] + 1 if values is None else values[1])[members]

    def take_step(self) -> None:
        """Remember S and t as the step has left them."""
        assert self._next is not None
        values, counted = self._next
        self._next = None
        if values is not None:
            self.commit(values, counted)
            self.alike = None  # no longer, or in the same memory
            return
        one = self.alike
        assert one is not None
        assert self._total is not None
        one.total, one.t = self._total, one.t + 1
        self._values[0].lerp_(self._squares, 1 - one.beta2)
        self._behind += 1


class Lagging(Tally):
    r"""S where a step divides by the v of the step before it, and :math:`v_1 = g_1^2`; the first step moves nothing.

    Source: ADOPT, arXiv:2411.02853, Algorithm 2.
    """

    def _alike(self, beta2: Sequence[float], corrected: Sequence[bool], *shares: Tensor) -> None:
        """Return None: the mean is another."""

    def mine(self, squares: Tensor, t: Tensor, found: Tensor | None) -> Tensor:
        """Return as :meth:`Account.mine`; what this step adds to v does not enter its mean."""
        self._kept = self.beta2 * self.sums
        self._added = torch.where(t == 1, 1.0, self.taken) * squares
        total = torch.dot(self.sums, self.share)
        return torch.stack(
            [total, torch.zeros_like(total), spoilt(torch.dot(squares, self.share), found), self.elements]
        )


def as_tensor(four: Four) -> Tensor:
    """Return the four numbers as a tensor."""
    return four if isinstance(four, Tensor) else torch.tensor(four, dtype=torch.float64, device="cpu")


def together(some: Sequence[Four]) -> Four:
    """Return the sum of what several optimizers add, where the first of them has it."""
    if len(some) == 1:
        return some[0]
    if not any(isinstance(each, Tensor) for each in some):
        return [math.fsum(column) for column in zip(*some, strict=True)]
    tensors: Any = [as_tensor(each) for each in some]
    return torch.stack([each.to(tensors[0].device) for each in tensors]).sum(0)
