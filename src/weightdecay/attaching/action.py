"""What an attached decay does to the weights in one step."""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from weightdecay.attaching.groups import Groups
from weightdecay.attaching.lineup import Lineup, real
from weightdecay.attaching.moves import Move, Moved, Moves, refuse_gain
from weightdecay.attaching.options import Options
from weightdecay.attaching.refusals import Undeclared, refuse_scaled, refuse_sparse
from weightdecay.attaching.squares import Squares
from weightdecay.attaching.taken import Taken
from weightdecay.attaching.tally import Four
from weightdecay.decay import Number, Step
from weightdecay.engine.buckets import versions
from weightdecay.optim import scalars
from weightdecay.optim.alarm import LARGE, PullAlarm
from weightdecay.optim.member import Group, decays
from weightdecay.optim.parameters import low_precision
from weightdecay.optim.reference import largest
from weightdecay.optim.scalars import clip
from weightdecay.optim.sharding import Spread

UNDECLARED: Any = Undeclared()
NO_COUNTS = torch.empty(0, device="cpu")
Facts = Callable[[Tensor | None, bool], tuple[Number, bool | Tensor]]
"""From a GradScaler's finding, and whether numbers may be read: v̄, and whether all is well."""


class Cover:
    """What stands in for λ in the groups of an optimizer while its own step runs."""

    def __init__(self) -> None:
        self.hidden: list[tuple[Group, Any, float]] = []  # the group, λ, and what stands in for it

    def hide(self, group: Group, value: float) -> None:
        """Let ``value`` stand in for the group's λ."""
        value = float(repr(value))  # an object of its own, by which it is known again
        self.hidden.append((group, group["weight_decay"], value))
        group["weight_decay"] = value

    def lift(self) -> None:
        """Put λ back, unless somebody has written another one over what stood in for it."""
        while self.hidden:
            group, strength, value = self.hidden[-1]
            if group.get("weight_decay") is value:
                group["weight_decay"] = strength
            self.hidden.pop()


class Action:
    """Shrinks and moves the weights of one optimizer, step by step."""

    def __init__(self, groups: Groups, counters: dict[str, Number]) -> None:
        self.groups, self.counters = groups, counters
        self.squares, self.lineup, self.moves, self.taken = Squares(), Lineup(), Moves(), Taken()
        self.cover, self.alarm = Cover(), PullAlarm()
        self.mean_square: Number | None = None
        self.pulls: list[Number] = []
        self._measured: tuple[list[Any], list[Any]] = [], []
        self._grads: list[Tensor] | None = None  # in the step itself, which has looked at the lineup already

    # ---------------------------------------------------------------- what a checkpoint brings

    def count_from(self, saved: dict[str, Any]) -> None:
        """Take the counters of a saved group."""
        self.counters = {name: saved.get(name, 0) for name in self.counters}

    def take(self, param: Tensor, memory: Any, options: Options, row: Any, name: str) -> None:
        """Take S and t of one tensor from the checkpoint or from its moments."""
        self._keep_as(options)
        self.squares.take(param, memory, options, row, name)

    def _keep_as(self, options: Options) -> None:
        """Keep account of v as the optimizer keeps it."""
        if options.gain is not None and options.gain.second is not None:
            self.squares.use(options.gain.second)

    # ---------------------------------------------------------------- v̄

    def measure(self, optimizer: torch.optim.Optimizer, spread: Spread, found: Tensor | None, shared: bool) -> Four:
        """Return what this optimizer adds to v̄; where others share it, note which gradients were seen."""
        lineup, reader = self.lineup, self.groups.reader
        assert reader is not None
        grads = lineup.follow(optimizer) if self._grads is None else self._grads
        refuse_scaled(optimizer, reader.decay)
        self._keep_as(reader)
        groups = [options.seen for options in self.groups.options]
        try:
            part = self.squares.measure(optimizer, lineup, grads, groups, spread, found)
        except RuntimeError:  # of a sparse gradient there is no norm; to look for one in every step costs too much
            refuse_sparse(lineup.live, reader.decay)
            raise
        if shared:
            self._measured = [weakref.ref(p.grad) for p in lineup.live], versions([p.grad for p in lineup.live])  # type: ignore[misc]
        return part

    def unchanged(self, optimizer: torch.optim.Optimizer) -> bool:
        """Whether the gradients, as the step has found them, and the moments are those that were measured."""
        grads: list[Any] = [p.grad for p in self.lineup.live]
        seen, written = self._measured
        same_grads = _same(seen, grads) and versions(grads) == written
        return same_grads and self.squares.current(optimizer, self.lineup)

    # ---------------------------------------------------------------- the step

    def before(self, optimizer: torch.optim.Optimizer, alone: Callable[[], bool], facts: Facts) -> None:
        """Shrink the weights, or let the pull ride in the optimizer's kernel, and hide λ."""
        lineup, groups = self.lineup, self.groups
        grads = lineup.follow(optimizer, groups.reads_gradients)
        if not lineup.live and (not groups.reads_mean_square or alone()):
            return
        host = scalars.readable(lineup.device)
        mean_square, ok = self._facts(optimizer, facts, host, grads)
        pulls: list[Number] = []
        clamped: bool | Tensor = False
        for place, (options, members) in enumerate(zip(groups.options, lineup.groups, strict=True)):
            if options.peak_lr is None:
                options.begin()
            if options.uniform:
                pull = self._pull(optimizer, options, mean_square, members) if members.stop > members.start else 0.0
                pull, over = clamp(scalars.choose(ok, pull, 0.0))
            else:
                pull, over = self._move(optimizer, place, mean_square, ok, grads)
            pulls.append(pull)
            clamped = clamped | over
        self._record(optimizer, pulls, ok, clamped)
        for options, members, pull, large in zip(groups.options, lineup.groups, pulls, lineup.large, strict=True):
            if not options.uniform:
                self.cover.hide(options.group, 0.0)
                continue
            carried = _carried(optimizer, options.seen, pull, host)
            self.cover.hide(options.group, carried or 0.0)
            if carried is None:
                shrink(lineup.weights(members), pull, large, steps_by_kernel(optimizer, options.group))

    def after(self, optimizer: torch.optim.Optimizer) -> None:
        """Finish what has waited for the step, and remember what it did. Not before: a step that raises is none."""
        if self.moves.waiting or self.moves.starts:
            by_place: dict[int, list[Moved]] = {}
            with torch.no_grad():
                done = self.moves.after(optimizer)
            for one in done:
                by_place.setdefault(one.place, []).append(one)
            for place, some in by_place.items():
                self.pulls[place], over = together(some)
                self._count("clamped", over)
        self.taken.commit(optimizer)
        self.squares.commit(optimizer)

    def forget(self) -> None:
        """Forget a step that was not taken."""
        self.squares.account.forget_step()
        self.moves.forget()
        self.taken.forget()

    def _move(
        self, optimizer: torch.optim.Optimizer, place: int, mean_square: Number, ok: bool | Tensor, grads: list[Tensor]
    ) -> tuple[Number, bool | Tensor]:
        """Let a decay that is more than a number move a group, as far as it can before the step."""
        lineup, options, members = self.lineup, self.groups.options[place], self.lineup.groups[place]
        if not decays(options.seen):
            return 0.0, False
        if "grad" in options.decay.needs:
            refuse_sparse(lineup.live[members], options.decay, "gradient")
        done = []
        for i in range(members.start, members.stop):
            param, weight = lineup.live[i], real(lineup.weights(slice(i, i + 1))[0])
            gain = functools.partial(self._gain_of_one, options, mean_square, i)
            move = Move(param, weight, grads[i], options, place, gain, self._t(optimizer, options, slice(i, i + 1)))
            done.append(self.moves.before(optimizer, move, ok))
        return together([one for one in done if one is not None])

    def _facts(
        self, optimizer: torch.optim.Optimizer, facts: Facts, host: bool, grads: list[Tensor]
    ) -> tuple[Number, bool | Tensor]:
        """Return v̄ (NaN where nobody reads it) and whether to shrink at all."""
        lineup, found = self.lineup, getattr(optimizer, "found_inf", None)
        if found is not None:
            found = torch.as_tensor(found, device=lineup.device).reshape(())
        reader = self.groups.reader
        if reader is None:
            ok = True if found is None else found == 0
            return math.nan, bool(ok) if host else ok
        refuse_scaled(optimizer, reader.decay)
        self._grads = grads
        try:
            self.mean_square, well = facts(found, host)
        finally:
            self._grads = None  # no gradient is kept
        self.squares.account.note(well, found)
        return self.mean_square, well

    def _record(
        self, optimizer: torch.optim.Optimizer, pulls: list[Number], ok: bool | Tensor, clamped: bool | Tensor
    ) -> None:
        """Keep what the step does: the pull of each group, and the counts. Once a step."""
        self.pulls = pulls
        if any(self.alarm.rows.values()) or not all(isinstance(pull, float) and pull <= LARGE for pull in pulls):
            largest_of = {place: largest(pull) for place, pull in enumerate(pulls)}
            self.alarm.look(type(optimizer).__name__, largest_of, self.groups.of)
        self._count("skipped", ~ok if isinstance(ok, Tensor) else not ok)
        self._count("clamped", clamped)

    def _pull(self, optimizer: torch.optim.Optimizer, options: Options, mean_square: Number, members: slice) -> Number:
        """Return the pull of a group before the clamp: a number, a 0-d tensor, or a vector with one per tensor."""
        group = options.seen
        if not decays(group):
            return 0.0
        step = Step(
            strength=group["weight_decay"],
            lr=group["lr"],
            peak_lr=group["peak_lr"],
            mean_gain=functools.partial(self._mean_gain, options, mean_square, members),
            gain=functools.partial(refuse_gain, options.decay),
            t=self._t(optimizer, options, members),
        )
        pull = options.decay.pull(step)
        return pull if isinstance(pull, Tensor) and pull.dim() else scalars.host_number(pull)

    def _t(self, optimizer: torch.optim.Optimizer, options: Options, members: slice) -> Number:
        if "t" not in options.decay.needs:
            return UNDECLARED  # type: ignore[no-any-return]
        return self.taken.of(optimizer, self.lineup.live[members], options.group, self.lineup.device)

    def _mean_gain(self, options: Options, mean_square: Number, members: slice) -> Number:
        if options.gain is None or "mean_gain" not in options.decay.needs:
            raise TypeError(f"{options.decay!r} asks for the gain, but its needs do not name mean_gain.")
        counts = self.squares.account.steps_after(members) if options.gain.reads_t else NO_COUNTS
        return options.gain.of(options.seen, mean_square, counts)

    def _gain_of_one(self, options: Options, mean_square: Number, i: int) -> Number:
        gain = self._mean_gain(options, mean_square, slice(i, i + 1))
        return scalars.host_number(gain.reshape(())) if isinstance(gain, Tensor) else gain

    def _count(self, name: str, hit: bool | Tensor) -> None:
        """Count without waiting; in place, so that a captured graph goes on counting."""
        if hit is False:
            return
        count = self.counters[name]
        if isinstance(hit, Tensor) and not isinstance(count, Tensor):
            count = self.counters[name] = torch.full((), count, dtype=torch.int64, device=hit.device)
        if isinstance(count, Tensor):
            count.add_(hit)
        else:
            self.counters[name] = count + hit


def _same(seen: Sequence[Any], grads: Sequence[Any]) -> bool:
    return len(seen) == len(grads) and all(ref() is grad for ref, grad in zip(seen, grads, strict=True))


def clamp(pull: Number) -> tuple[Number, bool | Tensor]:
    """Return the pull, or one per tensor, within [0, 1], and whether it was outside."""
    if isinstance(pull, float) and 0 <= pull <= 1:
        return pull, False
    over = (pull < 0) | (pull > 1)
    return clip(pull, 0.0, 1.0), over.any() if isinstance(over, Tensor) else over


def _carried(optimizer: torch.optim.Optimizer, group: Group, pull: Number, host: bool) -> float | None:
    """Return the weight decay with which torch's AdamW applies this pull itself: one pass less. None: it cannot."""
    lr = group["lr"]
    if type(optimizer) is not torch.optim.AdamW or not host or isinstance(pull, Tensor):
        return None
    if isinstance(lr, Tensor) or not lr > 0 or not group.get("decoupled_weight_decay"):
        return None
    ratio = pull / lr
    return ratio if math.isfinite(ratio) else None


def together(some: list[Moved]) -> tuple[Number, bool | Tensor]:
    """Return the largest pull of several tensors, as it was applied, and whether one was clamped."""
    pulls: list[Number] = [clip(one.pull, 0.0, 1.0) for one in some]
    over: bool | Tensor = False
    for one in some:
        over = over | one.over
    if any(isinstance(pull, Tensor) for pull in pulls):
        first = next(pull for pull in pulls if isinstance(pull, Tensor))
        return torch.stack([torch.as_tensor(p, dtype=first.dtype, device=first.device) for p in pulls]).amax(), over
    return max(pulls, default=0.0), over


def steps_by_kernel(optimizer: torch.optim.Optimizer, group: Group) -> bool:
    """Whether the step itself is one of torch's fused kernels, which walk through memory without a look at strides."""
    return bool(group.get("fused")) and type(optimizer) in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)


def shrink(weights: list[Tensor], pull: Number, large: bool, by_kernel: bool) -> None:
    """θ ← (1 − pull) θ; a vector holds one pull per tensor."""
    if not isinstance(pull, Tensor):
        if pull != 0:
            _shrink_by(weights, pull, large, by_kernel)
    elif pull.dim():
        for weight, one in zip(weights, pull.unbind(), strict=True):
            shrink([weight], scalars.host_number(one), large, by_kernel)
    else:
        for weight in weights:
            keep = (1 - pull).to(weight.device, non_blocking=True)
            # In 16 bits 1 − pull would be rounded before it is multiplied with.
            weight.copy_(weight.float() * keep) if low_precision(weight) else weight.mul_(keep)


def _shrink_by(weights: list[Tensor], pull: float, large: bool, by_kernel: bool) -> None:
    """Do it in the way that costs the host least: of many small tensors on the CPU the calls count, not the memory."""
    if weights[0].device.type != "cpu" or large:
        torch._foreach_mul_(weights, 1 - pull)
    elif by_kernel:
        # θ ← θ − pull θ: SGD whose gradient is the weight. Like the step itself, it does not count as a write. The
        # kernel takes each tensor by itself, whatever the types of the others, and in the order of memory.
        torch._fused_sgd_(
            weights,
            weights,
            [],
            weight_decay=0.0,
            momentum=0.0,
            lr=pull,
            dampening=0.0,
            nesterov=False,
            maximize=False,
            is_first_step=True,
        )
    else:
        torch._foreach_add_(weights, weights, alpha=-pull)  # a quarter of the host's time of a multiplication
