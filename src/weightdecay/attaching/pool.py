"""v̄ of one optimizer, or of several that train one model: found in the first of their steps, for all."""

from __future__ import annotations

import math
import weakref
from typing import Any, Protocol

import torch
from torch import Tensor

from weightdecay.attaching.tally import Four, as_tensor, together
from weightdecay.decay import Number
from weightdecay.engine.mean_square import spoilt
from weightdecay.optim.sharding import Claim, Spread


class Reader(Protocol):
    """A handle, as the others see it."""

    @property
    def optimizer(self) -> torch.optim.Optimizer | None:
        """The optimizer; None once it is gone."""

    @property
    def reads_mean_square(self) -> bool:
        """Whether some of its groups read v̄, so that its tensors are in the mean."""

    @property
    def groups_stamp(self) -> int:
        """Rises whenever its groups are others."""

    def adopt(self) -> None:
        """Take its groups as they are now."""

    def measure(self, spread: Spread, found: Tensor | None) -> Four:
        """Return what its tensors add to the four numbers of which v̄ is made."""

    def unchanged(self) -> bool:
        """Whether its gradients and moments are still those of :meth:`measure`."""


class Pool:
    r"""The handles that share one v̄. Most pools have one.

    .. math:: \bar v_t = \sum_i \hat v_{t,i} \Big/ \sum_i n_i

    over the tensors, with a gradient, of every optimizer of the pool whose decay reads v̄; one all-reduce. Whichever
    optimizer of them steps first opens a round, in which all gradients are read; the others step with its v̄. It holds
    no optimizer.
    """

    def __init__(self, process_group: Any = None, size: int = 1) -> None:
        self.process_group, self.size = process_group, size
        self.members: dict[int, weakref.ref[Any]] = {}
        self._waiting: dict[int, Four] = {}
        """The four numbers of the round, for those who have not stepped in it yet."""
        self._claim: Claim | None = None
        self._spread: Spread | None = None
        self._stamps: list[int] = []

    def claim(self) -> None:
        """Tell the other processes which tensors there are here, so that the first step notices if they hold others."""
        params = [p for _, h in self.handles() for group in h.optimizer.param_groups for p in group["params"]]
        self._claim = Claim.of(params, self.process_group) if params else None

    def join(self, place: int, handle: Reader) -> None:
        """Let a handle be one of the pool."""
        self.members[place] = weakref.ref(handle)

    def leave(self, place: int) -> None:
        """Let the pool be of the others."""
        if self.members.pop(place, None) is not None:
            self.size -= 1
        self._waiting.pop(place, None)

    def handles(self) -> list[tuple[int, Any]]:
        """Return those whose tensors are in the mean. Raises: RuntimeError, where one is missing."""
        found = []
        for place, reference in sorted(self.members.items()):
            handle = reference()
            if handle is None or handle.optimizer is None:
                raise RuntimeError(
                    f"one of {self.size} optimizers that share one mean of v is gone, and its tensors would be missing "
                    "in it. Keep all of them, or remove() the handles and attach() to those that are left."
                )
            if self.size > 1:
                handle.adopt()
            if handle.reads_mean_square:
                found.append((place, handle))
        if len(self.members) < self.size:
            raise RuntimeError(
                f"this optimizer shares one mean of v with {self.size - 1} more, of which {len(self.members) - 1} were "
                "copied with it. Copy them together, as in copy.deepcopy([first, second]), or remove() the decay from "
                "the copy and attach() it anew."
            )
        return found

    def spread(self) -> Spread:
        """Return how the tensors of all of them are spread over processes."""
        return self._spread_of([handle for _, handle in self.handles()])

    def _spread_of(self, handles: list[Any]) -> Spread:
        stamps = [handle.groups_stamp for handle in handles]
        if self._spread is None or stamps != self._stamps:
            params = [p for h in handles for group in h.optimizer.param_groups for p in group["params"]]
            self._spread, self._stamps = Spread(params, self.process_group), stamps
        return self._spread

    def facts(self, place: int, handle: Reader, found: Tensor | None, host: bool) -> tuple[Number, bool | Tensor]:
        """Return v̄ (NaN where not all is well) and whether all is well, for the step of this handle.

        All is well where every gradient is finite and ``found``, the finding of a GradScaler, is 0.
        """
        if place in self._waiting:
            total = self._waiting.pop(place)
            if not handle.unchanged():
                raise RuntimeError(
                    f"the gradients or moments of {type(handle.optimizer).__name__} have changed since another "
                    "optimizer that shares its mean of v has stepped, so they were not in that mean. Make all "
                    "gradients (backward(), unscale_(), clipping) before the first of the steps, and zero them after "
                    "the last; or attach() to each optimizer by itself."
                )
        else:
            total = self._open(place, found)
        if found is not None:
            total = as_tensor(total)
            total = torch.stack([total[0], total[1], spoilt(total[2], found.to(total.device)), total[3]])
        return _mean(total, host)

    def _open(self, place: int, found: Tensor | None) -> Four:
        """Read all gradients; return the four numbers."""
        if self._claim is not None and self._claim.holds("an attached optimizer"):
            self._claim = None
        handles = self.handles()
        spread = self._spread_of([handle for _, handle in handles])
        parts = {other: handle.measure(spread, found if other == place else None) for other, handle in handles}
        total = together([parts[place], *(part for other, part in parts.items() if other != place)])
        if not spread.alone:
            total = spread.sum(as_tensor(total))
        self._waiting = {other: total for other in parts if other != place}
        return total

    # A copy is of the same size, and empty until the copies of the handles join it.

    def __getstate__(self) -> dict[str, Any]:
        return {"size": self.size, "process_group": self.process_group}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Pool.__init__(self, **state)

    def __deepcopy__(self, memo: dict[int, Any]) -> Pool:
        new = Pool(self.process_group, self.size)  # the group is of this process: there is no other
        memo[id(self)] = new
        return new


def _mean(total: Four, host: bool) -> tuple[Number, bool | Tensor]:
    if host:
        kept, added, square, elements = total.tolist() if isinstance(total, Tensor) else total
        mean = (kept + added) / elements if elements else 0.0
        well = math.isfinite(square) and math.isfinite(mean)
        return mean if well else math.nan, well
    total = as_tensor(total)
    over = (total[0] + total[1]) / total[3].clamp(min=1)
    fine = torch.isfinite(total[2]) & torch.isfinite(over)
    return torch.where(fine, over, math.nan), fine
