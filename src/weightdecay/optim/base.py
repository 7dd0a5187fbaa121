"""The optimizer that every method inherits: torch's contract, and the parts of a step."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from operator import is_
from typing import Any, ClassVar

import torch
from torch import Tensor

from weightdecay.checks import NON_NEGATIVE, POSITIVE, Ranges, check_mode, checked, flag, softly, whole
from weightdecay.decay import Number, decay_of
from weightdecay.decay.base import checked_needs
from weightdecay.decay.norms import warn_if_off
from weightdecay.optim import checkpoint, scalars
from weightdecay.optim.alarm import LARGE, PullAlarm
from weightdecay.optim.groups import SeenGroups
from weightdecay.optim.member import COMPENSATION, START, Group, State, decays
from weightdecay.optim.options import Options, check_values, engine_of, list_options, refuse_unknown, with_defaults
from weightdecay.optim.parameters import Held, check_parameters, low_precision
from weightdecay.optim.reference import Runner, engines
from weightdecay.optim.sharding import Claim, Spread, zero_group
from weightdecay.optim.untraced import Untraced, hidden

Params = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]

OWN = (
    *("_engine", "nonfinite", "rounding", "moments", "seed"),
    *("max_grad_norm", "process_group", "grad_norm", "counters", "state_names"),
)
"""What a copy of an optimizer takes along beside torch's own attributes."""

BOX = ("start", "observe", "second_moment", "multiplier", "direction", "gain", "mean_gain", "displacement")
"""The methods that make up a box."""


class Optimizer(Untraced):
    r"""Base of every optimizer: :math:`\theta_t = (1 - \text{pull}_t)\,\theta_{t-1} - \eta_t u_t`.

    A method supplies the direction u_t (:meth:`observe`, :meth:`direction`) and by how much it multiplies a gradient
    (:meth:`gain`, :meth:`mean_gain`); the group's :class:`~weightdecay.decay.Decay` supplies pull_t.

    Options that every optimizer takes:

    ``maximize``
        Ascend instead of descend.
    ``peak_lr``
        η_max of the group: the lr it was built with unless given (read by Independent and AdaBound).
    ``max_grad_norm``
        Clip the gradients of the whole model to this Euclidean norm before the step, as
        ``torch.nn.utils.clip_grad_norm_`` does, without a second pass over them and without writing ``p.grad``. The
        norm before clipping is then in :attr:`grad_norm`.
    ``engine``
        How the step is computed; see :mod:`weightdecay.engine`. May be changed in mid-run.
    ``nonfinite``
        What an inf or NaN gradient does. "skip" (default): where one number couples all tensors (a mean over the model,
        or clipping), the whole step is left out, weights and state untouched, and counted in :attr:`skipped_steps`;
        elsewhere it spoils its own tensor, as in torch, and no reduction is paid for. "raise": every step is checked,
        and FloatingPointError names the tensor before anything has moved.
    ``rounding``
        Of float16 and bfloat16 weights: "nearest" as in torch; "stochastic", which keeps on average decay and update
        that are smaller than the spacing of the numbers; "compensated", which keeps what the weight could not hold in a
        state of the weight's size and type (Kahan). Moments and arithmetic are float32 in any case.
    ``moments``
        The type in which the moments are kept between steps: None (float32, or the weight's if it is wider) or
        ``torch.bfloat16``, rounded stochastically.
    ``seed``
        Of the stochastic rounding; the noise is a function of (seed, tensor, step), so that a resumed run repeats
        the uninterrupted one.
    ``process_group``
        The processes over which the model is spread, where that cannot be read from the parameters (ZeRO, a sharding
        of your own). With DTensors (FSDP2, tensor parallel) and under DDP it is not needed.
    """

    method: ClassVar[str] = ""
    """The method's name in checkpoints; the decay is not part of it."""
    slots: ClassVar[tuple[str, ...]] = ()
    """The state tensors a parameter may have, named as in torch where torch has them."""
    ranges: ClassVar[Ranges] = {"lr": NON_NEGATIVE, "weight_decay": NON_NEGATIVE}
    """The values each hyper-parameter may take."""
    elementwise: ClassVar[bool] = False
    """Whether the box treats each element by itself, so that tensors may be moved as one. Said anew by every class that
    overrides a part of the box."""
    linear_in_squares: ClassVar[bool] = False
    """Whether v_t = β₂ v_{t−1} + (1 − β₂) g_t² from v_0 = 0, so that v̄ follows from the norms of the gradients."""

    takes_model: ClassVar[bool] = False
    """Whether the constructor takes a model itself, and deals out its tensors by the types of its modules."""
    timeless: ClassVar[bool] = False
    """Whether no number of the box depends on the step count, so that a checkpoint without counts is whole."""

    changed_defaults: ClassVar[Mapping[str, Any]] = {}
    """What a subclass without a constructor of its own changes in the defaults of its parent's."""
    hyper: ClassVar[tuple[str, ...]] = ()
    """Hyper-parameters that have no range, such as flags: they too are kept in the groups."""

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if "changed_defaults" in vars(cls) and "__init__" not in vars(cls):
            cls.__init__ = with_defaults(cls, cls.changed_defaults)  # type: ignore[method-assign]
        list_options(cls)

    def __init__(
        self,
        params: Params,
        defaults: dict[str, Any],
        *,
        maximize: bool = False,
        peak_lr: float | None = None,
        max_grad_norm: float | None = None,
        engine: str = "auto",
        nonfinite: str = "skip",
        rounding: str = "nearest",
        moments: torch.dtype | None = None,
        seed: int = 0,
        process_group: Any = None,
        foreach: bool | None = None,
        fused: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        **others: Any,
    ) -> None:
        own = {name: others.pop(name) for name in (*self.ranges, *self.hyper) if name in others}
        defaults = {**defaults, **own, "maximize": maximize, "peak_lr": peak_lr}
        refuse_unknown(type(self).__name__, others, {*defaults, *Options.__annotations__})
        engine = engine_of(engine, foreach, fused, capturable, differentiable)
        check_mode("engine", engine, engines())
        check_values(nonfinite, rounding, moments)
        if max_grad_norm is not None:
            max_grad_norm = float(checked("max_grad_norm", max_grad_norm, POSITIVE, "the optimizer"))
        self.nonfinite, self.rounding, self.moments = nonfinite, rounding, moments
        self.seed = whole(seed, "seed", "the optimizer")
        if self.seed < 0:
            raise ValueError(f"seed={seed}: a seed is a whole number, 0 or above.")
        self.max_grad_norm = max_grad_norm
        self.process_group = zero_group() if process_group is None else process_group
        self.grad_norm: Number | None = None
        self.counters: dict[str, Number] = {"skipped": 0, "clamped": 0}
        self.state_names = (*self.slots, COMPENSATION)
        self._engine = engine
        self._alarm = PullAlarm()
        self._claim: Claim | None = None
        self._runner: Runner | None = None
        self._forget()
        # Every group may overrule a default, so that ranges are the groups' business.
        plain = {name: softly(defaults[name], allowed, name) for name, allowed in self.ranges.items()}
        super().__init__(params, {**defaults, **plain, "decay": decay_of(defaults["decay"], "the optimizer")})
        self._runner = engines()[engine](self)
        warn_if_off(((group["decay"], group) for group in self.param_groups), stacklevel=4)
        self._claim = Claim.of([p for group in self.param_groups for p in group["params"]], self.process_group)

    def _forget(self) -> None:
        """Drop what is found again when it is next needed."""
        self.seen = SeenGroups()
        self._runner = None
        self._spread: Spread | None = None
        self._mean_square: Number = math.nan
        self._pulls: Mapping[int, Number] = {}

    # ---------------------------------------------------------------- what a method supplies

    def start(self, weight: Tensor, group: Group) -> State:
        """Return the state tensors of a parameter that meets its first gradient, in the working precision."""
        return {}

    def observe(self, state: State, grad: Tensor, group: Group) -> None:
        """Let the moments see the gradient, in place. Before any weight moves. ``state["step"]`` is t."""

    def direction(self, state: State, grad: Tensor, group: Group, mean_square: Number) -> Tensor:
        """Return u_t, in the shape of the tensor."""
        raise NotImplementedError(f"{type(self).__name__} defines no direction")

    def gain(self, state: State, group: Group) -> Number:
        """Return by how much the update multiplies a gradient, element by element (or one number)."""
        raise NotImplementedError(f"{type(self).__name__} defines no gain")

    def mean_gain(self, state: State, group: Group, mean_square: Number) -> Number:
        """Return the isotropic gain: one number; 0 where no element of the model has had a gradient."""
        raise NotImplementedError(f"{type(self).__name__} defines no isotropic gain")

    def second_moment(self, state: State, group: Group) -> Tensor:
        """Return v̂_t, whose mean over the model is v̄; for methods whose gain is a mean."""
        raise NotImplementedError(f"{type(self).__name__} has no second moment")

    def displacement(self, state: State, grad: Tensor, group: Group, mean_square: Number) -> Tensor:
        """Return η_t u_t."""
        move: Tensor = group["lr"] * self.direction(state, grad, group, mean_square)
        return move

    def couples(self, group: Group) -> bool:
        """Whether this group's step reads v̄, the mean over the model."""
        return decays(group) and "mean_gain" in group["decay"].needs

    def averages(self, group: Group) -> bool:
        """Whether v̂ of this group's tensors is part of the mean over the model."""
        return True

    def box(self, group: Group) -> Optimizer:
        """Return whose box moves this group: its own, unless the groups have methods of their own."""
        return self

    def finite(self, grad: Tensor) -> bool:
        """Whether the moments can take this gradient."""
        return grad.numel() == 0 or math.isfinite(grad.abs().max().item())

    # ---------------------------------------------------------------- the step

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; return what the closure returned, which re-evaluates the loss with gradients on."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        (self._take_hidden_step if "torch._dynamo" in sys.modules else self._take_step)()
        return loss

    def _take_step(self) -> None:
        try:
            if self._claim is not None and (self.coupled or self.max_grad_norm):
                self._claim = None if self._claim.holds(type(self).__name__) else self._claim
            self.runner.step(self)
        except Exception:
            for name in ("grad_scale", "found_inf"):
                # torch's GradScaler takes them off after the step, which will not be; left, they would spoil the next.
                vars(self).pop(name, None)
            raise

    _take_hidden_step = hidden(_take_step)
    """The same outside of a torch.compile around it: what a step finds once is not for a tracer to see."""

    def see(self) -> SeenGroups:
        """The groups as a step sees them, read anew only where somebody has written into one since."""
        seen, groups = self.seen, self.param_groups
        if seen.fixed and len(groups) == len(seen.written):
            for group, (same, values) in zip(groups, seen.written, strict=True):
                if group is not same or len(group) != len(values) or not all(map(is_, group.values(), values)):
                    break
            else:
                return seen
        seen.read(self)
        return seen

    def describe(self, index: int) -> str:
        """Return what an error message calls the parameter of that index (the first is 1) in the model."""
        for i, group in enumerate(self.param_groups):
            if index <= len(group["params"]):
                names = group.get("param_names")
                return f"{names[index - 1] if names else f'parameter {index - 1}'} of group {i}"
            index -= len(group["params"])
        raise IndexError(index)

    def record(self, pulls: Mapping[int, Number], mean_square: Number) -> None:
        """Keep what a step did: the largest pull of each group, by its place, and v̄ where it was read."""
        self._pulls, self._mean_square = pulls, mean_square
        if not self._alarm.rows and all(isinstance(pull, float) and pull <= LARGE for pull in pulls.values()):
            return
        groups = self.seen.groups
        self._alarm.look(type(self).__name__, pulls, lambda place: (groups[place], groups[place]["decay"]))
        over: bool | Tensor = False
        for pull in pulls.values():
            over = over | (pull > 1)
        self.count("clamped", over)

    @property
    def pulls(self) -> list[float]:
        """By which fraction the weights of each group shrank in the last step (the most of a group's), at most 1."""
        numbers = self._read(*(self._pulls.get(i, 0.0) for i in range(len(self.param_groups))))
        return [min(pull, 1.0) for pull in numbers]

    @property
    def mean_square(self) -> float | None:
        """v̄ of the last step, the mean of v̂ over the model; None where no step has read it."""
        (value,) = self._read(self._mean_square)
        return None if math.isnan(value) else value

    @property
    def recorded(self) -> tuple[list[Number], Number]:
        """The pulls and v̄ of the last step where they are, on a device maybe, before the clamp: nothing waits."""
        return [self._pulls.get(i, 0.0) for i in range(len(self.param_groups))], self._mean_square

    @staticmethod
    def _read(*numbers: Number) -> list[float]:
        """Return numbers as floats, in one read of the device."""
        on_device = [n for n in numbers if isinstance(n, Tensor)]
        values = iter(torch.stack([n.double() for n in on_device]).tolist() if on_device else [])
        return [next(values) if isinstance(n, Tensor) else float(n) for n in numbers]

    @property
    def coupled(self) -> bool:
        """Whether v̄ is needed in this step: the same answer in every process, whatever gradients it holds."""
        return any(self.couples(group) for group in self.param_groups)

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Tells torch's GradScaler to hand over its scale and its finding instead of reading them on the host."""
        return self._engine != "reference"

    @property
    def spread(self) -> Spread:
        """How the model is spread over processes."""
        if self._spread is None:
            self._spread = Spread([p for group in self.param_groups for p in group["params"]], self.process_group)
        return self._spread

    @property
    def runner(self) -> Runner:
        """The engine itself; made when first asked for after a copy."""
        if self._runner is None:
            self._runner = engines()[self._engine](self)
        return self._runner

    @property
    def engine(self) -> str:
        """How the step is computed. Assigning another name takes effect with the next step; nothing is lost."""
        return self._engine

    @engine.setter
    def engine(self, name: str) -> None:
        check_mode("engine", name, engines())
        runner = engines()[name](self)  # raises where the engine cannot; the old one then stays
        runner.take_sums(self, self.runner.sums(self))
        self._engine, self._runner = name, runner

    # ---------------------------------------------------------------- torch's contract

    def count(self, event: str, happened: bool | Tensor) -> None:
        """Count a step in which it happened. On an accelerator in place: a captured graph goes on counting."""
        so_far = self.counters[event]
        if isinstance(happened, Tensor) and not scalars.readable(happened.device):
            if not isinstance(so_far, Tensor):
                so_far = self.counters[event] = torch.full((), so_far, dtype=torch.int64, device=happened.device)
            so_far.add_(happened)
        else:
            self.counters[event] = so_far + bool(happened)

    @property
    def skipped_steps(self) -> int:
        """How many steps were left out because a gradient was not finite."""
        return int(self.counters["skipped"])

    @property
    def clamped_steps(self) -> int:
        """In how many steps some pull would have passed 1, and was clamped to 1."""
        return int(self.counters["clamped"])

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group in mid-training, checked like the constructor's; on error nothing stays."""
        where = f"group {len(self.param_groups)}"
        held: Held = self.__dict__.setdefault("_held", Held())
        check_parameters(param_group, self.param_groups, self.defaults, where, held)
        groups, self.param_groups = self.param_groups, self.param_groups[-1:]
        try:  # torch would hash the tensors of all groups once more for each group; they were compared just now
            super().add_param_group(param_group)
        finally:
            self.param_groups = groups
        groups.append(param_group)
        self._spread = None
        try:
            self.check(param_group, where)
            if param_group["peak_lr"] is None:
                param_group["peak_lr"] = float(param_group["lr"])
            param_group["decay"].check(param_group, where)
            if self._runner is not None:
                self._runner.check(self, param_group, where)
        except Exception:
            self.param_groups.pop()
            raise
        held.add(self.param_groups)
        self._warn_of_lost_decay(param_group, where)

    def check(self, group: Group, where: str) -> None:
        """Refuse hyper-parameters outside their range, NaN among them, and a decay that asks for what is not there.

        Leave plain numbers and a Decay in the group.
        """
        for name, value in group.items():
            if isinstance(self.ranges.get(name), tuple) and isinstance(value, list):
                group[name] = tuple(value)
        self.check_written(group, group, where)

    def check_written(self, group: Group, names: Iterable[str], where: str) -> None:
        """Check what somebody wrote into a group, and leave plain numbers and a Decay in it.

        A list stays what it is: its owner may go on writing into it.
        """
        names = set(names)
        for name, allowed in (*self.ranges.items(), ("peak_lr", NON_NEGATIVE)):
            value = group[name]
            if name in names and not scalars.on_accelerator(value) and not (name == "peak_lr" and value is None):
                plain = checked(name, value, allowed, where)
                group[name] = value if isinstance(value, list) and isinstance(allowed, tuple) else plain
        for name in ("maximize", *self.hyper):
            if name in names:
                group[name] = flag(group[name], name, where)
        self.check_own(group, names, where)
        if "decay" in names:
            group["decay"] = decay_of(group["decay"], where)
            self._check_needs(group, where)
            if START in group["decay"].needs and START not in self.state_names:
                self.state_names += (START,)

    def check_own(self, group: Group, names: set[str], where: str) -> None:
        """Check what no range says of those options of a group that were written; leave plain values in it."""

    def _check_needs(self, group: Group, where: str) -> None:
        decay, kind = group["decay"], type(self)
        for name, said in (("mean_gain", "multiplies a gradient"), ("gain", "multiplies each element of a gradient")):
            if name in checked_needs(decay) and getattr(kind, name) is getattr(Optimizer, name):
                raise TypeError(
                    f"{decay!r} in {where} reads by how much the update {said}, and {kind.__name__} defines no {name}. "
                    f"Decoupled(), Independent() and Vanilla() need none; or define {kind.__name__}.{name}."
                )

    def _warn_of_lost_decay(self, group: Group, where: str) -> None:
        low = next((p for p in group["params"] if low_precision(p)), None)
        if low is not None and self.rounding == "nearest" and group["weight_decay"] != 0:
            warnings.warn(
                f"{where} holds {str(low.dtype).removeprefix('torch.')} weights, where rounding to nearest loses every "
                'pull too small for the spacing of the numbers. Pass rounding="stochastic" to keep it on average, or '
                '"compensated" to keep it.',
                stacklevel=5,
            )

    def state_dict(self) -> dict[str, Any]:
        """Return plain values only, so that it loads with ``weights_only=True``. A decay is named, not stored."""
        return checkpoint.pack(self, super().state_dict())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume bit-exactly from our own checkpoint; take the moments of torch's, keeping our λ.

        Raises: ValueError, where groups, shapes or the method do not match; nothing has changed then.
        """
        sums = checkpoint.load(self, state_dict)
        self._forget()  # what an engine remembers is of the run before
        self.runner.take_sums(self, sums)

    def __getstate__(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in OWN}
        return {**super().__getstate__(), **own, "_sums": {} if self._runner is None else self._runner.sums(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        sums = state.pop("_sums", {})
        self._alarm, self._claim = PullAlarm(), None
        self._forget()
        super().__setstate__(state)
        self.runner.take_sums(self, sums)


list_options(Optimizer)
