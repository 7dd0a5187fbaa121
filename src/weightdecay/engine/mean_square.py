"""What a step must know of the whole model before any weight moves, in one reduction over it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from weightdecay.decay import Number
from weightdecay.engine.buckets import Plan, versions
from weightdecay.optim import scalars
from weightdecay.optim.base import Optimizer
from weightdecay.optim.member import Group, decays
from weightdecay.optim.parameters import working_dtype
from weightdecay.optim.reference import gather, not_finite
from weightdecay.optim.scalars import choose
from weightdecay.optim.sharding import is_sharded, piece

V = "exp_avg_sq"
"""The state whose sum follows from the norms of the gradients."""


@dataclass
class Facts:
    """Python numbers on the CPU; 0-d tensors on an accelerator, where nothing is waited for."""

    ok: bool | Tensor = True  # whether the step may be taken
    scale: Number = 1.0  # what every gradient is multiplied by: unscaling and clipping
    mean_square: Number = math.nan  # v̄


class MeanSquare:
    r"""Finds the facts of each step.

    For a method whose v is linear in g², the sum of v over a tensor follows from the norms of its gradients,

    .. math:: S_t = \beta_2 S_{t-1} + (1-\beta_2)\,c_t^2\|g_t\|^2 = \textstyle\sum v_t, \qquad
              \bar v_t = \sum_i \frac{S_{t,i}}{1-\beta_{2,i}^{t_i}} \Big/ \sum_i n_i

    where c_t is the clipping coefficient, itself a function of the same norms: one pass over the gradients and one
    all-reduce give v̄, the norm and whether all is finite. S travels in checkpoints as ``v_sum``. Other methods
    (a maximum, a sign; a gradient coupled with the weight by L2) look ahead: they compute v_t on copies, from which
    follows too whether all is finite. In one process on the CPU the gradients are checked first, and v_t is computed in
    place.

    S is a memory of v, and v is the truth: a v that somebody else has written, or put in the place of the one that S
    was summed over, is summed anew.
    """

    def __init__(self) -> None:
        self.stamp = -1
        self.vs: list[Tensor] = []  # v of every tensor of the plan
        self.versions: list[Any] = []  # how often each had been written when S was summed over it
        self.sums = self.beta2 = self.share = self.elements = torch.empty(0, device="cpu")
        self.betas: list[Number] = []
        self.aside: dict[int, tuple[Tensor, Any, Tensor]] = {}  # v, its version and S of tensors that are not in it
        self.norms = Norms()
        self._after: tuple[Tensor, bool | Tensor] | None = None

    def facts(
        self,
        optimizer: Optimizer,
        plan: Plan,
        look_ahead: Callable[[Number], Tensor | None],
        in_place: bool = False,
    ) -> Facts:
        """Return the facts; ``look_ahead(scale)`` returns Σ v̂ over this process's pieces, each element counted once.

        ``in_place`` says that it will change the state: it is then called only when the step will be taken.
        """
        unscale = inverse(getattr(optimizer, "grad_scale", None))
        found = getattr(optimizer, "found_inf", None)
        found = None if found is None else found.reshape(())
        host = scalars.readable(plan.device) and all(scalars.readable(b.counts.device) for b in plan.buckets)
        coupled, clips = optimizer.coupled, optimizer.max_grad_norm is not None
        self._after = None
        if not (coupled or clips or optimizer.nonfinite == "raise"):
            self._drop()
            ok = True if found is None else found == 0
            return Facts(ok=bool(ok) if host else ok, scale=unscale)
        linear = coupled and optimizer.linear_in_squares and optimizer.moments is None and V in optimizer.state_names
        # Over the groups, not the members: every process must choose the same reduction, whatever gradients it holds.
        if linear and not any(enters_gradient(reader.seen) for reader in optimizer.readers):
            return self._linear(optimizer, plan, unscale, found, host)
        self._drop()
        return self._general(optimizer, plan, unscale, found, host, look_ahead, in_place)

    def commit(self) -> None:
        """Remember what the step that is now taken has made of v."""
        if self._after is None:
            return
        after, ok = self._after
        if isinstance(ok, Tensor):
            self.sums.copy_(torch.where(ok, after, self.sums))  # in place: a captured graph goes on with this memory
        else:
            self.sums = after
        self.versions, self._after = versions(self.vs), None

    def _linear(self, optimizer: Optimizer, plan: Plan, unscale: Number, found: Tensor | None, host: bool) -> Facts:
        self._bring(optimizer, plan)
        squares = self.norms.squares(plan)
        kept, added = self.beta2 * self.sums, (1 - self.beta2) * squares
        weight = self.share / (1 - self.beta2 ** (plan.counts() + 1))
        mine = (torch.dot(kept, weight), torch.dot(added, weight), spoilt(torch.dot(squares, self.share), found))
        total = optimizer.spread.sum(torch.stack([*mine, self.elements]))
        old, new, square, count = total.tolist() if host else total.unbind()
        facts = Facts(ok=math.isfinite(square) if host else torch.isfinite(square))
        facts.scale = clip(optimizer, unscale, square**0.5)
        refuse_or_count(optimizer, facts)
        mean = (old + facts.scale**2 * new) / count if not host or count else 0.0
        facts.mean_square = torch.where(facts.ok, mean, 0.0) if isinstance(facts.ok, Tensor) else mean
        self._after = kept.add_(added * facts.scale**2), facts.ok
        return facts

    def _general(
        self,
        optimizer: Optimizer,
        plan: Plan,
        unscale: Number,
        found: Tensor | None,
        host: bool,
        look_ahead: Callable[[Number], Tensor | None],
        in_place: bool,
    ) -> Facts:
        facts, device = Facts(scale=unscale), plan.device
        ok = torch.ones((), dtype=torch.bool, device=device)
        share = shares(plan)
        if in_place or optimizer.max_grad_norm is not None or not optimizer.coupled:
            norm = optimizer.spread.sum(spoilt(torch.dot(self.norms.squares(plan), share), found).reshape(1))[0] ** 0.5
            ok = torch.isfinite(norm)  # the same in every process, so that none waits for another below
            facts.scale = clip(optimizer, unscale, norm.item() if host else norm)
        if optimizer.coupled and (not host or bool(ok)):
            mine = look_ahead(facts.scale)
            count = elements(plan, share)
            mine = spoilt(torch.zeros_like(count) if mine is None else mine, found)
            total = optimizer.spread.sum(torch.stack([mine, count]))
            ok = ok if in_place else ok & torch.isfinite(total[0])
            mean = total[0] / total[1].clamp(min=1)
            facts.mean_square = mean.item() if host else torch.where(ok, mean, 0.0)
        facts.ok = bool(ok) if host else ok
        refuse_or_count(optimizer, facts)
        return facts

    # ---------------------------------------------------------------- what is remembered from step to step

    def _bring(self, optimizer: Optimizer, plan: Plan) -> None:
        """Bring S and the constants of the tensors of the plan, in its order."""
        betas = [bucket.group["betas"][1] for bucket in plan.buckets]
        if plan.stamp == self.stamp and versions(self.vs) == self.versions:
            if not all(a is b or a == b for a, b in zip(betas, self.betas, strict=True)):
                self._constants(plan, betas)
            return
        self._put_aside()
        memories = plan.memories()
        self.vs = [piece(memory[V]) for memory in memories]
        self.versions = versions(self.vs)
        known = self.versions if len(self.versions) == len(self.vs) else [None] * len(self.vs)
        sums = [self._sum(v, seen, plan.device) for v, seen in zip(self.vs, known, strict=True)]
        self.sums = torch.stack(sums) if sums else torch.zeros(0, dtype=torch.float64, device=plan.device)
        alive = {
            id(piece(memory[V])) for memory in optimizer.state.values() if isinstance(memory, dict) and V in memory
        }
        mine = set(map(id, self.vs))
        self.aside = {key: row for key, row in self.aside.items() if key in alive and key not in mine}
        self._constants(plan, betas)
        self.stamp = plan.stamp

    def _constants(self, plan: Plan, betas: list[Number]) -> None:
        device = plan.device
        each = [float(beta) for beta, bucket in zip(betas, plan.buckets, strict=True) for _ in bucket.params]
        self.betas, self.beta2 = betas, torch.tensor(each, dtype=torch.float64, device=device)
        self.share = shares(plan)
        self.elements = elements(plan, self.share)

    def _sum(self, v: Tensor, version: Any, device: torch.device) -> Tensor:
        """Return Σ v before this step: as remembered where v is as it was then, else over v itself."""
        known = self.aside.get(id(v))
        if known is not None and known[0] is v and known[1] == version and version is not None:
            return known[2].to(device)
        return v.sum(dtype=torch.float64).to(device)

    def _put_aside(self) -> None:
        if len(self.versions) == len(self.vs):
            rows = zip(self.vs, self.versions, self.sums.unbind(), strict=True)
            self.aside |= {id(v): (v, version, total.clone()) for v, version, total in rows}
        self.stamp, self.vs, self.versions, self.sums = -1, [], [], torch.empty(0, device="cpu")

    def _drop(self) -> None:
        """Forget S: this step moves v without keeping account of it."""
        if self.vs or self.aside:
            self._put_aside()
            self.aside = {}

    def values(self, optimizer: Optimizer) -> dict[int, float]:
        """Return S of every tensor of which it is known, by its place in the model; not of a piece of a tensor."""
        self._put_aside()
        found: dict[int, Tensor] = {}
        for i, p in enumerate(p for group in optimizer.param_groups for p in group["params"]):
            v = optimizer.state[p].get(V) if p in optimizer.state and not is_sharded(p) else None
            known = self.aside.get(id(v))
            if known is not None and known[0] is v and versions([v]) == [known[1]]:
                found[i] = known[2]
        totals = torch.stack([*found.values()]).tolist() if found else []
        return dict(zip(found, totals, strict=True))

    def take(self, optimizer: Optimizer, sums: dict[int, float]) -> None:
        """Go on from what :meth:`values` returned."""
        for i, p in enumerate(p for group in optimizer.param_groups for p in group["params"]):
            v = optimizer.state[p].get(V) if p in optimizer.state and not is_sharded(p) else None
            if v is not None and i in sums:
                (version,) = versions([v])
                self.aside[id(v)] = v, version, torch.tensor(sums[i], dtype=torch.float64, device=v.device)


def shares(plan: Plan) -> Tensor:
    """Return for every tensor the part of it that this process answers for: 1 over the number of its copies."""
    each = [1 / bucket.copies for bucket in plan.buckets for _ in bucket.params]
    return torch.tensor(each, dtype=torch.float64, device=plan.device)


def elements(plan: Plan, share: Tensor) -> Tensor:
    """Return the number of elements that this process answers for."""
    sizes = [weight.numel() for bucket in plan.buckets for weight in bucket.weight.tensors]
    return torch.dot(torch.tensor(sizes, dtype=torch.float64, device=plan.device), share)


def clip(optimizer: Optimizer, unscale: Number, norm: Number) -> Number:
    """Return what the gradients are multiplied by, and keep their norm, where the optimizer clips."""
    limit = optimizer.max_grad_norm
    if limit is None:
        return unscale
    norm = norm * unscale
    if isinstance(norm, Tensor) and isinstance(optimizer.grad_norm, Tensor):
        optimizer.grad_norm.copy_(norm)
    else:
        optimizer.grad_norm = norm
    ratio = limit / (norm + 1e-6)  # as torch.nn.utils.clip_grad_norm_
    return unscale * choose(ratio < 1, ratio, 1.0)


def refuse_or_count(optimizer: Optimizer, facts: Facts) -> None:
    """Raise or count, as the optimizer wants it, where a gradient is not finite."""
    if optimizer.nonfinite == "raise":
        if not bool(facts.ok):
            members = gather(optimizer, [reader.seen for reader in optimizer.readers])
            raise not_finite(optimizer, next((m for m in members if not optimizer.finite(m.grad)), None))
        facts.ok = True
    elif isinstance(facts.ok, Tensor):
        optimizer.count("skipped", ~facts.ok)
    else:
        optimizer.count("skipped", not facts.ok)


def spoilt(total: Tensor, found: Tensor | None) -> Tensor:
    """Return the total, infinite where a GradScaler found an inf in this process: the sum tells it to the others."""
    return total if found is None else torch.where(found == 0, total, math.inf)


def enters_gradient(group: Group) -> bool:
    """Whether the group's decay changes the gradient that the moments see."""
    return decays(group) and bool(group["decay"].enters_gradient)


def inverse(scale: Tensor | None) -> Number:
    """Return 1/scale; 1 where there is no scale."""
    if scale is None:
        return 1.0
    return 1 / scalars.host_number(scale.double().reshape(()))


# ---------------------------------------------------------------- how large the gradients are

CHUNK = 1 << 22
"""Elements of a float32 dot product: up to this length its rounding stays under 1e-5."""
SMALL = 1 << 11
"""Elements up to which tensors are put into one before they are summed: a call for each costs more than the copy."""


class Norms:
    """‖g‖² of every tensor of a plan: one read of each, and nothing written."""

    def __init__(self) -> None:
        self.stamp = -1
        self.small: list[int] = []
        self.large: list[int] = []
        self.lengths = self.back = torch.empty(0, device="cpu")

    def squares(self, plan: Plan) -> Tensor:
        """Return ‖g‖² of this process's piece of every tensor, in the order of the buckets, float64."""
        grads = [grad for bucket in plan.buckets for grad in bucket.grad.tensors]
        if not grads:
            return torch.zeros(0, dtype=torch.float64, device=plan.device)
        devices = {bucket.counts.device for bucket in plan.buckets}
        kinds = {bucket.dtype for bucket in plan.buckets}
        if len(devices) > 1 or len(kinds) > 1 or not scalars.readable(plan.device):
            return squares(grads, plan.device)
        if plan.stamp != self.stamp:
            self._sort(grads)
            self.stamp = plan.stamp
        parts = []
        if self.small:
            joined = torch._C._nn.flatten_dense_tensors([grads[i] for i in self.small]).double()
            parts.append(torch.segment_reduce(joined.square(), "sum", lengths=self.lengths, unsafe=True))
        if self.large:
            parts.append(torch.stack([_dot(grads[i]) for i in self.large]).double())
        return parts[0] if len(parts) == 1 else torch.cat(parts)[self.back]

    def _sort(self, grads: Sequence[Tensor]) -> None:
        sizes = [grad.numel() for grad in grads]
        self.small = [i for i, size in enumerate(sizes) if size <= SMALL]
        self.large = [i for i, size in enumerate(sizes) if size > SMALL]
        self.lengths = torch.tensor([sizes[i] for i in self.small], dtype=torch.int64, device="cpu")
        self.back = torch.argsort(torch.tensor([*self.small, *self.large], dtype=torch.int64, device="cpu"))


def squares(tensors: Sequence[Tensor], device: torch.device) -> Tensor:
    """Return ‖x‖² of each tensor, float64, on the device; the tensors may be of several devices and types."""
    kinds: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for i, tensor in enumerate(tensors):
        kinds.setdefault((tensor.device, tensor.dtype), []).append(i)
    values: list[Tensor] = [torch.empty(0, device="cpu")] * len(tensors)
    for (where, dtype), places in kinds.items():
        chosen = [tensors[i] for i in places]
        wide = working_dtype(chosen[0])
        if where.type != "cpu":
            found = torch.stack(torch._foreach_norm(chosen, 2, wide)).double().square()
        else:
            # A dot product takes two thirds of the time of a norm.
            found = torch.stack([_dot(x if dtype == wide else x.to(wide)) for x in chosen]).double()
        if len(kinds) == 1 and where == device:
            return found
        for i, value in zip(places, found.to(device, non_blocking=True).unbind(), strict=True):
            values[i] = value
    return torch.stack(values) if values else torch.zeros(0, dtype=torch.float64, device=device)


def _dot(tensor: Tensor) -> Tensor:
    x = tensor if tensor.dim() == 1 else _line(tensor)
    if x.numel() <= CHUNK:
        return torch.dot(x, x)
    return torch.stack([torch.dot(part, part) for part in torch.split(x, CHUNK)]).sum()


def _line(tensor: Tensor) -> Tensor:
    """Return the elements in the order of memory, sharing it where there are no holes between them."""
    if tensor.is_contiguous():
        return tensor.view(-1)
    if torch.ops.aten.is_non_overlapping_and_dense(tensor):
        return tensor.as_strided((tensor.numel(),), (1,))
    return tensor.reshape(-1)
