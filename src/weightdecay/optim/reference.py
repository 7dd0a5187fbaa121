"""How a step is computed: what every engine is, and the one that is the definition."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from weightdecay.optim.member import Group, Member

if TYPE_CHECKING:
    from weightdecay.optim.base import Optimizer


class Runner:
    """What an optimizer asks of an engine."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer

    def step(self) -> None:
        """Take one step."""
        raise NotImplementedError

    def check(self, group: Group, where: str) -> None:
        """Raise ValueError for a group that this engine cannot honour, naming an engine that can."""

    def settle(self) -> None:
        """Write what the engine keeps for itself into the optimizer's state."""

    def device_of_steps(self, weight: Tensor) -> torch.device:
        """Return where the step count of a weight is kept: where the weight is, so that a graph counts its steps."""
        return weight.device


class Reference(Runner):
    """The definition that every engine must equal: observe all gradients, then move all weights."""

    def step(self) -> None:
        """Take one step."""
        optimizer = self.optimizer
        members = optimizer.gather()
        scale = self.admit(members)
        if scale is None:
            return
        for m in members:
            optimizer.begin(m)
            m.memory.pop("v_sum", None)  # a faster engine's account of v, which this step does not keep
            m.memory["step"] += 1
            m.open(m.memory["step"].item())
            optimizer.see(m, scale)
        # Before any weight moves: the mean is over the model as it stood when the gradients were taken.
        mean_square = optimizer.model_mean_square(members) if optimizer.coupled else math.nan
        clamped: bool | Tensor = False
        for m in members:
            clamped = clamped | optimizer.move(m, mean_square)
            m.close(optimizer.moments, optimizer.seed)
        optimizer.count("clamped", clamped)

    def admit(self, members: list[Member]) -> float | None:
        """Return what the gradients are multiplied by; None where the step is left out for a gradient not finite."""
        optimizer, most = self.optimizer, self.optimizer.max_grad_norm
        if not (optimizer.coupled or most or optimizer.nonfinite == "raise"):
            return 1.0
        bad = next((m for m in members if not optimizer.finite(m.grad)), None)
        square = 0.0
        if most is not None and bad is None:
            square = sum(m.grad.double().square().sum().item() / optimizer.spread.copies(m.param) for m in members)
        mine = torch.tensor([float(bad is not None), square], dtype=torch.float64)
        bad_processes, square = optimizer.spread.sum(mine).tolist()
        if bad_processes:
            if optimizer.nonfinite == "raise":
                raise not_finite(optimizer, bad)
            optimizer.count("skipped", True)
            return None
        if most is None:
            return 1.0
        optimizer.grad_norm = math.sqrt(square)
        return min(1.0, most / (optimizer.grad_norm + 1e-6))  # as torch.nn.utils.clip_grad_norm_

    def device_of_steps(self, weight: Tensor) -> torch.device:
        """Return the CPU, where the step reads t."""
        return torch.device("cpu")


def not_finite(optimizer: Optimizer, bad: Member | None) -> FloatingPointError:
    """Return the error for a gradient that the moments cannot take."""
    whose = f"the gradient of {optimizer.describe(bad.index)}" if bad else "a gradient in another process"
    return FloatingPointError(
        f"{whose} is not finite (or too large to square); weights and state are untouched. "
        'nonfinite="skip" leaves such steps out and counts them.'
    )


ENGINES: dict[str, Callable[[Optimizer], Runner]] = {"auto": Reference, "reference": Reference}
"""How a step may be computed. The seam: a faster engine registers itself here and nothing else changes."""
