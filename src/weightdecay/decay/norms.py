"""What a decay that reads or keeps the norm of a whole tensor must refuse, or say."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from weightdecay.decay.base import Decay


def check_whole(decay: Decay, group: Mapping[str, Any], where: str) -> None:
    """Refuse, with a ValueError, pieces that do not say of what tensor they are: FSDP's first version flattens."""
    for p in group.get("params", ()):
        if getattr(p, "_is_flat_param", False) or getattr(p, "_fsdp_flattened", False):
            raise ValueError(
                f"{decay!r} in {where}: a parameter of shape {tuple(p.shape)} is a flattened piece of FSDP's first "
                "version, and no process knows the norm of one tensor. Use FSDP2 (fully_shard), or put the parameter "
                "into a group with Decoupled() or Stable()."
            )


def check_matrices(decay: Decay, group: Mapping[str, Any], where: str) -> None:
    """Refuse, with a ValueError, vectors and weights of norm 0, which have no direction to keep.

    A group whose λ is 0 is let alone: the constraint is off there.
    """
    if isinstance(strength := group["weight_decay"], (int, float)) and not strength:
        return
    check_whole(decay, group, where)
    for p in group.get("params", ()):
        if p.ndim < 2:
            raise ValueError(
                f"{decay!r} in {where}: a parameter of shape {tuple(p.shape)} is not a matrix. Put biases and gains "
                "into a group of their own, with another decay."
            )
        # A piece of a sharded matrix may be all zeros, or have no elements, and to ask the others could hang.
        if p.device.type != "meta" and not hasattr(p, "placements") and not bool(p.detach().any()):
            raise ValueError(
                f"{decay!r} in {where}: a parameter of shape {tuple(p.shape)} has the norm 0, which would stay 0. "
                "Initialise it otherwise, or put it into a group with another decay."
            )


def warn_if_off(groups: Iterable[tuple[Decay, Mapping[str, Any]]], stacklevel: int) -> None:
    """Warn where a constraint stands in some group, and λ, which only switches it, is 0 in all of those groups.

    Optimizers have a λ of 0 by default, and nothing would happen without a word. Where one of the groups has a λ above
    0, the others are off on purpose.
    """
    held = [(decay, group["weight_decay"]) for decay, group in groups if decay.switched]
    if held and all(isinstance(strength, (int, float)) and strength == 0 for _, strength in held):
        warnings.warn(
            f"{held[0][0]!r} does nothing at weight_decay=0: λ switches it on, at any value above 0. Pass "
            "weight_decay=1.0, or leave the decay out.",
            stacklevel=stacklevel + 1,
        )
