"""Any decay for any optimizer of torch.optim's kind, through its step hooks."""

from __future__ import annotations

import copy
import functools
import math
import sys
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from weightdecay.attaching.closures import Args, Kwargs, Once, closure_of, with_closure
from weightdecay.attaching.gains import find_gain
from weightdecay.attaching.lineup import Lineup, Options, real
from weightdecay.attaching.moves import Move, Moved, Moves, refuse_gain
from weightdecay.attaching.probe import probe
from weightdecay.attaching.refusals import (
    HOOKS,
    Uncounted,
    check_group,
    refuse,
    refuse_decay,
    refuse_scaled,
    refuse_sparse,
    unwrapped,
)
from weightdecay.attaching.squares import Squares, step_of
from weightdecay.checks import NON_NEGATIVE, check_ranges
from weightdecay.decay import Decay, Number, Step
from weightdecay.decay.parse import decay_of
from weightdecay.optim import scalars
from weightdecay.optim.alarm import PullAlarm
from weightdecay.optim.member import START, Group, decays
from weightdecay.optim.parameters import low_precision
from weightdecay.optim.reference import largest
from weightdecay.optim.scalars import clip
from weightdecay.optim.sharding import Spread, is_sharded

SAVED = "attached"
"""Where a saved group holds what the handle knows. In the group: there it passes through every loader."""
UNCOUNTED: Any = Uncounted()
HANDLE = "_weightdecay_handle"
"""Where an optimizer holds its handle; beside torch's attributes, so that it goes with every copy."""


def attach(
    optimizer: torch.optim.Optimizer,
    decay: Decay | str,
    *,
    weight_decay: float | None = None,
    peak_lr: float | None = None,
    gain: str | float | Callable[[Group], float] | None = None,
    process_group: Any = None,
    check: bool = True,
) -> Handle:
    r"""Give an existing optimizer this decay; return the handle that takes it off again.

    .. math:: \theta_t = r + (1 - \text{pull}_t \odot \text{mask}_t)\,(\theta_{t-1} - r) - \eta_t u_t

    Before every ``optimizer.step()`` the weights that have a gradient shrink by pull, and the optimizer's own
    ``weight_decay`` is 0 until the step is over; at all other times ``group["weight_decay"]`` is λ. The optimizer
    supplies u_t; v̄, where the decay reads it, comes from the norms of the gradients. A decay that asks for the update
    (``Cautious``) or constrains the weight (``Hyperball``) acts after the step, for which a copy of the weights of its
    groups is kept through it. A group may name a decay of its own: ``group["decay"]``.

    ``decay``
        An object or its text: ``"cautious(stable)"``.
    ``weight_decay``
        λ of the groups, in place of theirs. Groups whose λ is 0 while another's is not keep 0: these are the biases and
        norms that somebody took out of the decay. Needed where the optimizer knows no such option.
    ``peak_lr``
        η_max of groups that have no ``"peak_lr"`` of their own. By default what a scheduler has written into the group
        by the first step (``max_lr``, ``initial_lr``), else the lr at attach.
    ``gain``
        By how much the update multiplies a gradient: "adam", "radam", "sgd", "none", a number, or a function of the
        group. By default that of the optimizer's type, for the types in ``attaching/gains.py``.
    ``process_group``
        The processes over which the tensors are dealt out, where that cannot be read from them (ZeRO).
    ``check``
        Before the first step, let a twin of the optimizer step over one small tensor, and raise where it does not keep
        what shrank, or steps with another lr than its groups say (``attaching/probe.py``; milliseconds, once).

    Shapes: pull is one number a group (with RAdam one a tensor); the mean is over every element with a gradient.
    Units:  λ as in the decay's own page.
    Raises: TypeError or ValueError, where the combination has no meaning, here or in the first step that shows it.
    Source: arXiv:2011.11152, Algorithm 2; equals :class:`weightdecay.AdamS` to 1e-12 in float64.

    >>> import torch
    >>> from weightdecay import Stable
    >>> weight = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    >>> optimizer = torch.optim.AdamW([weight], lr=0.1, weight_decay=0.5)
    >>> handle = attach(optimizer, Stable())
    >>> weight.grad = torch.full_like(weight, 2.0)
    >>> optimizer.step()
    >>> print(f"{handle.mean_square:.3f} {handle.pulls[0]:.3f} {weight[0].item():.3f}")
    4.000 0.025 0.875
    """
    return Handle(unwrapped(optimizer), decay_of(decay, "attach()"), weight_decay, gain, process_group, check, peak_lr)


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


class Handle:
    """A decay on somebody else's optimizer; made by :func:`attach`.

    The optimizer holds the handle, and the handle no optimizer: both go with their last names. A copy of the optimizer,
    or one that comes out of a pickle, has the decay too, with a handle of its own (:meth:`of`).
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        decay: Decay,
        weight_decay: float | None,
        gain: Any,
        process_group: Any,
        check: bool = True,
        peak_lr: float | None = None,
    ) -> None:
        refuse(optimizer, decay)
        if peak_lr is not None:
            check_ranges({"peak_lr": peak_lr}, {"peak_lr": NON_NEGATIVE}, "attach()")
        if Handle.of(optimizer) is not None:
            raise ValueError(
                f"this {type(optimizer).__name__} has a decay attached. Take it off first: handle.remove()."
            )
        self.decay, self.process_group, self.gain_given = decay, process_group, gain
        self.peak_given = None if peak_lr is None else float(peak_lr)
        self._begin(optimizer, {"skipped": 0, "clamped": 0})
        self._to_check = check
        before = [dict(group) for group in optimizer.param_groups]
        try:
            for group in optimizer.param_groups:
                group.pop(SAVED, None)  # of a checkpoint loaded when nothing was attached; steps may have passed
            if weight_decay is not None:
                set_strength(optimizer, weight_decay)
            self._adopt(optimizer)
        except Exception:
            for group, old in zip(optimizer.param_groups, before, strict=True):
                group.clear()
                group.update(old)
            raise
        if weight_decay is not None:
            optimizer.defaults["weight_decay"] = weight_decay  # of groups to come
        self._register(optimizer)

    def _begin(self, optimizer: torch.optim.Optimizer, counters: dict[str, Number]) -> None:
        """Set what starts anew with every optimizer, a copy among them."""
        self._optimizer = weakref.ref(optimizer)
        find_gain(optimizer, self.gain_given, self.decay)
        self.reads_mean_square = False  # whether some group does
        self._squares, self._lineup, self._moves = Squares(), Lineup(), Moves()
        self._counters = counters
        self._alarm = PullAlarm()
        self._mean_square: Number | None = None
        self._pulls: list[Number] = []
        self._options: list[Options] = []  # of the groups that were checked
        self._entries: set[int] = set()  # of the state, as they were then
        self._copied: list[dict[str, Any]] | None = None
        self._loading = False
        self._depth = 0  # of nested steps
        self._once: Once | None = None
        self._to_check = False
        self._cover = Cover()
        self._spread: Spread | None = None

    def _register(self, optimizer: torch.optim.Optimizer) -> None:
        """Act at every step and checkpoint of the optimizer."""
        # Bound methods of the handle, not of the optimizer: torch hands that over, and there is no circle.
        self._hooks = [
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
            optimizer.register_state_dict_pre_hook(self._before_saving),
            optimizer.register_state_dict_post_hook(self._save),
            optimizer.register_load_state_dict_pre_hook(self._before_loading),
            optimizer.register_load_state_dict_post_hook(self._loaded),
        ]
        reference = weakref.ref(optimizer)
        vars(optimizer).update(
            {
                HANDLE: self,
                "__getstate__": functools.partial(_state_of, reference),
                "register_step_pre_hook": functools.partial(_register_before_ours, reference),
            }
        )

    @staticmethod
    def of(optimizer: torch.optim.Optimizer) -> Handle | None:
        """Return the handle of the decay attached to this optimizer; None where there is no decay."""
        handle: Handle | None = vars(unwrapped(optimizer)).get(HANDLE)
        return handle

    @property
    def optimizer(self) -> torch.optim.Optimizer | None:
        """The optimizer; None once it is gone, or the decay was taken off."""
        return self._optimizer() if self._hooks else None

    def remove(self) -> None:
        """Take the decay off. λ stays in the groups, where the optimizer again reads it in its own way."""
        self._cover.lift()
        optimizer = self.optimizer
        if optimizer is not None:
            for name in (HANDLE, "__getstate__", "register_step_pre_hook"):
                vars(optimizer).pop(name, None)
            for memory in optimizer.state.values():
                if isinstance(memory, dict):
                    memory.pop(START, None)
        while self._hooks:
            self._hooks.pop().remove()

    @property
    def mean_square(self) -> float | None:
        """v̄ of the last step, NaN where a gradient was not finite; None where no step has read it."""
        return None if self._mean_square is None else float(self._mean_square)

    @property
    def pulls(self) -> list[float]:
        """By which fraction the weights of each group shrank in the last step (with RAdam the most of a group's)."""
        return [float(pull.max() if isinstance(pull, Tensor) else pull) for pull in self._pulls]

    def decay_of_group(self, place: int) -> Decay:
        """Return the decay of a group: its own, or that of the handle."""
        return self._options[place].decay if place < len(self._options) else self.decay

    @property
    def recorded(self) -> tuple[list[Number], Number | None]:
        """The pulls and v̄ of the last step where they are, on a device maybe: nothing waits."""
        return [pull.max() if isinstance(pull, Tensor) else pull for pull in self._pulls], self._mean_square

    @property
    def peak_lrs(self) -> list[float]:
        """η_max of each group."""
        if (optimizer := self.optimizer) is not None:
            self._adopt(optimizer)
        return [float(options.seen["peak_lr"]) for options in self._options]

    @property
    def skipped_steps(self) -> int:
        """How many steps shrank nothing, for a gradient not finite (or a GradScaler's finding)."""
        return int(self._counters["skipped"])

    @property
    def clamped_steps(self) -> int:
        """In how many steps some pull was outside [0, 1], and was clamped."""
        return int(self._counters["clamped"])

    def squares(self) -> dict[Tensor, tuple[float, float]]:
        """Return S = Σv and t of every tensor of which the handle knows them."""
        optimizer = self.optimizer
        return {} if optimizer is None else self._squares.values(optimizer)

    # ---------------------------------------------------------------- the step

    def _before(self, optimizer: torch.optim.Optimizer, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs] | None:
        if self._depth and inside_step(optimizer):
            self._depth += 1
            return None
        self._depth = 1
        self._cover.lift()  # where the step before raised
        self._squares.after = self._once = None
        self._moves.forget()
        self._adopt(optimizer)
        if self._to_check:
            self._check_by_a_twin(optimizer)
        closure = closure_of(args, kwargs)
        if closure is None:
            self._act(optimizer)
            return None
        for options in self._options:  # an optimizer that reads λ before it calls the closure reads 0
            self._cover.hide(options.group, 0.0)
        self._once = Once(type(optimizer).__name__, closure, functools.partial(self._made, optimizer))
        return with_closure(args, kwargs, self._once)

    def _check_by_a_twin(self, optimizer: torch.optim.Optimizer) -> None:
        """Probe the optimizer with the smallest tensor of a group that decays."""
        some = [
            (p, options)
            for options in self._options
            if decays(options.seen) and not isinstance(options.seen["lr"], Tensor)
            for p in options.group["params"]
            if p.numel() > 1
        ]
        if some:
            param, options = min(some, key=lambda pair: int(pair[0].numel()))
            probe(optimizer, options.group, param, options.seen["lr"])
            self._to_check = False

    def _made(self, optimizer: torch.optim.Optimizer) -> None:
        """Act when a closure has made the gradients."""
        self._cover.lift()
        self._adopt(optimizer)
        self._act(optimizer)

    @torch.no_grad()
    def _act(self, optimizer: torch.optim.Optimizer) -> None:
        self._shrink(optimizer, self._lineup.follow(optimizer))

    def _after(self, optimizer: torch.optim.Optimizer, args: Args, kwargs: Kwargs) -> None:
        self._depth -= 1
        if self._depth > 0 and inside_step(optimizer):
            return
        self._depth = 0
        self._cover.lift()
        once, self._once = self._once, None
        if once is not None:
            once.must_have_been_called()
        if self._moves.waiting or self._moves.starts:
            self._finish(optimizer)
        self._squares.commit(optimizer)  # now, not before: a step that raises is no step of the optimizer's either

    def _shrink(self, optimizer: torch.optim.Optimizer, grads: list[Tensor]) -> None:
        """Shrink the weights, or let the pull ride in the optimizer's kernel, and hide λ."""
        lineup = self._lineup
        if not lineup.live and (not self.reads_mean_square or self._all(optimizer).alone):
            return
        host = scalars.readable(lineup.device)
        mean_square, ok = self._facts(optimizer, grads, host)
        pulls: list[Number] = []
        clamped: bool | Tensor = False
        for place, (options, members) in enumerate(zip(self._options, lineup.groups, strict=True)):
            if options.peak_lr is None:
                options.begin()
            if not options.decay.uniform:
                pull, over = self._move(optimizer, place, mean_square, ok, grads)
                pulls.append(pull)
                clamped = clamped | over
                continue
            pull = self._pull(options, mean_square, members) if members.stop > members.start else 0.0
            pull = scalars.choose(ok, pull, 0.0)
            over = (pull < 0) | (pull > 1)
            clamped = clamped | (over.any() if isinstance(over, Tensor) else over)
            pulls.append(clip(pull, 0.0, 1.0))
        self._record(pulls, ok, clamped)
        for options, members, pull in zip(self._options, lineup.groups, pulls, strict=True):
            if not options.decay.uniform:
                self._cover.hide(options.group, 0.0)
                continue
            carried = self._carried(optimizer, options.seen, pull, host)
            self._cover.hide(options.group, carried or 0.0)
            if carried is None:
                shrink(lineup.weights(members), pull)

    def _move(
        self, optimizer: torch.optim.Optimizer, place: int, mean_square: Number, ok: bool | Tensor, grads: list[Tensor]
    ) -> tuple[Number, bool | Tensor]:
        """Let a decay that is more than a number move a group, as far as it can before the step."""
        lineup, options, members = self._lineup, self._options[place], self._lineup.groups[place]
        if not decays(options.seen):
            return 0.0, False
        if "grad" in options.decay.needs:
            refuse_sparse(lineup.live[members], options.decay, "gradient")
        done = []
        for i in range(members.start, members.stop):
            param, weight = lineup.live[i], real(lineup.weights(slice(i, i + 1))[0])
            gain = functools.partial(self._gain_of_one, options, mean_square, i)
            move = Move(param, weight, grads[i], options, place, gain, UNCOUNTED)
            done.append(self._moves.before(optimizer, move, ok))
        return together([one for one in done if one is not None])

    @torch.no_grad()
    def _finish(self, optimizer: torch.optim.Optimizer) -> None:
        """Let the decays act that have waited for the update."""
        by_place: dict[int, list[Moved]] = {}
        for one in self._moves.after(optimizer):
            by_place.setdefault(one.place, []).append(one)
        for place, some in by_place.items():
            self._pulls[place], over = together(some)
            self._count("clamped", over)

    def _facts(self, optimizer: torch.optim.Optimizer, grads: list[Tensor], host: bool) -> tuple[Number, bool | Tensor]:
        """Return v̄ (NaN where nobody reads it) and whether to shrink at all."""
        lineup, found = self._lineup, getattr(optimizer, "found_inf", None)
        if found is not None:
            found = torch.as_tensor(found, device=lineup.device).reshape(())
        if not self.reads_mean_square:
            ok = True if found is None else found == 0
            return math.nan, bool(ok) if host else ok
        refuse_scaled(optimizer, self._reader())
        groups = [options.seen for options in self._options]
        try:
            facts = self._squares.look(optimizer, lineup, grads, groups, self._all(optimizer), found, host)
        except RuntimeError:  # of a sparse gradient there is no norm; to look for one in every step costs too much
            refuse_sparse(lineup.live, self._reader())
            raise
        self._mean_square = facts[0]
        return facts

    def _record(self, pulls: list[Number], ok: bool | Tensor, clamped: bool | Tensor) -> None:
        """Keep what the step does: the pull of each group and, in ``_mean_square``, v̄. Once a step."""
        self._pulls = pulls
        largest_of = {place: largest(pull) for place, pull in enumerate(pulls)}
        self._alarm.look(type(self.optimizer).__name__, largest_of, self._options_of)
        self._count("skipped", ~ok if isinstance(ok, Tensor) else not ok)
        self._count("clamped", clamped)

    def _options_of(self, place: int) -> tuple[Group, Decay]:
        return self._options[place].seen, self._options[place].decay

    def _reader(self) -> Decay:
        """Return a decay that reads v̄."""
        return next((options.decay for options in self._options if options.reads_mean_square), self.decay)

    def _pull(self, options: Options, mean_square: Number, members: slice) -> Number:
        """Return the pull of a group before the clamp: a number, a 0-d tensor, or a vector with one a tensor."""
        group = options.seen
        if not decays(group):
            return 0.0
        step = Step(
            strength=group["weight_decay"],
            lr=group["lr"],
            peak_lr=group["peak_lr"],
            mean_gain=functools.partial(self._mean_gain, options, mean_square, members),
            gain=functools.partial(refuse_gain, options.decay),
            t=UNCOUNTED,
        )
        pull = options.decay.pull(step)
        return pull if isinstance(pull, Tensor) and pull.dim() else scalars.host_number(pull)

    def _mean_gain(self, options: Options, mean_square: Number, members: slice) -> Number:
        if options.gain is None or "mean_gain" not in options.decay.needs:
            raise TypeError(f"{options.decay!r} asks for the gain, but its needs do not name mean_gain.")
        return options.gain.of(options.seen, mean_square, self._squares.steps_after(members))

    def _gain_of_one(self, options: Options, mean_square: Number, i: int) -> Number:
        gain = self._mean_gain(options, mean_square, slice(i, i + 1))
        return scalars.host_number(gain.reshape(())) if isinstance(gain, Tensor) else gain

    @staticmethod
    def _carried(optimizer: torch.optim.Optimizer, group: Group, pull: Number, host: bool) -> float | None:
        """Return the weight decay with which torch's AdamW applies this pull itself: one pass less. None: it cannot."""
        lr = group["lr"]
        if type(optimizer) is not torch.optim.AdamW or not host or isinstance(pull, Tensor):
            return None
        if isinstance(lr, Tensor) or not lr > 0 or not group.get("decoupled_weight_decay"):
            return None
        ratio = pull / lr
        return ratio if math.isfinite(ratio) else None

    def _count(self, name: str, hit: bool | Tensor) -> None:
        """Count without waiting; in place, so that a captured graph goes on counting."""
        if hit is False:
            return
        count = self._counters[name]
        if isinstance(hit, Tensor) and not isinstance(count, Tensor):
            count = self._counters[name] = torch.full((), count, dtype=torch.int64, device=hit.device)
        if isinstance(count, Tensor):
            count.add_(hit)
        else:
            self._counters[name] = count + hit

    # ---------------------------------------------------------------- groups

    def _adopt(self, optimizer: torch.optim.Optimizer) -> None:
        """Check groups that are new or written into; take over what a checkpoint brought, however it was loaded."""
        groups, known = optimizer.param_groups, self._options
        if (
            not self._loading
            and len(known) == len(groups)
            and all(o.group is g for o, g in zip(known, groups, strict=True))
        ):
            for i, options in enumerate(known):
                if options.changed():
                    self._check(optimizer, options, f"group {i}")
            return
        self._spread = None
        by_group = {id(options.group): options for options in known}
        there = set(map(id, groups))
        copied, loading = self._copied, self._loading or self._holds_other_entries(optimizer)
        adopted: list[Options] = []
        said = False
        for i, group in enumerate(groups):
            options = by_group.get(id(group)) or Options(group, self.decay, self.peak_given)
            saved: dict[str, Any] = (copied[i] if copied else group.pop(SAVED, None)) or {}
            old = known[i].group if i < len(known) and id(known[i].group) not in there else None
            brought = old is not None and (loading or bool(saved) or "decay" in group)
            if brought:
                assert old is not None
                said = self._keep_strength(known[i], group, saved, said)
                options.peak_lr = saved.get("peak_lr", known[i].peak_lr)
                self._counters = {name: saved.get(name, 0) for name in self._counters}
            elif copied:
                options.peak_lr = saved.get("peak_lr")
            self._check(optimizer, options, f"group {i}")
            if id(group) not in by_group and old is None and not copied:
                _warn_of_rounding(group, f"group {i}")
            if options.reads_mean_square and (brought or (id(group) not in by_group and old is None)):
                self._remember(optimizer, group, saved, f"group {i}")
            adopted.append(options)
        self._options, self._copied, self._loading = adopted, None, False  # not before: what raised will raise again
        self.reads_mean_square = any(options.reads_mean_square for options in adopted)
        self._entries = set(map(id, optimizer.state.values()))

    def _holds_other_entries(self, optimizer: torch.optim.Optimizer) -> bool:
        """Whether the state is that of a checkpoint which was loaded without hooks, as some optimizers do."""
        entries = set(map(id, optimizer.state.values()))
        return bool(entries) and not entries & self._entries

    def _check(self, optimizer: torch.optim.Optimizer, options: Options, where: str) -> None:
        """Check a group in which something was written, and read it."""
        group = options.group
        options.decay = decay_of(group["decay"], where) if "decay" in group else self.decay
        refuse_decay(options.decay)
        options.gain = find_gain(optimizer, self.gain_given, options.decay)
        check_group(optimizer, options, where)
        options.read()
        self.reads_mean_square |= options.reads_mean_square
        if not scalars.on_accelerator(options.seen["lr"]):
            try:
                options.decay.check(options.seen, where)
            except Exception:
                options.forget()  # what raised will raise again
                raise

    def _keep_strength(self, known: Options, new: Group, saved: dict[str, Any], said: bool) -> bool:
        """λ of another decay is another number: keep ours, and say so once. Return whether it was said."""
        old, name = known.group, saved.get("decay")
        if isinstance(new.get("decay"), str):  # written by an own optimizer, or a group's own
            name = new.pop("decay")
        if "decay" in old:
            new["decay"] = old["decay"]
        if name == repr(known.decay):
            return said
        if not said:
            written = f"decay={name}" if name else "an optimizer to which no decay was attached"
            warnings.warn(
                f"the checkpoint was written with {written}, weight_decay={new.get('weight_decay')}: its moments are "
                f"taken over; {known.decay!r} keeps weight_decay={old['weight_decay']} of this optimizer.",
                stacklevel=6,
            )
        new["weight_decay"] = old["weight_decay"]
        return True

    def _remember(self, optimizer: torch.optim.Optimizer, group: Group, saved: dict[str, Any], where: str) -> None:
        """Take S and t from the checkpoint or from the moments."""
        rows = saved.get("squares") or [None] * len(group["params"])
        for i, (param, row) in enumerate(zip(group["params"], rows, strict=True)):
            self._squares.take(param, optimizer.state.get(param), group, row, f"parameter {i} of {where}")

    # ---------------------------------------------------------------- checkpoints and copies

    def _before_saving(self, optimizer: torch.optim.Optimizer) -> None:
        self._cover.lift()

    def _save(self, optimizer: torch.optim.Optimizer, state_dict: dict[str, Any]) -> None:
        """Add plain values to the saved groups."""
        for own, packed in zip(self._known(optimizer), state_dict["param_groups"], strict=True):
            packed[SAVED] = own
            if "decay" in packed:
                packed["decay"] = own["decay"]  # its text: plain values load everywhere

    def _known(self, optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
        """Return for each group the decay's name, the counters, and (S, t, the optimizer's step) of its tensors."""
        self._adopt(optimizer)
        squares = self._squares.values(optimizer) if self.reads_mean_square else {}
        found = []
        for options in self._options:
            group = options.group
            own: dict[str, Any] = {"decay": repr(options.decay)}
            if options.peak_lr is not None:
                own["peak_lr"] = options.peak_lr
            own.update({name: int(count) for name, count in self._counters.items()})
            if self.reads_mean_square:
                own["squares"] = [_row(optimizer, param, group, squares.get(param)) for param in group["params"]]
            found.append(own)
        return found

    def _before_loading(self, optimizer: torch.optim.Optimizer, state_dict: dict[str, Any]) -> None:
        self._cover.lift()

    def _loaded(self, optimizer: torch.optim.Optimizer) -> None:
        self._loading = True
        self._adopt(optimizer)

    def __getstate__(self) -> dict[str, Any]:
        optimizer = self.optimizer
        if optimizer is None:
            raise TypeError("this handle has no optimizer any more: there is nothing to copy.")
        self._cover.lift()
        known = self._known(optimizer)
        return {
            "optimizer": optimizer,
            "decay": self.decay,
            "gain": self.gain_given,
            "peak_lr": self.peak_given,
            "process_group": self.process_group,
            "counters": {name: int(count) for name, count in self._counters.items()},
            "known": known,
            "last": (self.mean_square, self.pulls),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        optimizer = state["optimizer"]
        self.peak_given = state.get("peak_lr")
        self.decay, self.gain_given, self.process_group = state["decay"], state["gain"], state["process_group"]
        self._begin(optimizer, state["counters"])
        self._mean_square, self._pulls = state["last"]
        self._copied = state["known"]
        for hook in HOOKS:  # the copy is still empty, and will keep these
            vars(optimizer).setdefault(f"_optimizer_{hook}_hooks", OrderedDict())
        self._register(optimizer)

    def __deepcopy__(self, memo: dict[int, Any]) -> Handle:
        new = type(self).__new__(type(self))
        memo[id(self)] = new
        state = self.__getstate__()
        group = state.pop("process_group")  # of this process: there is no other
        new.__setstate__({**copy.deepcopy(state, memo), "process_group": group})
        return new

    def _all(self, optimizer: torch.optim.Optimizer) -> Spread:
        """Return how the model is spread over processes."""
        if self._spread is None:
            params = [p for group in optimizer.param_groups for p in group["params"]]
            self._spread = Spread(params, self.process_group)
        return self._spread


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


def set_strength(optimizer: torch.optim.Optimizer, weight_decay: float) -> None:
    """Let λ be this in the groups that decay; where none does, in all."""
    groups = optimizer.param_groups
    some = [group for group in groups if "weight_decay" not in group or decays(group)]
    for group in some or groups:
        group["weight_decay"] = weight_decay


def _state_of(reference: weakref.ref[torch.optim.Optimizer]) -> Any:
    """Return what a copy or a pickle of an optimizer takes along: torch's own choice, and the handle."""
    optimizer = reference()
    assert optimizer is not None
    state: Any = type(optimizer).__getstate__(optimizer)
    if isinstance(state, dict):
        Handle.of(optimizer)._cover.lift()  # type: ignore[union-attr]
        return {**state, HANDLE: Handle.of(optimizer)}
    warnings.warn(
        f"{type(optimizer).__name__} says itself what a copy of it holds, and the attached decay is not part of it. "
        "Call attach() on the copy.",
        stacklevel=3,
    )
    return state


def _register_before_ours(reference: weakref.ref[torch.optim.Optimizer], hook: Any) -> Any:
    """Register somebody's hook, which may clip or replace gradients, ahead of ours, which reads them."""
    optimizer = reference()
    assert optimizer is not None
    registered = type(optimizer).register_step_pre_hook(optimizer, hook)
    if (handle := Handle.of(optimizer)) is not None:
        optimizer._optimizer_step_pre_hooks.move_to_end(handle._hooks[0].id)  # type: ignore[attr-defined]
    return registered


def _warn_of_rounding(group: Group, where: str) -> None:
    low = next((p for p in group["params"] if low_precision(p)), None)
    if low is not None and decays(group):
        warnings.warn(
            f"{where} holds {str(low.dtype).removeprefix('torch.')} weights, where rounding to nearest loses every "
            "pull too small for the spacing of the numbers. weightdecay's own optimizers keep it, with rounding=.",
            stacklevel=6,
        )


def _row(
    optimizer: torch.optim.Optimizer, param: Tensor, group: Group, known: tuple[float, float] | None
) -> list[float | None] | None:
    if known is None or is_sharded(param):
        return None  # where each process knows S of its own piece only, the moments will tell
    return [*known, step_of(optimizer.state.get(param), group)]


def shrink(weights: Sequence[Tensor], pull: Number) -> None:
    """θ ← (1 − pull) θ; a vector of pulls holds one a tensor."""
    if not isinstance(pull, Tensor):
        if pull != 0:
            torch._foreach_mul_(list(weights), 1 - pull)
    elif pull.dim():
        for weight, one in zip(weights, pull.unbind(), strict=True):
            shrink([weight], scalars.host_number(one))
    else:
        for weight in weights:
            keep = (1 - pull).to(weight.device, non_blocking=True)
            # In 16 bits 1 − pull would be rounded before it is multiplied with.
            weight.copy_(weight.float() * keep) if low_precision(weight) else weight.mul_(keep)


def inside_step(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the hook was called by an inner of two nested steps.

    torch runs the hooks twice where a subclass's ``step`` calls that of its base. A flag would not tell this from a
    step before that raised; the call stack does.
    """
    caller = sys._getframe(2)
    frame = caller.f_back
    while frame is not None:
        if frame.f_code is caller.f_code and frame.f_locals.get("self") is optimizer:
            return True
        frame = frame.f_back
    return False
