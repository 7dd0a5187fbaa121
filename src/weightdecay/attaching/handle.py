"""A decay on somebody else's optimizer: what torch's hooks around its step, checkpoints and copies do."""

from __future__ import annotations

import copy
import functools
import sys
import warnings
import weakref
from collections import OrderedDict
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from weightdecay.attaching import copies
from weightdecay.attaching.action import Action
from weightdecay.attaching.closures import Args, Kwargs, Once, closure_of, with_closure
from weightdecay.attaching.gains import find_gain
from weightdecay.attaching.groups import SAVED, Groups
from weightdecay.attaching.pool import Pool
from weightdecay.attaching.probe import probe
from weightdecay.attaching.refusals import HOOKS, unwrapped
from weightdecay.attaching.taken import TAKEN
from weightdecay.attaching.tally import Four
from weightdecay.checks import NON_NEGATIVE, check_ranges
from weightdecay.decay import Decay, Number
from weightdecay.decay.norms import warn_if_off
from weightdecay.optim.member import START, decays
from weightdecay.optim.sharding import Spread
from weightdecay.optim.untraced import untraced

HANDLE = "_weightdecay_handle"
"""Where an optimizer holds its handle; beside torch's attributes, so that it goes with every copy."""


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
        peak_lr: float | None,
        pool: Pool,
        place: int,
    ) -> None:
        if peak_lr is not None:
            check_ranges({"peak_lr": peak_lr}, {"peak_lr": NON_NEGATIVE}, "attach()")
        if Handle.of(optimizer) is not None:
            raise ValueError(
                f"this {type(optimizer).__name__} has a decay attached. Take it off first: handle.remove()."
            )
        find_gain(optimizer, gain, decay)
        peak = None if peak_lr is None else float(peak_lr)
        self._begin(optimizer, Groups(decay, gain, peak), {"skipped": 0, "clamped": 0}, pool, place)
        for group in optimizer.param_groups:
            group.pop(SAVED, None)  # of a checkpoint loaded when nothing was attached; steps may have passed
        if weight_decay is not None:
            set_strength(optimizer, weight_decay)
        self._groups.adopt(optimizer, self._action)
        warn_if_off(((options.decay, options.seen) for options in self._groups.options), stacklevel=4)
        if weight_decay is not None:
            optimizer.defaults["weight_decay"] = weight_decay  # of groups to come
        self._register(optimizer)

    def _begin(
        self,
        optimizer: torch.optim.Optimizer,
        groups: Groups,
        counters: dict[str, Number],
        pool: Pool,
        place: int,
    ) -> None:
        """Set what starts anew with every optimizer, a copy among them."""
        self._optimizer = weakref.ref(optimizer)
        self._groups, self._action = groups, Action(groups, counters)
        self._pool, self._place = pool, place
        self._depth = 0  # of nested steps
        self._once: Once | None = None
        self.to_check = False  # whether a twin is to be probed before the next step
        self._hooks: list[Any] = []

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
        self._pool.join(self._place, self)
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
    def decay(self) -> Decay:
        """The decay of the groups that have none of their own."""
        return self._groups.decay

    @property
    def process_group(self) -> Any:
        """The processes over which the tensors are dealt out, where somebody has said so."""
        return self._pool.process_group

    @property
    def optimizer(self) -> torch.optim.Optimizer | None:
        """The optimizer; None once it is gone, or the decay was taken off."""
        return self._optimizer() if self._hooks else None

    def remove(self) -> None:
        """Take the decay off. λ stays in the groups, where the optimizer again reads it in its own way."""
        self._action.cover.lift()
        optimizer = self.optimizer
        if optimizer is not None:
            self._pool.leave(self._place)
            for name in (HANDLE, "__getstate__", "register_step_pre_hook"):
                vars(optimizer).pop(name, None)
            for memory in optimizer.state.values():
                if isinstance(memory, dict):
                    memory.pop(START, None)
                    memory.pop(TAKEN, None)
        while self._hooks:
            self._hooks.pop().remove()

    # ---------------------------------------------------------------- what it tells

    @property
    def mean_square(self) -> float | None:
        """v̄ of the last step, NaN where a gradient was not finite; None where no step has read it."""
        return None if self._action.mean_square is None else float(self._action.mean_square)

    @property
    def pulls(self) -> list[float]:
        """By which fraction the weights of each group shrank in the last step (with RAdam the most of a group's)."""
        return [float(pull.max() if isinstance(pull, Tensor) else pull) for pull in self._action.pulls]

    def decay_of_group(self, place: int) -> Decay:
        """Return the decay of a group: its own, or that of the handle."""
        options = self._groups.options
        return options[place].decay if place < len(options) else self.decay

    @property
    def recorded(self) -> tuple[list[Number], Number | None]:
        """The pulls and v̄ of the last step where they are, on a device maybe: nothing waits."""
        pulls = [pull.max() if isinstance(pull, Tensor) else pull for pull in self._action.pulls]
        return pulls, self._action.mean_square

    @property
    def peak_lrs(self) -> list[float]:
        """η_max of each group."""
        self.adopt()
        return [float(options.seen["peak_lr"]) for options in self._groups.options]

    @property
    def skipped_steps(self) -> int:
        """How many steps shrank nothing, for a gradient not finite (or a GradScaler's finding)."""
        return int(self._action.counters["skipped"])

    @property
    def clamped_steps(self) -> int:
        """In how many steps some pull was outside [0, 1], and was clamped."""
        return int(self._action.counters["clamped"])

    @property
    def reads_mean_square(self) -> bool:
        """Whether the pull of some group follows from v̄."""
        return self._groups.reads_mean_square

    def squares(self) -> dict[Tensor, tuple[float, float]]:
        """Return S = Σv and t of every tensor of which the handle knows them."""
        optimizer = self.optimizer
        return {} if optimizer is None else self._action.squares.values(optimizer)

    # ---------------------------------------------------------------- the step

    @untraced
    def _before(self, optimizer: torch.optim.Optimizer, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs] | None:
        if self._depth and inside_step(optimizer):
            self._depth += 1
            return None
        self._depth = 1
        self._action.cover.lift()  # where the step before raised
        self._once = None
        self._action.forget()
        self._groups.adopt(optimizer, self._action)
        if self.to_check:
            self._check_by_a_twin(optimizer)
        closure = closure_of(args, kwargs)
        if closure is None:
            self._act(optimizer)
            return None
        for options in self._groups.options:  # an optimizer that reads λ before it calls the closure reads 0
            self._action.cover.hide(options.group, 0.0)
        self._once = Once(type(optimizer).__name__, closure, functools.partial(self._made, optimizer))
        return with_closure(args, kwargs, self._once)

    def _check_by_a_twin(self, optimizer: torch.optim.Optimizer) -> None:
        """Probe the optimizer with the smallest tensor of a group that decays."""
        some = [
            (p, options)
            for options in self._groups.options
            if decays(options.seen) and not isinstance(options.seen["lr"], Tensor)
            for p in options.group["params"]
            if p.numel() > 1
        ]
        if some:
            param, options = min(some, key=lambda pair: int(pair[0].numel()))
            probe(optimizer, options.group, param, options.seen["lr"])
            self.to_check = False

    @untraced
    def _made(self, optimizer: torch.optim.Optimizer) -> None:
        """Act when a closure has made the gradients."""
        self._action.cover.lift()
        self._groups.adopt(optimizer, self._action)
        self._act(optimizer)

    def _act(self, optimizer: torch.optim.Optimizer) -> None:
        with torch.no_grad():
            self._action.before(optimizer, self._alone, self._facts)

    def _facts(self, found: Tensor | None, host: bool) -> tuple[Number, bool | Tensor]:
        return self._pool.facts(self._place, self, found, host)

    def _alone(self) -> bool:
        """Whether this process sees the whole model."""
        return self._pool.spread().alone

    @untraced
    def _after(self, optimizer: torch.optim.Optimizer, args: Args, kwargs: Kwargs) -> None:
        self._depth -= 1
        if self._depth > 0 and inside_step(optimizer):
            return
        self._depth = 0
        self._action.cover.lift()
        once, self._once = self._once, None
        if once is not None:
            once.must_have_been_called()
        self._action.after(optimizer)

    # What the pool asks of its members (:class:`~weightdecay.attaching.pool.Reader`).

    @property
    def groups_stamp(self) -> int:
        """Rises whenever the groups are others."""
        return self._groups.stamp

    def adopt(self) -> None:
        """Check groups that are new or written into."""
        if (optimizer := self.optimizer) is not None:
            self._groups.adopt(optimizer, self._action)

    def measure(self, spread: Spread, found: Tensor | None) -> Four:
        """Return what the tensors of this optimizer add to the four numbers of which v̄ is made."""
        optimizer = self.optimizer
        assert optimizer is not None
        return self._action.measure(optimizer, spread, found, shared=self._pool.size > 1)

    def unchanged(self) -> bool:
        """Whether gradients and moments are still those of :meth:`measure`."""
        optimizer = self.optimizer
        assert optimizer is not None
        return self._action.unchanged(optimizer)

    # ---------------------------------------------------------------- checkpoints and copies

    def _before_saving(self, optimizer: torch.optim.Optimizer) -> None:
        self._action.cover.lift()

    def _save(self, optimizer: torch.optim.Optimizer, state_dict: dict[str, Any]) -> None:
        copies.add_to(state_dict, self._known(optimizer))

    def _known(self, optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
        self._groups.adopt(optimizer, self._action)
        return copies.known(optimizer, self._action)

    def _before_loading(self, optimizer: torch.optim.Optimizer, state_dict: dict[str, Any]) -> None:
        self._action.cover.lift()

    def _loaded(self, optimizer: torch.optim.Optimizer) -> None:
        self._groups.loading = True
        self._groups.adopt(optimizer, self._action)

    def __getstate__(self) -> dict[str, Any]:
        optimizer = self.optimizer
        if optimizer is None:
            raise TypeError("this handle has no optimizer any more: there is nothing to copy.")
        self._action.cover.lift()
        known = self._known(optimizer)
        return {
            "optimizer": optimizer,
            "decay": self.decay,
            "gain": self._groups.gain,
            "peak_lr": self._groups.peak_lr,
            "pool": self._pool,
            "place": self._place,
            "counters": {name: int(count) for name, count in self._action.counters.items()},
            "known": known,
            "last": (self.mean_square, self.pulls),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        optimizer = state["optimizer"]
        groups = Groups(state["decay"], state["gain"], state.get("peak_lr"))
        self._begin(optimizer, groups, state["counters"], state["pool"], state["place"])
        self._action.mean_square, self._action.pulls = state["last"]
        groups.copied = state["known"]
        for hook in HOOKS:  # the copy is still empty, and will keep these
            vars(optimizer).setdefault(f"_optimizer_{hook}_hooks", OrderedDict())
        self._register(optimizer)

    def __deepcopy__(self, memo: dict[int, Any]) -> Handle:
        new = type(self).__new__(type(self))
        memo[id(self)] = new
        new.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return new


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
        Handle.of(optimizer)._action.cover.lift()  # type: ignore[union-attr]
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


def inside_step(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the hook was called by an inner of two nested steps.

    torch runs the hooks twice where a subclass's ``step`` calls that of its base. A flag would not tell this from a
    step before that raised; the call stack does.
    """
    frame: FrameType | None = sys._getframe(2)
    callers = []
    while frame is not None:
        if frame.f_locals.get("self") is optimizer:
            callers.append(frame.f_code)
        frame = frame.f_back
    return callers[0] in callers[1:]  # the first is torch's own, which runs the hooks
