"""Data sets by name: each a function of (train_size, label_noise, seed) that returns tensors ready to train on."""

from __future__ import annotations

from collections.abc import Callable

from weightdecay.lab.data.digits import digits
from weightdecay.lab.data.images import Images
from weightdecay.optim.hyper import unknown

DATA: dict[str, Callable[[int, float, int], Images]] = {"digits": digits}


def load(name: str, train_size: int, label_noise: float, seed: int) -> Images:
    """Return the data set of that name. Raises ValueError for an unknown one, with the nearest."""
    if name not in DATA:
        raise ValueError(unknown("data set", name, DATA))
    return DATA[name](train_size, label_noise, seed)


__all__ = ["DATA", "Images", "load"]
