"""r = a number, or the weight at its first step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from weightdecay.checks import nearest, number
from weightdecay.decay.base import Decay, Number, Step
from weightdecay.decay.cautious import Cautious
from weightdecay.decay.modifier import BASE, Modifier

if TYPE_CHECKING:
    import torch

KEPT = ("bfloat16", "int8")


@dataclass(frozen=True)
class Toward(Modifier):
    r"""Pulls towards ``target`` instead of 0: a number (1.0 for the gains of norms), or "start".

    .. math:: \theta_t = r + (1 - \text{pull}_t)\,(\theta_{t-1} - r) - \eta_t u_t

    "start" is the weight before the first step that this decay takes of it, or what
    :func:`~weightdecay.set_anchors` puts in its place: given tensors. It is kept in the state and travels in
    checkpoints: one more tensor of the weight's size, in the weight's type; in two bytes per element with
    ``keep="bfloat16"``, which rounds the anchor, by up to 0.4 % of each weight; in 33 bytes for 32 elements with
    ``keep="int8"``, which rounds it by less than 1/127 of the largest of these 32.

    Raises: TypeError, for a target that is neither; ValueError, for one that is not finite, for ``keep`` beside a
            number, a Cautious() inside, or ``keep="int8"`` of a tensor that is cut over processes.
    Source: L2-Init (arXiv:2308.11958) for "start".
    """

    target: float | str = "start"
    decay: Decay = BASE
    keep: str | None = None
    words: ClassVar[frozenset[str]] = frozenset({"start", "bfloat16", "int8"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.target, str):
            if self.target != "start":
                raise ValueError(
                    f"Toward({self.target!r}): the anchor is a number or 'start'.{nearest(self.target, ['start'])} "
                    "For given tensors, use Toward('start') and weightdecay.set_anchors(optimizer, tensors)."
                )
        else:
            value = float(number(self.target, "target", "Toward()"))
            if not math.isfinite(value):
                raise ValueError(f"Toward({value!r}): the anchor must be finite.")
            object.__setattr__(self, "target", value)
        if self.keep not in (None, *KEPT) or (self.keep and self.target != "start"):
            raise ValueError(
                f"Toward({self.target!r}, keep={self.keep!r}): keep is 'bfloat16' or 'int8', for the anchor 'start', "
                "or None, which is the type of the weight."
            )
        inner: object = self.decay
        while isinstance(inner, Modifier):
            if isinstance(inner, (Cautious, Toward)):
                raise ValueError(
                    f"{self!r}: {type(inner).__name__} would not see this anchor. Write Cautious(Toward(…))."
                )
            inner = inner.decay

    def __repr__(self) -> str:  # its name in checkpoints, which knew no other type
        keep = f", keep={self.keep!r}" if self.keep else ""
        return f"Toward(target={self.target!r}, decay={self.decay!r}{keep})"

    @property
    def keeps_start_as(self) -> torch.dtype | None:
        """bfloat16, or int8 in blocks, where it was asked for."""
        import torch  # not to read a text, which needs no tensor

        return getattr(torch, self.keep) if self.keep else None

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """The weight at its first step, for "start"."""
        return frozenset(self.decay.needs) | ({"start"} if self.target == "start" else set())

    def check(self, group: Mapping[str, Any], where: str) -> None:
        """Refuse blocks of a tensor of which each process holds a piece: another number of processes has others."""
        for p in group.get("params", ()) if self.keep == "int8" else ():
            if any(not placement.is_replicate() for placement in getattr(p, "placements", ())):
                raise ValueError(
                    f"{self!r} in {where}: a parameter of shape {tuple(p.shape)} is cut over processes, and blocks of "
                    "its pieces could not be read by another number of processes. Use keep='bfloat16'."
                )
        super().check(group, where)

    def anchor(self, step: Step) -> Number:
        """Return the target."""
        return step.start() if isinstance(self.target, str) else self.target
