"""r = a number, or the weight at its first step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from weightdecay.checks import nearest, number
from weightdecay.decay.base import Decay, Number, Step
from weightdecay.decay.cautious import Cautious
from weightdecay.decay.modifier import BASE, Modifier


@dataclass(frozen=True)
class Toward(Modifier):
    r"""Pulls towards ``target`` instead of 0: a number (1.0 for the gains of norms), or "start".

    .. math:: \theta_t = r + (1 - \text{pull}_t)\,(\theta_{t-1} - r) - \eta_t u_t

    "start" is the weight before the first step that this decay takes of it, or what
    :func:`~weightdecay.set_anchors` puts in its place: given tensors. It is kept in the state and travels in
    checkpoints: one more tensor of the weight's size, in the weight's type, or in two bytes an element with
    ``keep="bfloat16"``. That rounds the anchor, by up to 0.4 % of each weight.

    Raises: TypeError, for a target that is neither; ValueError, for one that is not finite, for ``keep`` beside a
            number, or a Cautious() inside.
    Source: L2-Init (arXiv:2308.11958) for "start".
    """

    target: float | str = "start"
    decay: Decay = BASE
    keep: str | None = None
    words: ClassVar[frozenset[str]] = frozenset({"start", "bfloat16"})

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
        if self.keep not in (None, "bfloat16") or (self.keep and self.target != "start"):
            raise ValueError(
                f"Toward({self.target!r}, keep={self.keep!r}): keep is 'bfloat16', for the anchor 'start', or None, "
                "which is the type of the weight."
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
        """bfloat16, where it was asked for."""
        return torch.bfloat16 if self.keep else None

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """The weight at its first step, for "start"."""
        return frozenset(self.decay.needs) | ({"start"} if self.target == "start" else set())

    def anchor(self, step: Step) -> Number:
        """Return the target."""
        return step.start() if isinstance(self.target, str) else self.target
