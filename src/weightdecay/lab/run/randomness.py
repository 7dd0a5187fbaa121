"""Randomness as a function: the generators are set anew before every step, so that a resumed run draws the same."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import torch


def seed_of(*what: int) -> int:
    """Return a seed of 63 bits that is a function of the numbers; equal only for equal numbers, for all one can tell.

    >>> seed_of(0, 1) == seed_of(0, 1), seed_of(0, 1) == seed_of(1, 0)
    (True, False)
    """
    digest = hashlib.blake2b(repr(what).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def reseed(device: torch.device, *what: int) -> None:
    """Set the generators of the CPU and of the device to a function of the numbers."""
    torch.default_generator.manual_seed(seed_of(*what))
    if device.type == "cuda":
        torch.cuda.manual_seed(seed_of(*what))


@contextlib.contextmanager
def of_our_own(device: torch.device) -> Iterator[None]:
    """Leave the caller's random state as it was, whatever is drawn inside."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
