"""What a step must know of the whole model before any weight moves, in one reduction over it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from weightdecay.decay import Decay, Number
from weightdecay.engine.norms import squares
from weightdecay.optim import scalars
from weightdecay.optim.base import Optimizer
from weightdecay.optim.member import Group, Member, decays
from weightdecay.optim.reference import not_finite
from weightdecay.optim.scalars import choose
from weightdecay.optim.sharding import piece


@dataclass
class Facts:
    """Python numbers on the CPU; 0-d tensors on an accelerator, where nothing is waited for."""

    ok: bool | Tensor = True  # whether the step may be taken
    scale: Number = 1.0  # what every gradient is multiplied by: unscaling and clipping
    mean_square: Number = math.nan  # v̄


class Accountant:
    r"""Finds the facts of each step.

    For a method whose v is linear in g², the sum of v over a tensor follows from the norms of its gradients,

    .. math:: S_t = \beta_2 S_{t-1} + (1-\beta_2)\,c_t^2\|g_t\|^2 = \textstyle\sum v_t, \qquad
              \bar v_t = \sum_i \frac{S_{t,i}}{1-\beta_{2,i}^{t_i}} \Big/ \sum_i n_i

    where c_t is the clipping coefficient, itself a function of the same norms: one pass over the gradients and one
    all-reduce give v̄, the norm and whether all is finite. S travels in checkpoints as ``v_sum``. Other methods
    (a maximum, a sign; a gradient coupled with the weight by L2) look ahead: they compute v_t on copies, from which
    follows too whether all is finite. In one process on the CPU the gradients are checked first, and v_t is computed in
    place.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.members: list[Member] = []
        self.key: Any = None
        self.sums = self.counts = self.beta2 = self.share = torch.empty(0)
        self.elements: Tensor = torch.empty(0)

    def facts(
        self, members: list[Member], look_ahead: Callable[[Number], Tensor | None], in_place: bool = False
    ) -> Facts:
        """Return the facts; ``look_ahead(scale)`` returns Σ v̂ over this process's pieces, each element counted once.

        ``in_place`` says that it will change the state: it is then called only when the step will be taken.
        """
        optimizer, unscale = self.optimizer, inverse(getattr(self.optimizer, "grad_scale", None))
        found = getattr(optimizer, "found_inf", None)
        found = None if found is None else found.reshape(())
        host = all(scalars.readable(m.weight.device) for m in members)
        coupled, clips = optimizer.coupled, optimizer.max_grad_norm is not None
        if not (coupled or clips or optimizer.nonfinite == "raise"):
            self._forget(members)
            return Facts(ok=True if found is None else self._read(found == 0, host), scale=unscale)
        linear = coupled and optimizer.linear_in_squares and optimizer.moments is None
        # Over the groups, not the members: every process must choose the same reduction, whatever gradients it holds.
        if linear and not any(enters_gradient(group) for group in optimizer.param_groups):
            return self._linear(members, unscale, found, host)
        self._forget(members)
        return self._general(members, unscale, found, host, look_ahead, in_place)

    def _linear(self, members: list[Member], unscale: Number, found: Tensor | None, host: bool) -> Facts:
        self._recall(members)
        squares = self._squares(members)
        counts = self.counts + 1
        kept, added = self.beta2 * self.sums, (1 - self.beta2) * squares
        weight = self.share / (1 - self.beta2**counts)
        mine = (torch.dot(kept, weight), torch.dot(added, weight), spoilt(torch.dot(squares, self.share), found))
        total = self.optimizer.spread.sum(torch.stack([*mine, self.elements]))
        old, new, square, count = total.tolist() if host else total.unbind()
        facts = Facts(ok=math.isfinite(square) if host else torch.isfinite(square))
        facts.scale = self._clip(unscale, square**0.5)
        self._refuse_or_count(facts, members)
        mean = (old + facts.scale**2 * new) / count if not host or count else 0.0
        facts.mean_square = mean
        after = kept.add_(added * facts.scale**2)
        if facts.ok is True:
            self.sums, self.counts = after, counts
        elif isinstance(facts.ok, Tensor):
            # In place: a captured graph goes on with the same memory.
            self.sums.copy_(torch.where(facts.ok, after, self.sums))
            self.counts.copy_(torch.where(facts.ok, counts, self.counts))
            facts.mean_square = torch.where(facts.ok, mean, 0.0)
        return facts

    def _general(
        self,
        members: list[Member],
        unscale: Number,
        found: Tensor | None,
        host: bool,
        look_ahead: Callable[[Number], Tensor | None],
        in_place: bool,
    ) -> Facts:
        optimizer, facts = self.optimizer, Facts(scale=unscale)
        copies = [optimizer.spread.copies(m.param) for m in members]
        device = self._device(members)
        ok = torch.ones((), dtype=torch.bool, device=device)
        if in_place or optimizer.max_grad_norm is not None or not optimizer.coupled:
            share = [1 / k for k in copies]
            squares = self._squares(members)
            total = sum((q * s for q, s in zip(squares.unbind(), share, strict=True)), squares.new_zeros(()))
            norm = optimizer.spread.sum(spoilt(total, found).reshape(1))[0] ** 0.5
            ok = torch.isfinite(norm)  # the same in every process, so that none waits for another below
            facts.scale = self._clip(unscale, norm.item() if host else norm)
        if optimizer.coupled and (not host or bool(ok)):
            mine = look_ahead(facts.scale)
            count = sum(m.weight.numel() / k for m, k in zip(members, copies, strict=True))
            zero = torch.zeros((), dtype=torch.float64, device=device)
            mine = spoilt(zero if mine is None else mine, found)
            total = optimizer.spread.sum(torch.stack([mine, zero + count]))
            ok = ok if in_place else ok & torch.isfinite(total[0])
            mean = total[0] / total[1].clamp(min=1)
            facts.mean_square = mean.item() if host else torch.where(ok, mean, 0.0)
        facts.ok = self._read(ok, host)
        self._refuse_or_count(facts, members)
        return facts

    def _clip(self, unscale: Number, norm: Number) -> Number:
        limit = self.optimizer.max_grad_norm
        if limit is None:
            return unscale
        norm = norm * unscale
        if isinstance(norm, Tensor) and isinstance(self.optimizer.grad_norm, Tensor):
            self.optimizer.grad_norm.copy_(norm)
        else:
            self.optimizer.grad_norm = norm
        ratio = limit / (norm + 1e-6)  # as torch.nn.utils.clip_grad_norm_
        return unscale * choose(ratio < 1, ratio, 1.0)

    def _refuse_or_count(self, facts: Facts, members: Sequence[Member]) -> None:
        if self.optimizer.nonfinite == "raise":
            if not bool(facts.ok):
                raise not_finite(self.optimizer, next((m for m in members if not self.optimizer.finite(m.grad)), None))
            facts.ok = True
        elif isinstance(facts.ok, Tensor):
            self.optimizer.count("skipped", ~facts.ok)
        else:
            self.optimizer.count("skipped", not facts.ok)

    @staticmethod
    def _read(ok: Tensor, host: bool) -> bool | Tensor:
        return bool(ok) if host else ok

    def _device(self, members: Sequence[Member]) -> torch.device:
        if members:
            return members[0].weight.device
        return next((p.device for g in self.optimizer.param_groups for p in g["params"]), torch.device("cpu"))

    def _squares(self, members: Sequence[Member]) -> Tensor:
        """Return ‖g‖² of this process's piece of every tensor, float64."""
        if not members:
            return torch.zeros(0, dtype=torch.float64, device=self._device(members))
        return squares([m.grad for m in members], members[0].weight.device)

    # ---------------------------------------------------------------- what is remembered from step to step

    def _recall(self, members: list[Member]) -> None:
        """Bring S and the constants of these tensors, in their order."""
        key = [(id(m.param), m.group["betas"][1]) for m in members]
        if key == self.key:
            self.members = members
            return
        self.settle()
        device, copies = self._device(members), self.optimizer.spread.copies
        share = [1 / copies(m.param) for m in members]
        self.key, self.members = key, members
        self.sums = (
            torch.stack([_sum_of(m, device) for m in members])
            if members
            else torch.zeros(0, dtype=torch.float64, device=device)
        )
        self.beta2 = torch.tensor([beta for _, beta in key], dtype=torch.float64, device=device)
        self.counts = _counts(members, self.sums)
        self.share = torch.tensor(share, dtype=torch.float64, device=device)
        count = sum(m.weight.numel() * s for m, s in zip(members, share, strict=True))
        self.elements = torch.tensor(count, dtype=torch.float64, device=device)

    def settle(self) -> None:
        """Write S into the state of each tensor, and forget it."""
        for m, total in zip(self.members, self.sums.unbind(), strict=True):
            if "step" in m.memory:
                m.memory["v_sum"] = total.clone()
        self.key, self.members, self.sums = None, [], torch.empty(0)

    def _forget(self, members: Sequence[Member]) -> None:
        """Drop S: this step moves v without keeping account of it."""
        self.settle()
        for m in members:
            m.memory.pop("v_sum", None)


def _counts(members: Sequence[Member], like: Tensor) -> Tensor:
    """Return how many steps each tensor has had, float64."""
    if not members:
        return torch.zeros_like(like)
    zero = torch.zeros((), device=like.device)
    return torch.stack([m.memory.get("step", zero) for m in members]).to(device=like.device, dtype=torch.float64)


def _sum_of(m: Member, device: torch.device) -> Tensor:
    """Return Σ v before this step: as remembered, or over the state itself."""
    if "v_sum" in m.memory:
        total: Tensor = m.memory["v_sum"].to(device=device, dtype=torch.float64)
        return total
    if "exp_avg_sq" in m.memory:
        return piece(m.memory["exp_avg_sq"]).double().sum().to(device)
    return torch.zeros((), dtype=torch.float64, device=device)


def spoilt(total: Tensor, found: Tensor | None) -> Tensor:
    """Return the total, infinite where a GradScaler found an inf in this process: the sum tells it to the others."""
    return total if found is None else torch.where(found == 0, total, math.inf)


def enters_gradient(group: Group) -> bool:
    """Whether the group's decay changes the gradient that the moments see."""
    return decays(group) and type(group["decay"]).couple is not Decay.couple


def inverse(scale: Tensor | None) -> Number:
    """Return 1/scale; 1 where there is no scale."""
    if scale is None:
        return 1.0
    return 1 / scalars.host_number(scale.double())
