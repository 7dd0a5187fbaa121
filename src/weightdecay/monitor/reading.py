"""What the decay is doing: the effective learning rate, and the norms that it balances."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from weightdecay.attaching.gains import lr_of
from weightdecay.attaching.handle import Handle
from weightdecay.attaching.refusals import unwrapped
from weightdecay.monitor.bundle import Bundle
from weightdecay.monitor.group_decay import gain_name, gain_of
from weightdecay.monitor.sample import norm, real, second_moment
from weightdecay.optim import Optimizer
from weightdecay.optim.groups import read_groups
from weightdecay.optim.member import Member
from weightdecay.optim.reference import gather, model_mean_square
from weightdecay.optim.sharding import Spread, gradient_piece, piece


@dataclass(frozen=True)
class Reading:
    """The model as the last step left it. Norms are Euclidean, over all tensors that have a gradient."""

    effective_lr: float  # η · mean gain of the first group; NaN before its first step, or where no gain is defined
    grad_norm: float  # before clipping
    weight_norm: float


@torch.no_grad()
def read(optimizer: torch.optim.Optimizer) -> Reading:
    r"""Return effective learning rate :math:`\eta_t \bar g_t` and norms; the gradients must still be there.

    Of any torch optimizer: ours, one with a decay attached, or a plain one. Of the latter two the effective lr is known
    where the gain is: Adam's η/√v̄, with v̄ from the attached decay or from its moments, and SGD's.

    One pass over weights, gradients and moments and one or two reductions over processes, which all must call it: once
    per epoch, not once per step. Nothing is changed. Source: arXiv:2011.11152, Section 3.

    >>> import torch, weightdecay
    >>> weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    >>> weight.grad = torch.tensor([0.0, 2.0])
    >>> optimizer = weightdecay.SGDS([weight], lr=0.1, momentum=0.9, weight_decay=0.0)
    >>> optimizer.step()
    >>> reading = read(optimizer)
    >>> round(reading.effective_lr, 6), reading.grad_norm
    (1.0, 2.0)
    """
    if not isinstance(optimizer, Optimizer):
        return _read_other(unwrapped(optimizer))
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


def _read_other(optimizer: torch.optim.Optimizer) -> Reading:
    live = [(p, group) for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    handle = Handle.of(optimizer)
    spread = Spread([p for group in optimizer.param_groups for p in group["params"]], handle and handle.process_group)
    bundle = Bundle()
    rows = [
        [bundle.add(x) for x in (norm(real(gradient_piece(p))), norm(real(piece(p))), *_moment(optimizer, p))]
        for p, _ in live
    ]
    numbers = bundle.read()
    sums = torch.zeros(4, dtype=torch.float64)
    for (p, group), places in zip(live, rows, strict=True):
        grad, weight, second, t = (numbers[i] for i in places)
        corrected = 1 - group["betas"][1] ** t if "betas" in group and t > 0 else math.nan
        facts = [grad**2, weight**2, second / corrected if corrected else math.nan, float(piece(p).numel())]
        sums += torch.tensor(facts, dtype=torch.float64) / spread.copies(p)
    grad, weight, second, count = spread.sum(sums).tolist()
    attached = None if handle is None else handle.mean_square
    mean_square = second / count if attached is None and count else attached
    group = optimizer.param_groups[0]
    unknown = mean_square is None or math.isnan(mean_square)
    gain = gain_of(gain_name(optimizer), group, None if unknown else mean_square)
    effective = math.nan if gain is None or not live else float(lr_of(group)) * float(gain)
    return Reading(effective, math.sqrt(grad), math.sqrt(weight))


def _moment(optimizer: torch.optim.Optimizer, param: torch.Tensor) -> list[object]:
    return second_moment(optimizer.state.get(param, {}))
