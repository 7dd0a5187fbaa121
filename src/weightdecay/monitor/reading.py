"""What the decay is doing: the effective learning rate, and the norms that it balances."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from weightdecay.optim import Optimizer
from weightdecay.optim.groups import read_groups
from weightdecay.optim.member import Member
from weightdecay.optim.reference import gather, model_mean_square


@dataclass(frozen=True)
class Reading:
    """The model as the last step left it. Norms are Euclidean, over all tensors that have a gradient."""

    effective_lr: float  # η · mean gain of the first group; NaN before its first step, or where no gain is defined
    grad_norm: float  # before clipping
    weight_norm: float


@torch.no_grad()
def read(optimizer: Optimizer) -> Reading:
    r"""Return effective learning rate :math:`\eta_t \bar g_t` and norms; the gradients must still be there.

    One pass over weights, gradients and moments and one or two reductions over processes, which all must call it: once
    an epoch, not once a step. Nothing is changed. Source: arXiv:2011.11152, Section 3.

    >>> import torch, weightdecay
    >>> weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    >>> weight.grad = torch.tensor([0.0, 2.0])
    >>> optimizer = weightdecay.SGDS([weight], lr=0.1, momentum=0.9, weight_decay=0.0)
    >>> optimizer.step()
    >>> reading = read(optimizer)
    >>> round(reading.effective_lr, 6), reading.grad_norm
    (1.0, 2.0)
    """
    members = gather(optimizer, read_groups(optimizer))
    squares = torch.zeros(2, dtype=torch.float64)
    for m in members:
        sizes = [torch.linalg.vector_norm(x, dtype=torch.float64) for x in (m.grad, m.weight)]
        squares += torch.stack(sizes).cpu().square() / optimizer.spread.copies(m.param)
    grad_norm, weight_norm = optimizer.spread.sum(squares).sqrt().tolist()
    return Reading(_effective_lr(optimizer, members), grad_norm, weight_norm)


def _effective_lr(optimizer: Optimizer, members: list[Member]) -> float:
    group = optimizer.param_groups[0]
    begun = [m for m in members if "step" in m.memory]
    for m in begun:
        m.load_state(float(m.memory["step"]), optimizer.state_names)
    mean_square = math.nan
    if type(optimizer).second_moment is not Optimizer.second_moment:
        mean_square = model_mean_square(optimizer, begun)  # a reduction: every process takes part in it
    first = next((m for m in begun if m.place == 0), None)
    if first is None:
        return math.nan
    try:
        return float(group["lr"]) * float(optimizer.mean_gain(first.state, first.group, mean_square))
    except NotImplementedError:
        return math.nan
