"""The optimizer that every method inherits: torch's contract, and the one reference step."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, TypedDict

import torch
from torch import Tensor

from weightdecay.decay import Decay, Number, Step
from weightdecay.optim import checkpoint, scalars
from weightdecay.optim.hyper import NON_NEGATIVE, POSITIVE, Ranges, check_ranges, unknown
from weightdecay.optim.member import COMPENSATION, Group, Member, State, member
from weightdecay.optim.parameters import check_parameters, low_precision
from weightdecay.optim.sharding import Spread

Params = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]


class Options(TypedDict, total=False):
    """What every optimizer here takes besides its own hyper-parameters; :class:`Optimizer` explains each."""

    maximize: bool
    peak_lr: float | None
    max_grad_norm: float | None
    engine: str
    nonfinite: str
    rounding: str
    moments: torch.dtype | None
    seed: int
    process_group: Any


TORCH_FLAGS = {
    "foreach": "the implementation is chosen by engine=",
    "fused": "the implementation is chosen by engine=",
    "capturable": "the implementation is chosen by engine=",
    "differentiable": "the step is not differentiable here",
    "amsgrad": "it is an optimizer of its own: AMSGrad, AMSGradW, AMSGradS",
    "decoupled_weight_decay": "say it with an object: decay=Decoupled()",
}
"""Keywords of torch.optim that have another name here; accepted when they are off."""


class Optimizer(torch.optim.Optimizer):
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
    linear_in_squares: ClassVar[bool] = False
    """Whether v_t = β₂ v_{t−1} + (1 − β₂) g_t² from v_0 = 0, so that v̄ follows from the norms of the gradients."""

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
        **others: Any,
    ) -> None:
        self._refuse(others, {*defaults, *Options.__annotations__})
        for option, value, known in (
            ("engine", engine, ENGINES),
            ("nonfinite", nonfinite, ("skip", "raise")),
            ("rounding", rounding, ("nearest", "stochastic", "compensated")),
        ):
            if value not in known:
                raise ValueError(f"{option}={value!r}: {unknown(f'{option} mode', str(value), known)}")
        if moments not in (None, torch.bfloat16):
            raise ValueError(
                f"moments={moments!r}: moments are kept in the working precision (None) or torch.bfloat16."
            )
        if max_grad_norm is not None:
            check_ranges({"max_grad_norm": max_grad_norm}, {"max_grad_norm": POSITIVE}, "the optimizer")
        self.nonfinite, self.rounding, self.moments, self.seed = nonfinite, rounding, moments, seed
        self.max_grad_norm, self.process_group = max_grad_norm, process_group
        self.grad_norm: Number | None = None
        self.counters: dict[str, Number] = {"skipped": 0, "clamped": 0}
        self._engine = engine
        self._runner: Reference | None = None
        self._spread: Spread | None = None
        super().__init__(params, {**defaults, "maximize": maximize, "peak_lr": peak_lr})
        self._runner = ENGINES[engine](self)

    def _refuse(self, others: dict[str, Any], known: set[str]) -> None:
        for name, value in others.items():
            if name not in TORCH_FLAGS:
                raise TypeError(f"{type(self).__name__}: {unknown('option', name, known)}")
            if value:
                raise TypeError(f"{type(self).__name__}({name}={value!r}): {TORCH_FLAGS[name]}.")

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
        return decays(group) and bool(group["decay"].reads_mean_gain)

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
        self.runner.step()
        return loss

    def reference_step(self) -> None:
        """The definition that every engine must equal: observe all gradients, then move all weights."""
        members = self.gather()
        scale = self.admit(members)
        if scale is None:
            return
        for m in members:
            self.begin(m)
            m.memory.pop("v_sum", None)  # a faster engine's account of v, which this step does not keep
            m.memory["step"] += 1
            m.open(m.memory["step"].item())
            self.see(m, scale)
        # Before any weight moves: the mean is over the model as it stood when the gradients were taken.
        mean_square = self.model_mean_square(members) if self.coupled else math.nan
        clamped: bool | Tensor = False
        for m in members:
            clamped = clamped | self.move(m, mean_square)
            m.close(self.moments, self.seed)
        self.count("clamped", clamped)

    def gather(self) -> list[Member]:
        """Return the tensors that have a gradient; refuse what the step could not do, before anything moves."""
        members, index = [], 0
        for i, group in enumerate(self.param_groups):
            if not on_accelerator(group["lr"]):
                group["decay"].check(group, f"group {i}")
            for param in group["params"]:
                index += 1
                grad = param.grad
                if grad is None:
                    continue
                if grad.layout != torch.strided:
                    raise RuntimeError(
                        f"{type(self).__name__} does not support sparse gradients ({self.describe(index)}): moments "
                        "and the mean over the model need every element. Use sparse=False in the layer, or "
                        "torch.optim.SparseAdam."
                    )
                members.append(member(index, param, grad, self.state[param], group))
        return members

    def describe(self, index: int) -> str:
        """Return what an error message calls the parameter of that index (the first is 1) in the model."""
        for i, group in enumerate(self.param_groups):
            if index <= len(group["params"]):
                names = group.get("param_names")
                return f"{names[index - 1] if names else f'parameter {index - 1}'} of group {i}"
            index -= len(group["params"])
        raise IndexError(index)

    def begin(self, m: Member) -> None:
        """Give a parameter that meets its first gradient its state."""
        if "step" in m.memory:
            return
        m.memory["step"] = torch.zeros((), dtype=torch.float32, device=self.runner.device_of_steps(m.weight))
        m.state = self.start(torch.empty_like(m.weight, dtype=m.dtype), m.group)
        if self.rounding == "compensated" and low_precision(m.weight):
            m.state[COMPENSATION] = torch.zeros_like(m.weight, dtype=m.dtype)
        m.close(self.moments, self.seed)

    def see(self, m: Member, scale: Number) -> None:
        """Let decay and moments see the gradient: g ← scale · g, coupled with the weight where the decay does that."""
        if not (isinstance(scale, float) and scale == 1):
            m.grad = m.grad * scale
        if decays(m.group):
            m.grad = m.group["decay"].couple(m.grad, m.weight.to(m.dtype), m.group["weight_decay"])
        self.observe(m.state, m.grad, m.group)

    def move(self, m: Member, mean_square: Number) -> bool | Tensor:
        """Move the weight; return whether the pull had to be clamped to 1."""
        pull = self.pull(m, mean_square)
        move = self.displacement(m.state, m.grad, m.group, mean_square)
        if isinstance(pull, float):
            m.write(min(pull, 1.0), move, self.rounding, self.seed)
            return pull > 1
        m.write(pull.clamp(max=1), move, self.rounding, self.seed)
        return (pull > 1).any()

    def admit(self, members: list[Member]) -> float | None:
        """Return what the gradients are multiplied by; None where the step is left out for a gradient not finite."""
        if not (self.coupled or self.max_grad_norm or self.nonfinite == "raise"):
            return 1.0
        bad = next((m for m in members if not self.finite(m.grad)), None)
        square = 0.0
        if self.max_grad_norm is not None and bad is None:
            square = sum(m.grad.double().square().sum().item() / self.spread.copies(m.param) for m in members)
        mine = torch.tensor([float(bad is not None), square], dtype=torch.float64)
        bad_processes, square = self.spread.sum(mine).tolist()
        if bad_processes:
            if self.nonfinite == "raise":
                raise not_finite(self, bad)
            self.count("skipped", True)
            return None
        if self.max_grad_norm is None:
            return 1.0
        self.grad_norm = math.sqrt(square)
        return min(1.0, self.max_grad_norm / (self.grad_norm + 1e-6))  # as torch.nn.utils.clip_grad_norm_

    def model_mean_square(self, members: list[Member]) -> float:
        r"""Return :math:`\bar v = \sum \hat v / n` over every element of the model that has a gradient."""
        copies = [self.spread.copies(m.param) for m in members]
        total = sum(self.second_moment(m.state, m.group).sum().item() / k for m, k in zip(members, copies, strict=True))
        count = sum(m.weight.numel() / k for m, k in zip(members, copies, strict=True))
        total, count = self.spread.sum(torch.tensor([total, count], dtype=torch.float64)).tolist()
        return total / count if count else 0.0

    def pull(self, m: Member, mean_square: Number) -> Number:
        """Return the tensor's pull before the clamp."""
        group = m.group
        if not decays(group):
            return 0.0
        step = Step(
            strength=group["weight_decay"],
            lr=group["lr"],
            peak_lr=group["peak_lr"],
            mean_gain=functools.partial(self.mean_gain, m.state, group, mean_square),
            gain=functools.partial(self.gain, m.state, group),
        )
        pull: Number = group["decay"].pull(step)
        return pull

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
    def runner(self) -> Reference:
        """The engine itself; made when first asked for after a copy or a checkpoint."""
        if self._runner is None:
            self._runner = ENGINES[self._engine](self)
        return self._runner

    @property
    def engine(self) -> str:
        """How the step is computed. Assigning another name takes effect with the next step; nothing is lost."""
        return self._engine

    @engine.setter
    def engine(self, name: str) -> None:
        if name not in ENGINES:
            raise ValueError(f"engine={name!r}: {unknown('engine mode', str(name), ENGINES)}")
        runner = ENGINES[name](self)  # raises where the engine cannot; the old one then stays
        if self._runner is not None:
            self._runner.settle()
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
        check_parameters(param_group, self.param_groups, self.defaults, where)
        super().add_param_group(param_group)
        self._spread = None
        try:
            self.check(param_group, where)
            if param_group["peak_lr"] is None:
                param_group["peak_lr"] = float(param_group["lr"])
            param_group["decay"].check(param_group, where)
            if self._runner is not None:
                self._runner.check(param_group, where)
        except Exception:
            self.param_groups.pop()
            raise
        self._warn_of_lost_decay(param_group, where)

    def check(self, group: Group, where: str) -> None:
        """Refuse hyper-parameters outside their range, NaN among them."""
        if not isinstance(group["decay"], Decay):
            raise TypeError(
                f"decay={group['decay']!r} in {where} is not a Decay. Pass an object: L2(), Vanilla(), Decoupled(), "
                "Independent(), Stable() or Elementwise()."
            )
        check_ranges(group, self.ranges, where)
        if group["peak_lr"] is not None:
            check_ranges(group, {"peak_lr": NON_NEGATIVE}, where)

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
        if self._runner is not None:
            self._runner.settle()
        return checkpoint.pack(self, super().state_dict())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume bit-exactly from our own checkpoint; take the moments of torch's, keeping our λ.

        Raises: ValueError, where groups, shapes or the method do not match; nothing has changed then.
        """
        checkpoint.load(self, state_dict)
        self._runner = None  # what an engine remembers is of the run before

    def __getstate__(self) -> dict[str, Any]:
        if self._runner is not None:
            self._runner.settle()
        own = {name: getattr(self, name) for name in OWN}
        return {**super().__getstate__(), **own, "_runner": None, "_spread": None}


OWN = (
    *("_engine", "nonfinite", "rounding", "moments", "seed"),
    *("max_grad_norm", "process_group", "grad_norm", "counters"),
)
"""What a copy of an optimizer takes along beside torch's own attributes."""


def decays(group: Group) -> bool:
    """Whether the group's λ is above 0. A tensor is taken as such: reading it could mean to wait for a device."""
    strength = group["weight_decay"]
    return isinstance(strength, Tensor) or bool(strength != 0)


def on_accelerator(value: Any) -> bool:
    """Whether reading the number would wait for a device."""
    return isinstance(value, Tensor) and not scalars.readable(value.device)


def not_finite(optimizer: Optimizer, bad: Member | None) -> FloatingPointError:
    """Return the error for a gradient that the moments cannot take."""
    whose = f"the gradient of {optimizer.describe(bad.index)}" if bad else "a gradient in another process"
    return FloatingPointError(
        f"{whose} is not finite (or too large to square); weights and state are untouched. "
        'nonfinite="skip" leaves such steps out and counts them.'
    )


class Reference:
    """The engine that is the definition. Others have the same four methods."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer

    def step(self) -> None:
        """Take one step."""
        self.optimizer.reference_step()

    def check(self, group: Group, where: str) -> None:
        """Raise ValueError for a group that this engine cannot honour, naming an engine that can."""

    def settle(self) -> None:
        """Write what the engine keeps for itself into the optimizer's state."""

    def device_of_steps(self, weight: Tensor) -> torch.device:
        """Return where the step count of a weight is kept."""
        return torch.device("cpu")


ENGINES: dict[str, Callable[[Optimizer], Reference]] = {"auto": Reference, "reference": Reference}
"""How a step may be computed. The seam: a faster engine registers itself here and nothing else changes."""
