"""Says, once, that a decay by the gain takes so much of the weights in every step that it cannot be meant."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from weightdecay.decay import Decay, Number
from weightdecay.optim import scalars
from weightdecay.optim.member import Group

LARGE = 0.03
"""A pull that nobody means for long: in 23 steps it halves every weight."""
STEPS = 5
"""So many in a row are no accident."""
EVERY = 8
"""On an accelerator every so many steps a copy of the pull is asked for, and looked at when it has arrived."""

Of = Callable[[int], tuple[Group, Decay]]
"""The options and the decay of a group, by its place."""


class StrongPullWarning(UserWarning):
    """A decay by the gain takes so much of the weights in every step that it cannot be meant."""


class PullAlarm:
    """Watches the pulls of one optimizer, and never waits for a device to see them."""

    def __init__(self) -> None:
        self.said = False
        self.rows: dict[int, int] = {}  # by group: how many steps in a row have pulled too much; those with any
        self.steps = 0
        self.coming: tuple[list[int], Tensor, Any] | None = None

    def look(self, name: str, pulls: Mapping[int, Number], of: Of) -> None:
        """Look at the pulls of a step, by the place of the group, before they are clamped."""
        if self.said or not pulls:
            return
        if any(isinstance(pull, Tensor) and not scalars.readable(pull.device) for pull in pulls.values()):
            self._look_later(name, pulls, of)
            return
        for place, pull in pulls.items():
            self._count(name, place, float(pull), of)

    def _look_later(self, name: str, pulls: Mapping[int, Number], of: Of) -> None:
        self.steps += 1
        first = next(p for p in pulls.values() if isinstance(p, Tensor) and not scalars.readable(p.device))
        if self.steps % EVERY or first.device.type != "cuda" or torch.cuda.is_current_stream_capturing():
            return
        if self.coming is not None and self.coming[2].query():
            places, arrived, _ = self.coming
            self.coming = None
            for place, pull in zip(places, arrived.tolist(), strict=True):
                self._count(name, place, pull, of)
        if self.coming is None and not self.said:
            now = [
                pull.to(first.device).double() if isinstance(pull, Tensor) else first.new_full((), pull).double()
                for pull in pulls.values()
            ]
            host = torch.empty(len(now), dtype=torch.float64, device="cpu", pin_memory=True)
            host.copy_(torch.stack(now), non_blocking=True)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
            self.coming = [*pulls], host, event

    def _count(self, name: str, place: int, pull: float, of: Of) -> None:
        if not pull > LARGE:
            self.rows.pop(place, None)
            return
        row = self.rows[place] = self.rows.get(place, 0) + 1
        if row < STEPS or self.said:
            return
        group, decay = of(place)
        if not {"mean_gain", "gain"} & set(decay.needs):
            return  # what it takes stands in the options, as λ or ηλ
        self.said, self.rows = True, {}
        warnings.warn(warning(name, place, pull, group, decay), StrongPullWarning, stacklevel=8)


def warning(name: str, place: int, pull: float, group: Group, decay: Decay) -> str:
    """Return the words: how much, how fast, and what to write instead.

    A decay that follows the gain ḡ pulls λ η ḡ, AdamW's λ η: AdamW's λ is therefore λ/ḡ here, λ √v̄ for Adam.
    """
    strength, lr = (_readable(group[key]) for key in ("weight_decay", "lr"))
    half = f"half of it is gone in {math.log(0.5) / math.log1p(-pull):.2g} steps" if pull < 1 else "nothing is left"
    said = (
        f"{name}'s {decay!r} takes {100 * min(pull, 1.0):.3g} % of every weight of group {place} in each step "
        f"({half}), which destroys the training. "
    )
    here = strength * strength * lr / pull
    if math.isnan(here):  # on a device, where nothing is read
        return (
            said + "λ has SGD's unit here, not AdamW's: AdamW's λ times √v̄ for an Adam; 5e-4 is a value to start from."
        )
    return said + (
        f"λ has SGD's unit here, not AdamW's. If weight_decay={strength:g} is AdamW's value, write "
        f"weight_decay={here:.2g} for gradients of the present size (AdamW's λ times √v̄ for an Adam); 5e-4 is a value "
        "to start from."
    )


def _readable(value: Number) -> float:
    return float(value) if not isinstance(value, Tensor) or scalars.readable(value.device) else math.nan
