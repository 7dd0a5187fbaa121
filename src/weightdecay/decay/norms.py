"""What a decay that reads the norm of a whole tensor must refuse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weightdecay.decay.base import Decay


def check_whole(decay: Decay, group: Mapping[str, Any], where: str) -> None:
    """Refuse, with a ValueError, pieces of tensors, whose norm is not the tensor's."""
    for p in group.get("params", ()):
        cut = any(not q.is_replicate() for q in getattr(p, "placements", ()))
        if cut or getattr(p, "_is_flat_param", False) or getattr(p, "_fsdp_flattened", False):
            raise ValueError(
                f"{decay!r} in {where}: a parameter of shape {tuple(p.shape)} is sharded, and no process has the norm "
                "of the whole tensor. Put it into a group with Decoupled() or Stable(), or replicate it (DDP)."
            )


def check_matrices(decay: Decay, group: Mapping[str, Any], where: str) -> None:
    """Refuse, with a ValueError, vectors and weights of norm 0, which have no direction to keep."""
    check_whole(decay, group, where)
    for p in group.get("params", ()):
        if p.ndim < 2:
            raise ValueError(
                f"{decay!r} in {where}: a parameter of shape {tuple(p.shape)} is no matrix. Put biases and gains into "
                "a group of their own, with another decay."
            )
        if p.device.type != "meta" and not bool(p.detach().any()):
            raise ValueError(
                f"{decay!r} in {where}: a parameter of shape {tuple(p.shape)} has the norm 0, which would stay 0. "
                "Initialise it otherwise, or put it into a group with another decay."
            )
