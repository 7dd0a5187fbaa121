"""mask = 1[some element of the row's gradient ≠ 0]."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weightdecay.decay.base import Decay, Step
from weightdecay.decay.modifier import BASE, Modifier, both

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class TouchedRows(Modifier):
    r"""Decays only rows (dimension 0) that have a gradient in this step: rare tokens of an embedding are not erased.

    .. math:: \text{mask}_{t,i} = \mathbb 1[\exists j: g_{t,ij} \ne 0]

    Raises: ValueError, for a DTensor that is sharded in another dimension than 0: no process has its whole rows.
    Source: FBGEMM, pull requests 2498 and 2516.
    """

    decay: Decay = BASE
    adds = frozenset({"grad"})

    def mask(self, step: Step) -> Tensor:
        """Return 1 in the rows that have a gradient."""
        import torch  # not to read a text, which needs no tensor

        grad = step.grad()
        touched = (grad.unsqueeze(-1).unsqueeze(-1).flatten(1) != 0).any(1)
        rows_last = grad.movedim(0, -1)
        rows = (torch.ones_like(rows_last) * touched.to(grad.dtype)).view_as(rows_last)  # a 0-d tensor is one row
        return both(rows.movedim(-1, 0), self.decay.mask(step))

    def check(self, group: Mapping[str, Any], where: str) -> None:
        """Refuse rows that are cut."""
        self.decay.check(group, where)
        for p in group.get("params", ()):
            if any(not q.is_replicate() and not q.is_shard(0) for q in getattr(p, "placements", ())):
                raise ValueError(
                    f"{self!r} in {where}: a parameter of shape {tuple(p.shape)} is sharded as {p.placements}, so that "
                    "no process has whole rows. Shard it in dimension 0, or use the decay inside."
                )
