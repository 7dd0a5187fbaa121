"""The weights that a run ended with, and the hash by which a result knows them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Weights = dict[str, "Tensor"]
"""A network's ``state_dict()``, on the CPU: parameters and running statistics by name."""


def digest(weights: Weights) -> str:
    """Return the SHA-256 of the weights and running statistics, names and shapes included."""
    import torch

    found = hashlib.sha256()
    for name, value in weights.items():
        found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()
