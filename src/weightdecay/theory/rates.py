"""Learning rates over a training, as vectors: the shapes that the theory speaks about."""

from __future__ import annotations

import torch
from torch import Tensor

from weightdecay.theory.numbers import Numbers, non_negative, numbers, shown, whole


def constant(steps: int, lr: float) -> Tensor:
    """Return ``steps`` times lr."""
    return torch.full((_steps(steps),), non_negative("lr", lr), dtype=torch.float64)


def cosine(steps: int, lr: float, final: float = 0.0) -> Tensor:
    r"""Return :math:`\eta_t = \eta_T + \tfrac12(\eta_0-\eta_T)(1+\cos\tfrac{\pi t}{T})` for t = 0 … T−1.

    >>> [round(x, 4) for x in cosine(4, 1.0).tolist()]
    [1.0, 0.8536, 0.5, 0.1464]
    """
    steps = _steps(steps)
    phase = torch.arange(steps, dtype=torch.float64) * (torch.pi / steps)
    lr, final = non_negative("lr", lr), non_negative("final", final)
    return final + 0.5 * (lr - final) * (1 + phase.cos())


def drops(steps: int, lr: float, at: Numbers = (0.4, 0.8), factor: float = 0.1) -> Tensor:
    """Return lr, multiplied by ``factor`` at these shares of the training: the step schedule.

    Raises: ValueError, for a share outside [0, 1], and for what are no such numbers.

    >>> drops(5, 1.0).tolist()
    [1.0, 1.0, 0.1, 0.1, 0.010000000000000002]
    """
    steps, shares = _steps(steps), numbers("at", at).flatten().tolist()
    done = torch.arange(steps, dtype=torch.float64) / steps
    for share in shares:
        if not 0 <= share <= 1:
            raise ValueError(
                f"at={shown(at)}: {share:g} is no share of the training, from 0 to 1; divide by the steps."
            )
    passed = sum(((done >= share - 1e-12).double() for share in shares), torch.zeros_like(done))
    return non_negative("lr", lr) * non_negative("factor", factor) ** passed


def _steps(steps: int) -> int:
    return whole("steps", steps, "a training has at least one")
