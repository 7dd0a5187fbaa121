"""Any decay that is one number a tensor, for any optimizer of torch.optim's kind, through its step hooks."""

from __future__ import annotations

import functools
import math
import sys
import warnings
import weakref
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from weightdecay.decay import Decay, Number, Step
from weightdecay.engine.attachable import check_group, reads_mean_square, refuse, refuse_gradients
from weightdecay.engine.cover import Cover
from weightdecay.engine.gains import Account, Gain, Live, find_gain, live_tensors
from weightdecay.optim import scalars
from weightdecay.optim.member import Group, decays
from weightdecay.optim.parameters import low_precision
from weightdecay.optim.scalars import clip
from weightdecay.optim.sharding import Spread, is_sharded

ATTACHED: weakref.WeakSet[torch.optim.Optimizer] = weakref.WeakSet()
"""The optimizers that have a decay already."""
SAVED = "attached"
"""Where a saved group holds what the handle knows. In the group: there it passes through every loader."""


def attach(
    optimizer: torch.optim.Optimizer,
    decay: Decay,
    *,
    weight_decay: float | None = None,
    gain: str | float | Callable[[Group], float] | None = None,
    process_group: Any = None,
) -> Handle:
    r"""Give an existing optimizer this decay; return the handle that takes it off again.

    .. math:: \theta_t = (1 - \text{pull}_t)\,\theta_{t-1} - \eta_t u_t

    Before every ``optimizer.step()`` the weights that have a gradient shrink by pull, and the optimizer's own
    ``weight_decay`` is 0 until the step is over; at all other times ``group["weight_decay"]`` is λ. The optimizer
    supplies u_t; v̄, where the decay reads it, comes from the norms of the gradients (:class:`Account`).

    ``weight_decay``
        λ of all groups, in place of theirs. Needed where the optimizer knows no such option.
    ``gain``
        By how much the update multiplies a gradient: "adam", "radam", "sgd", "none", a number, or a function of the
        group. By default that of the optimizer's type, for the types in ``engine/gains.py``.
    ``process_group``
        The processes over which the tensors are dealt out, where that cannot be read from them (ZeRO).

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
    return Handle(optimizer, decay, weight_decay, gain, process_group)


class Handle:
    """A decay on somebody else's optimizer; made by :func:`attach`."""

    def __init__(
        self, optimizer: torch.optim.Optimizer, decay: Decay, weight_decay: float | None, gain: Any, process_group: Any
    ) -> None:
        refuse(optimizer, decay)
        if optimizer in ATTACHED:
            raise ValueError(
                f"this {type(optimizer).__name__} has a decay attached. Take it off first: handle.remove()."
            )
        self.optimizer, self.decay, self.process_group = optimizer, decay, process_group
        self.gain: Gain | None = find_gain(optimizer, gain, decay)
        self.account = Account()
        self._counters: dict[str, Number] = {"skipped": 0, "clamped": 0}
        self._mean_square: Number | None = None
        self._pulls: list[Number] = []
        self._groups: list[Group] = []  # those that were checked, the very dicts
        self._cover = Cover()
        self._spread: Spread | None = None
        before = [dict(group) for group in optimizer.param_groups]
        try:
            for group in optimizer.param_groups:
                group.pop(SAVED, None)  # of a checkpoint loaded when nothing was attached; steps may have passed
                if weight_decay is not None:
                    group["weight_decay"] = weight_decay
            self._adopt()
        except Exception:
            for group, old in zip(optimizer.param_groups, before, strict=True):
                group.clear()
                group.update(old)
            raise
        if weight_decay is not None:
            optimizer.defaults["weight_decay"] = weight_decay  # of groups to come
        self._hooks = [
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
            optimizer.register_state_dict_pre_hook(lambda _: self._cover.lift()),
            optimizer.register_state_dict_post_hook(self._save),
            optimizer.register_load_state_dict_pre_hook(lambda *_: self._cover.lift()),
            optimizer.register_load_state_dict_post_hook(lambda _: self._adopt()),
        ]
        ATTACHED.add(optimizer)

    def remove(self) -> None:
        """Take the decay off. λ stays in the groups, where the optimizer again reads it in its own way."""
        self._cover.lift()
        if self._hooks:
            ATTACHED.discard(self.optimizer)
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

    @property
    def skipped_steps(self) -> int:
        """How many steps shrank nothing, for a gradient not finite (or a GradScaler's finding)."""
        return int(self._counters["skipped"])

    @property
    def clamped_steps(self) -> int:
        """In how many steps some pull was outside [0, 1], and was clamped."""
        return int(self._counters["clamped"])

    # ---------------------------------------------------------------- the step

    def _before(self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if _inside_step(optimizer):
            return
        self._cover.lift()  # where the step before raised
        self.account.after = None
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if callable(closure):
            raise TypeError(
                f"{type(optimizer).__name__}.step(closure) with an attached {self.decay!r}: the weights shrink before "
                "the closure has made the gradients. Call the closure yourself (loss = closure()), then step()."
            )
        self._adopt()
        with torch.no_grad():
            self._shrink([live_tensors(group) for group in optimizer.param_groups])

    def _after(self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not _inside_step(optimizer):
            self._cover.lift()
            self.account.commit()  # now, not before: a step that raises is no step of the optimizer's either

    def _shrink(self, by_group: list[list[Live]]) -> None:
        """Shrink the weights, or let the pull ride in the optimizer's kernel, and hide λ."""
        live = list(chain.from_iterable(by_group))
        if not live and (not self._reads_mean_square or self._all.alone):
            return
        device = self._device(live)
        host = scalars.readable(device)
        mean_square, ok = self._facts(live, device, host)
        pulls: list[Number] = []
        clamped: bool | Tensor = False
        first = 0
        for group, members in zip(self.optimizer.param_groups, by_group, strict=True):
            pull = self._pull(group, mean_square, slice(first, first + len(members))) if members else 0.0
            pull = _only_where(ok, pull)
            over = (pull < 0) | (pull > 1)
            clamped = clamped | (over.any() if isinstance(over, Tensor) else over)
            pulls.append(clip(pull, 0.0, 1.0))
            first += len(members)
        self._pulls = pulls
        self._count("skipped", ~ok if isinstance(ok, Tensor) else not ok)
        self._count("clamped", clamped)
        for group, members, pull in zip(self.optimizer.param_groups, by_group, pulls, strict=True):
            carried = self._carried(group, pull, host)
            self._cover.hide(group, carried or 0.0)
            if carried is None:
                shrink([m.weight for m in members], pull)

    def _facts(self, live: list[Live], device: torch.device, host: bool) -> tuple[Number, bool | Tensor]:
        """Return v̄ (NaN where nobody reads it) and whether to shrink at all."""
        left_out = getattr(self.optimizer, "found_inf", None)
        if left_out is not None:
            left_out = torch.as_tensor(left_out, device=device).reshape(())
        if not self._reads_mean_square:
            ok = True if left_out is None else left_out == 0
            return math.nan, bool(ok) if host else ok
        refuse_gradients(self.optimizer, self.decay, live)
        facts = self.account.look(live, device, self._all, left_out)
        self._mean_square, well = facts.tolist() if host else facts.unbind()
        return self._mean_square, well == 1

    def _pull(self, group: Group, mean_square: Number, members: slice) -> Number:
        """Return the pull of a group before the clamp: a number, a 0-d tensor, or a vector with one a tensor."""
        if not decays(group):
            return 0.0
        step = Step(
            strength=scalars.host_number(group["weight_decay"]),
            lr=scalars.host_number(group["lr"]),
            peak_lr=group["peak_lr"],
            mean_gain=functools.partial(self._mean_gain, group, mean_square, members),
            gain=self._elementwise_gain,
        )
        pull = self.decay.pull(step)
        return pull if isinstance(pull, Tensor) and pull.dim() else scalars.host_number(pull)

    def _mean_gain(self, group: Group, mean_square: Number, members: slice) -> Number:
        if self.gain is None or "mean_gain" not in self.decay.needs:
            raise TypeError(f"{self.decay!r} asks for the gain, but its needs do not name mean_gain.")
        t = self.account.after[1][members] if self.account.after else torch.empty(0)
        return self.gain.of(group, mean_square, t)

    def _elementwise_gain(self) -> Number:
        raise TypeError(f"{self.decay!r} asks for a gain an element, though its pull is said to be uniform.")

    def _carried(self, group: Group, pull: Number, host: bool) -> float | None:
        """Return the weight decay with which torch's AdamW applies this pull itself: one pass less. None: it cannot."""
        lr = group["lr"]
        if type(self.optimizer) is not torch.optim.AdamW or not host or isinstance(pull, Tensor):
            return None
        if isinstance(lr, Tensor) or not lr > 0 or not group.get("decoupled_weight_decay"):
            return None
        ratio = pull / lr
        return ratio if math.isfinite(ratio) else None

    def _count(self, name: str, hit: bool | Tensor) -> None:
        """Count without waiting; in place, so that a captured graph goes on counting."""
        count = self._counters[name]
        if isinstance(hit, Tensor) and not isinstance(count, Tensor):
            count = self._counters[name] = torch.full((), count, dtype=torch.int64, device=hit.device)
        if isinstance(count, Tensor):
            count.add_(hit)
        else:
            self._counters[name] = count + hit

    # ---------------------------------------------------------------- groups

    def _adopt(self) -> None:
        """Check groups that are new; take over what a checkpoint brought, however it was loaded."""
        groups = self.optimizer.param_groups
        known = len(self._groups) == len(groups) and all(a is b for a, b in zip(self._groups, groups, strict=True))
        if known:
            for i, group in enumerate(groups):
                self._check(group, f"group {i}")
            return
        before, self._spread = self._groups, None
        loaded = [i for i, old in enumerate(before) if i < len(groups) and groups[i] is not old]
        said = False
        for i, group in enumerate(groups):
            saved = group.pop(SAVED, None) or {}
            if i in loaded:
                said = self._keep_strength(before[i], group, saved, said)
                self._counters = {name: saved.get(name, 0) for name in self._counters}
            self._start(group, f"group {i}")
            if (i in loaded or i >= len(before)) and self._reads_mean_square:
                self.account.settle()
                self._remember(group, saved, f"group {i}")
        self._groups = list(groups)  # not before: what raised will raise again

    def _start(self, group: Group, where: str) -> None:
        """Check a group that was not seen before, and set its peak lr."""
        self._check(group, where)
        low = next((p for p in group["params"] if low_precision(p)), None)
        if low is not None and decays(group):
            warnings.warn(
                f"{where} holds {str(low.dtype).removeprefix('torch.')} weights, where rounding to nearest loses every "
                "pull too small for the spacing of the numbers. weightdecay's own optimizers keep it, with rounding=.",
                stacklevel=6,
            )

    def _check(self, group: Group, where: str) -> None:
        check_group(self.optimizer, self.decay, self.gain, group, where)
        if group.get("peak_lr") is None:
            peak = "initial_lr" if "initial_lr" in group else "lr"  # torch's schedulers set the first
            group["peak_lr"] = float(group[peak])
        if not scalars.on_accelerator(group["lr"]):
            self.decay.check(group, where)

    def _keep_strength(self, old: Group, new: Group, saved: dict[str, Any], said: bool) -> bool:
        """λ of another decay is another number: keep ours, and say so once. Return whether it was said."""
        name = saved.get("decay")
        if "decay" not in old and isinstance(new.get("decay"), str):  # written by weightdecay's own optimizers
            name = new.pop("decay")
        new.setdefault("peak_lr", old["peak_lr"])
        if name == repr(self.decay):
            return said
        if not said:
            written = f"decay={name}" if name else "an optimizer to which no decay was attached"
            warnings.warn(
                f"the checkpoint was written with {written}, weight_decay={new.get('weight_decay')}: its moments are "
                f"taken over; {self.decay!r} keeps weight_decay={old['weight_decay']} of this optimizer.",
                stacklevel=6,
            )
        new["weight_decay"] = old["weight_decay"]
        return True

    def _remember(self, group: Group, saved: dict[str, Any], where: str) -> None:
        """Take S and t from the checkpoint or from the moments."""
        rows = saved.get("squares") or [None] * len(group["params"])
        for i, (param, row) in enumerate(zip(group["params"], rows, strict=True)):
            state = self.optimizer.state.get(param, {})
            self.account.take(param, state, _step_of(state, group), row, f"parameter {i} of {where}")

    def _save(self, optimizer: torch.optim.Optimizer, state_dict: dict[str, Any]) -> None:
        """Add plain values to the saved groups: the decay's name, the counters, and (S, t, the optimizer's step)."""
        self._adopt()
        known = self.account.values()
        for group, packed in zip(optimizer.param_groups, state_dict["param_groups"], strict=True):
            own: dict[str, Any] = {"decay": repr(self.decay)}
            own.update({name: int(count) for name, count in self._counters.items()})
            if self._reads_mean_square:
                own["squares"] = [self._row(param, group, known.get(param)) for param in group["params"]]
            packed[SAVED] = own

    def _row(self, param: Tensor, group: Group, known: tuple[float, float] | None) -> list[float | None] | None:
        if known is None or is_sharded(param):
            return None  # where each process knows S of its own piece only, the moments will tell
        return [*known, _step_of(self.optimizer.state.get(param, {}), group)]

    @property
    def _reads_mean_square(self) -> bool:
        return reads_mean_square(self.decay, self.gain)

    @property
    def _all(self) -> Spread:
        if self._spread is None:
            params = [p for group in self.optimizer.param_groups for p in group["params"]]
            self._spread = Spread(params, self.process_group)
        return self._spread

    def _device(self, live: Sequence[Live]) -> torch.device:
        """Return where v̄ and the pulls are: on the accelerator, if any tensor is."""
        weights = [m.weight for m in live] or [p for g in self.optimizer.param_groups for p in g["params"]]
        devices = [w.device for w in weights]
        return next((d for d in devices if d.type != "cpu"), torch.device("cpu"))


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


def _inside_step(optimizer: torch.optim.Optimizer) -> bool:
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


def _step_of(state: Any, group: Group) -> float | None:
    """Return the optimizer's own step count of a tensor; some keep it in the group."""
    count: Any = state.get("step", group.get("step")) if state else None
    return None if count is None else float(count)


def _only_where(ok: bool | Tensor, pull: Number) -> Number:
    return scalars.choose(ok, pull, 0.0)
