"""What a step must know of the whole model before any weight moves, in one reduction over it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from weightdecay.decay import Number
from weightdecay.engine.buckets import Plan, versions
from weightdecay.optim import scalars
from weightdecay.optim.base import Optimizer
from weightdecay.optim.parameters import working_dtype
from weightdecay.optim.reference import gather, not_finite
from weightdecay.optim.scalars import choose
from weightdecay.optim.sharding import Spread, is_sharded, piece

V = "exp_avg_sq"
"""The state whose sum follows from the norms of the gradients."""


@dataclass
class Facts:
    """Python numbers on the CPU; 0-d tensors on an accelerator, where nothing is waited for."""

    ok: bool | Tensor = True  # whether the step may be taken
    scale: Number = 1.0  # what every gradient is multiplied by: unscaling and clipping
    mean_square: Number = math.nan  # v̄


Rows = dict[int, tuple[Any, list[Any], Tensor]]
"""Owner, marks and values of tensors, by the owner's id."""


class Account:
    r"""S of every tensor, the sum of its v, from the norms of its gradients; and from these v̄, the mean over the model.

    .. math:: S_t = \beta_2 S_{t-1} + (1-\beta_2)\,c_t^2\|g_t\|^2 = \textstyle\sum v_t, \qquad
              \bar v_t = \sum_i \frac{S_{t,i}}{1-\beta_{2,i}^{t_i}} \Big/ \sum_i n_i

    where c_t is what all gradients are multiplied by. It serves the engines and :func:`weightdecay.attach`.

    What is remembered of a tensor belongs to its *owner*, an object known by identity (v itself, where it can be seen),
    as long as the owner's *marks* are as they were then: how often it was written, for instance. The caller finds out
    whether anything has changed, and then calls :meth:`bring`.
    """

    def __init__(self, rows: int = 1) -> None:
        self.rows = rows
        """1: S. 2: S and t, where nobody else counts the steps."""
        self.owners: list[Any] = []
        self.values = torch.zeros(rows, 0, dtype=torch.float64, device="cpu")
        self.beta2 = self.taken = self.share = self.elements = torch.empty(0, device="cpu")
        self.uncorrected: Tensor | None = None  # 0 for tensors without bias correction, else 1
        self.aside: Rows = {}
        """The same of tensors that are not in it."""
        self._kept = self._added = torch.empty(0, device="cpu")

    @property
    def sums(self) -> Tensor:
        """S of every tensor before this step."""
        return self.values[0]

    def bring(
        self,
        owners: list[Any],
        marks: Sequence[Sequence[Any]],
        start: Callable[[int], Tensor],
        device: torch.device,
    ) -> None:
        """Let these be the tensors, in this order; ``start(i)`` returns the values of one that is not remembered.

        ``marks`` are columns: one entry a tensor in each. Call :meth:`put_aside` before.
        """
        columns = []
        for i, owner in enumerate(owners):
            known = self.remembered(owner, [column[i] for column in marks])
            columns.append((start(i) if known is None else known).to(device))
        empty = torch.zeros(self.rows, 0, dtype=torch.float64, device=device)
        self.values = torch.stack(columns, 1) if columns else empty
        self.owners = owners

    def constants(self, beta2: Sequence[float], share: Tensor, elements: Tensor) -> None:
        """Take β₂ of every tensor, and for how much of each and of the model this process answers."""
        self.beta2 = torch.tensor(beta2, dtype=torch.float64, device=share.device)
        self.taken = 1 - self.beta2
        self.share, self.elements = share, elements

    def look(self, squares: Tensor, t: Tensor, spread: Spread, found: Tensor | None) -> Tensor:
        """Return :meth:`mine` summed over all processes, in one all-reduce."""
        mine = self.mine(squares, t, found)
        return mine if spread.group is None else spread.sum(mine)

    def mine(self, squares: Tensor, t: Tensor, found: Tensor | None) -> Tensor:
        """Return four numbers over this process's pieces: Σ of what v̂ keeps, Σ of what c = 1 adds, Σ‖g‖² and Σn.

        ``t`` are the step counts after this step; Σ‖g‖² is infinite where a GradScaler ``found`` an inf.
        """
        self._kept, self._added = self.beta2 * self.sums, self.taken * squares
        power = self.beta2**t
        weight = self.share / (1 - (power if self.uncorrected is None else power * self.uncorrected))
        return torch.stack(
            [
                torch.dot(self._kept, weight),
                torch.dot(self._added, weight),
                spoilt(torch.dot(squares, self.share), found),
                self.elements,
            ]
        )

    def after(self, scale: Number) -> Tensor:
        """Return S as this step will leave it, where the gradients are multiplied by ``scale``. To be asked once."""
        plain = isinstance(scale, float) and scale == 1
        return self._kept.add_(self._added if plain else self._added * scale**2)

    def commit(self, values: Tensor, where: bool | Tensor = True) -> None:
        """Remember the values that the step which is now taken has made, for the tensors where it was taken."""
        if isinstance(where, Tensor):
            self.values.copy_(torch.where(where, values, self.values))  # a captured graph goes on with this memory
        else:
            self.values = values

    # ---------------------------------------------------------------- what is remembered aside

    def remembered(self, owner: Any, marks: list[Any], among: Rows | None = None) -> Tensor | None:
        """Return what is remembered (aside); None where nothing is, or the owner has changed since."""
        known = (self.aside if among is None else among).get(id(owner))
        return known[2] if known is not None and known[0] is owner and _unmoved(known[1], marks) else None

    def remember(self, owner: Any, marks: list[Any], values: Tensor) -> None:
        """Put the values of one tensor aside."""
        self.aside[id(owner)] = owner, marks, values

    def put_aside(self, marks: Sequence[Sequence[Any]]) -> None:
        """Put all values aside; ``marks`` are those of the time when they were right."""
        for owner, column, *own in zip(self.owners, self.values.unbind(1), *marks, strict=True):
            self.remember(owner, own, column.clone())
        self.owners, self.values = [], self.values[:, :0].clone()

    def forget(self, alive: Iterable[Any] = ()) -> None:
        """Keep aside only what belongs to these owners, and is not in use."""
        keep, mine = set(map(id, alive)), set(map(id, self.owners))
        self.aside = {key: row for key, row in self.aside.items() if key in keep and key not in mine}


def _unmoved(then: list[Any], now: list[Any]) -> bool:
    """Whether marks are the same: numbers by their value, all else by identity."""
    plain = (int, float)
    return all(a is b or (type(a) in plain and type(b) in plain and a == b) for a, b in zip(then, now, strict=True))


def marks_of(tensors: Sequence[Tensor]) -> list[Any]:
    """Return how often each tensor has been written; where that is not counted, a mark that nothing equals."""
    seen = versions(tensors)
    return seen if len(seen) == len(tensors) else [object() for _ in tensors]


class MeanSquare:
    r"""Finds the facts of each step.

    For a method whose v is linear in g², the sum of v over a tensor follows from the norms of its gradients
    (:class:`Account`), and so does the clipping coefficient: one pass over the gradients and one all-reduce give v̄, the
    norm and whether all is finite. S travels in checkpoints as ``v_sum``. Other methods
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
        self.betas: list[Number] = []
        self.memory = Account()
        self.norms = Norms()
        self._after: tuple[Tensor, bool | Tensor] | None = None
        self._shares: tuple[tuple[int, int], Tensor, Tensor] | None = None

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
        host, coupled, clips = plan.host, optimizer.seen.coupled, optimizer.max_grad_norm is not None
        self._after = None
        if not (coupled or clips or optimizer.nonfinite == "raise"):
            self._drop()
            ok = True if found is None else found == 0
            return Facts(ok=bool(ok) if host else ok, scale=unscale)
        linear = coupled and optimizer.linear_in_squares and optimizer.moments is None and V in optimizer.state_names
        # Over the groups, not the members: every process must choose the same reduction, whatever gradients it holds.
        if linear and not optimizer.seen.enters:
            return self._linear(optimizer, plan, unscale, found, host)
        self._drop()
        return self._general(optimizer, plan, unscale, found, host, look_ahead, in_place)

    def commit(self) -> None:
        """Remember what the step that is now taken has made of v."""
        if self._after is None:
            return
        after, ok = self._after
        self.memory.commit(after, ok if isinstance(ok, Tensor) else True)
        self.versions, self._after = versions(self.vs), None

    def _linear(self, optimizer: Optimizer, plan: Plan, unscale: Number, found: Tensor | None, host: bool) -> Facts:
        self._bring(optimizer, plan)
        total = self.memory.look(self.norms.of(plan), plan.counts() + 1, optimizer.spread, found)
        old, new, square, count = total.tolist() if host else total.unbind()
        facts = Facts(ok=math.isfinite(square) if host else torch.isfinite(square))
        facts.scale = clip(optimizer, unscale, square**0.5)
        refuse_or_count(optimizer, facts)
        mean = (old + facts.scale**2 * new) / count if not host or count else 0.0
        facts.mean_square = torch.where(facts.ok, mean, 0.0) if isinstance(facts.ok, Tensor) else mean
        self._after = self.memory.after(facts.scale).unsqueeze(0), facts.ok
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
        facts, device, coupled = Facts(scale=unscale), plan.device, optimizer.seen.coupled
        ok = torch.ones((), dtype=torch.bool, device=device)
        # Made once for a plan: to bring numbers from the host to a device in every step would be to wait for it.
        key = plan.stamp, optimizer.seen.changes
        if self._shares is None or self._shares[0] != key:
            share = shares(plan)
            averaged = [float(bucket.group.averages) for bucket in plan.buckets for _ in bucket.params]
            self._shares = key, share, elements(plan, share * share.new_tensor(averaged))
        _, share, count = self._shares
        if in_place or optimizer.max_grad_norm is not None or not coupled:
            norm = optimizer.spread.sum(spoilt(torch.dot(self.norms.of(plan), share), found).reshape(1))[0] ** 0.5
            ok = torch.isfinite(norm)  # the same in every process, so that none waits for another below
            facts.scale = clip(optimizer, unscale, norm.item() if host else norm)
        if coupled and (not host or bool(ok)):
            mine = look_ahead(facts.scale)
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
        self.vs = [piece(memory[V]) for memory in plan.memories()]
        marks = marks_of(self.vs)
        self.versions = versions(self.vs)
        self.memory.bring(self.vs, [marks], lambda i: self.vs[i].sum(dtype=torch.float64).reshape(1), plan.device)
        states = (memory for memory in optimizer.state.values() if isinstance(memory, dict) and V in memory)
        self.memory.forget(piece(memory[V]) for memory in states)
        self._constants(plan, betas)
        self.stamp = plan.stamp

    def _constants(self, plan: Plan, betas: list[Number]) -> None:
        each = [float(beta) for beta, bucket in zip(betas, plan.buckets, strict=True) for _ in bucket.params]
        share = shares(plan)
        self.memory.constants(each, share, elements(plan, share))
        self.betas = betas

    def _put_aside(self) -> None:
        known = len(self.versions) == len(self.vs)
        self.memory.put_aside([self.versions if known else [object() for _ in self.vs]])
        self.stamp, self.vs, self.versions = -1, [], []

    def _drop(self) -> None:
        """Forget S: this step moves v without keeping account of it."""
        if self.vs or self.memory.aside:
            self._put_aside()
            self.memory.forget()

    def values(self, optimizer: Optimizer) -> dict[int, float]:
        """Return S of every tensor of which it is known, by its place in the model; not of a piece of a tensor."""
        self._put_aside()
        found: dict[int, Tensor] = {}
        for i, p in enumerate(p for group in optimizer.param_groups for p in group["params"]):
            v = optimizer.state[p].get(V) if p in optimizer.state and not is_sharded(p) else None
            known = None if v is None else self.memory.remembered(v, marks_of([v]))
            if known is not None:
                found[i] = known[0]
        totals = torch.stack([*found.values()]).tolist() if found else []
        return dict(zip(found, totals, strict=True))

    def take(self, optimizer: Optimizer, sums: dict[int, float]) -> None:
        """Go on from what :meth:`values` returned."""
        for i, p in enumerate(p for group in optimizer.param_groups for p in group["params"]):
            v = optimizer.state[p].get(V) if p in optimizer.state and not is_sharded(p) else None
            if v is not None and i in sums:
                self.memory.remember(v, marks_of([v]), torch.tensor([sums[i]], dtype=torch.float64, device=v.device))


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
            members = gather(optimizer, optimizer.seen.groups)
            raise not_finite(optimizer, next((m for m in members if not optimizer.finite(m.grad)), None))
        facts.ok = True
    elif isinstance(facts.ok, Tensor):
        optimizer.count("skipped", ~facts.ok)
    elif not facts.ok:
        optimizer.count("skipped", True)


def spoilt(total: Tensor, found: Tensor | None) -> Tensor:
    """Return the total, infinite where a GradScaler found an inf in this process: the sum tells it to the others."""
    return total if found is None else torch.where(found == 0, total, math.inf)


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
    """‖g‖² of every tensor: one read of each, and nothing written."""

    def __init__(self) -> None:
        self.stamp = -1
        self.alike = False  # whether all are of one type, and on the CPU
        self.small: list[list[int]] = []
        self.large: list[int] = []
        self.lengths = torch.empty(0, device="cpu")
        self.back: Tensor | None = None

    def of(self, plan: Plan) -> Tensor:
        """Return ‖g‖² of this process's piece of every tensor of the plan, in the order of the buckets, float64."""
        grads = [grad for bucket in plan.buckets for grad in bucket.grads]
        return self.squares(grads, plan.device, plan.stamp)

    def squares(self, grads: list[Tensor], device: torch.device, stamp: int) -> Tensor:
        """Return ‖g‖² of each gradient, float64, on the device. ``stamp`` changes with their number and sizes."""
        if not grads:
            return torch.zeros(0, dtype=torch.float64, device=device)
        if stamp == self.stamp:
            try:
                return self._squares(grads, device)
            except RuntimeError:  # another shape of as many elements, or another device: they do not join any more
                self.stamp = -1
        self._sort(grads, device)
        self.stamp = stamp
        return self._squares(grads, device)

    def _squares(self, grads: list[Tensor], device: torch.device) -> Tensor:
        if not self.alike:
            return squares(grads, device)
        parts = []
        if self.small:
            rows = [_join([grads[i] for i in row]) for row in self.small]
            joined = (rows[0] if len(rows) == 1 else torch.cat(rows)).double()
            parts.append(torch.segment_reduce(joined.square(), "sum", lengths=self.lengths, unsafe=True))
        if self.large:
            parts.append(squares([grads[i] for i in self.large], device))
        found = parts[0] if len(parts) == 1 else torch.cat(parts)
        return found if self.back is None else found[self.back]

    def _sort(self, grads: Sequence[Tensor], device: torch.device) -> None:
        one_kind = len({(grad.device, grad.dtype) for grad in grads}) == 1
        self.alike = one_kind and scalars.readable(grads[0].device) and scalars.readable(device)
        sizes = [grad.numel() for grad in grads]
        # Those that differ in their first dimension only are joined as they are: ten times as fast as to flatten each.
        rows: dict[Any, list[int]] = {}
        for i, (grad, size) in enumerate(zip(grads, sizes, strict=True)):
            if size <= SMALL:
                rows.setdefault((grad.dim(), grad.shape[1:]), []).append(i)
        self.small = list(rows.values())
        self.large = [i for i, size in enumerate(sizes) if size > SMALL]
        small = [i for row in self.small for i in row]
        self.lengths = torch.tensor([sizes[i] for i in small], dtype=torch.int64, device="cpu")
        order = [*small, *self.large]
        back = torch.argsort(torch.tensor(order, dtype=torch.int64, device="cpu"))
        self.back = None if order == sorted(order) else back


def _join(tensors: list[Tensor]) -> Tensor:
    """Return all elements of tensors that differ at most in their first dimension, one tensor after the other."""
    return (torch.cat(tensors) if tensors[0].dim() else torch.stack(tensors)).reshape(-1)


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
