"""Many numbers, on whatever device they are, in one read of each device."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


class Bundle:
    """Collects numbers and tensors of one element; :meth:`read` waits once for each device."""

    def __init__(self) -> None:
        self._floats: list[float] = []
        self._tensors: dict[torch.device, list[tuple[int, Tensor]]] = {}

    def add(self, value: Any) -> int:
        """Take a number, a tensor of one element, or None (NaN); return its place among those that are read."""
        place = len(self._floats)
        if isinstance(value, Tensor):
            self._floats.append(math.nan)
            self._tensors.setdefault(value.device, []).append((place, value.detach().reshape(())))
        else:
            self._floats.append(math.nan if value is None else float(value))
        return place

    def read(self) -> list[float]:
        """Return all numbers, in the order of :meth:`add`."""
        for pairs in self._tensors.values():
            values = torch.stack([value.double() for _, value in pairs]).tolist()
            for (place, _), value in zip(pairs, values, strict=True):
                self._floats[place] = value
        self._tensors.clear()
        return self._floats
