"""Which step of a tensor it is, for a decay that reads t."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from weightdecay.decay import Number
from weightdecay.optim import scalars
from weightdecay.optim.member import Group

TAKEN = "decayed_steps"
"""Where the state of a tensor holds how many steps were taken, if the optimizer does not count them itself."""


class Taken:
    """Reads the optimizer's own count of a tensor's steps; where it keeps none, counts them in its state."""

    def __init__(self) -> None:
        self._counted: list[tuple[Tensor, float]] = []

    def of(self, optimizer: torch.optim.Optimizer, params: list[Tensor], group: Group, device: torch.device) -> Number:
        """Return t of the step to come: one number, or a vector where the tensors are not equally old."""
        counts = [self._one(optimizer.state.get(param), param, group) for param in params]
        if any(isinstance(count, Tensor) for count in counts):
            vector = torch.stack([torch.as_tensor(c, device=device, dtype=torch.float64).reshape(()) for c in counts])
            return vector[0] if len(params) == 1 else vector
        if len(set(counts)) == 1:
            return counts[0]
        return torch.tensor(counts, dtype=torch.float64, device=device)

    def _one(self, memory: Any, param: Tensor, group: Group) -> Number:
        memory = memory or {}
        own = memory.get("step")
        if isinstance(own, Tensor) and not scalars.readable(own.device):
            return own + 1
        if own is not None:
            return float(own) + 1
        taken = memory.get(TAKEN, group.get("step", 0) if memory else 0)
        self._counted.append((param, float(taken) + 1))
        return float(taken) + 1

    def commit(self, optimizer: torch.optim.Optimizer) -> None:
        """Write the counts into the state: after the step, as many optimizers begin a state that is empty."""
        for param, count in self._counted:
            memory = optimizer.state[param]
            if memory.get("step") is None:
                memory[TAKEN] = count
        self.forget()

    def forget(self) -> None:
        """Forget a step that was not taken."""
        self._counted = []
