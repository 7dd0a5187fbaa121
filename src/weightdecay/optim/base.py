"""The optimizer that every method inherits: torch's contract, and the one reference step."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, TypedDict

import torch
from torch import Tensor

from weightdecay.decay import Decay, Number, Step
from weightdecay.optim import checkpoint
from weightdecay.optim.hyper import NON_NEGATIVE, Ranges, check_ranges, unknown
from weightdecay.optim.parameters import check_parameters, low_precision, working_dtype
from weightdecay.optim.rounding import stochastic_round

Params = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]
State = dict[str, Any]
Group = dict[str, Any]
MeanSquare = Callable[[], Tensor]
"""v̄ when called: the mean of v̂ over the model, reduced at most once a step."""


class Options(TypedDict, total=False):
    """What every optimizer here takes besides its own hyper-parameters; :class:`Optimizer` explains each."""

    maximize: bool
    peak_lr: float | None
    engine: str
    nonfinite: str
    rounding: str
    seed: int


TORCH_FLAGS = {
    "foreach": "the implementation is chosen by engine=",
    "fused": "the implementation is chosen by engine=",
    "capturable": "the implementation is chosen by engine=",
    "differentiable": "the step is not differentiable here",
    "amsgrad": "it is an optimizer of its own: AMSGrad, AMSGradW, AMSGradS",
    "decoupled_weight_decay": "say it with an object: decay=Decoupled()",
}
"""Keywords of torch.optim that have another name here; accepted when they are off."""


@dataclass
class Member:
    """One tensor that takes part in one step. Complex tensors appear as pairs of reals."""

    index: int  # in the model, over all groups
    weight: Tensor  # θ_{t−1}, the parameter's own memory
    grad: Tensor  # g_t in the working precision; never p.grad itself where that would be written
    state: State
    group: Group
    name: str


class Optimizer(torch.optim.Optimizer):
    r"""Base of every optimizer: :math:`\theta_t = (1 - \text{pull}_t)\,\theta_{t-1} - \eta_t u_t`.

    A method supplies the direction u_t (:meth:`observe`, :meth:`direction`) and by how much it multiplies a gradient
    (:meth:`gain`, :meth:`mean_gain`); the group's :class:`~weightdecay.decay.Decay` supplies pull_t.

    Options that every optimizer takes:

    ``maximize``
        Ascend instead of descend.
    ``peak_lr``
        η_max of the group: the lr it was built with unless given (read by Independent and AdaBound).
    ``engine``
        How the step is computed: "auto" or "reference".
    ``nonfinite``
        What an inf or NaN gradient does. "skip" (default): where one number couples all tensors, the whole step is
        left out, weights and state untouched, and counted in :attr:`skipped_steps`; elsewhere it spoils its own
        tensor, as in torch, and no reduction is paid for. "raise": every step is checked, and FloatingPointError
        names the tensor before anything has moved.
    ``rounding``
        Of float16 and bfloat16 weights: "nearest" as in torch, or "stochastic", which keeps decay and update that
        are smaller than the spacing of the numbers. Moments and arithmetic are float32 either way.
    ``seed``
        Of the stochastic rounding; the noise is a function of (seed, tensor, step), so that a resumed run repeats
        the uninterrupted one.
    """

    method: ClassVar[str] = ""
    """The method's name in checkpoints; the decay is not part of it."""
    slots: ClassVar[tuple[str, ...]] = ()
    """The state tensors a parameter may have, named as in torch where torch has them."""
    ranges: ClassVar[Ranges] = {"lr": NON_NEGATIVE, "weight_decay": NON_NEGATIVE}
    """The values each hyper-parameter may take."""

    def __init__(
        self,
        params: Params,
        defaults: dict[str, Any],
        *,
        maximize: bool = False,
        peak_lr: float | None = None,
        engine: str = "auto",
        nonfinite: str = "skip",
        rounding: str = "nearest",
        seed: int = 0,
        **others: Any,
    ) -> None:
        self._refuse(others, {*defaults, *Options.__annotations__})
        for option, value, known in (
            ("engine", engine, ENGINES),
            ("nonfinite", nonfinite, ("skip", "raise")),
            ("rounding", rounding, ("nearest", "stochastic")),
        ):
            if value not in known:
                raise ValueError(f"{option}={value!r}: {unknown(f'{option} mode', str(value), known)}")
        self.engine, self.nonfinite, self.rounding, self.seed = engine, nonfinite, rounding, seed
        self.counters = {"skipped": 0, "clamped": 0}
        super().__init__(params, {**defaults, "maximize": maximize, "peak_lr": peak_lr})

    def _refuse(self, others: dict[str, Any], known: set[str]) -> None:
        for name, value in others.items():
            if name not in TORCH_FLAGS:
                raise TypeError(f"{type(self).__name__}: {unknown('option', name, known)}")
            if value:
                raise TypeError(f"{type(self).__name__}({name}={value!r}): {TORCH_FLAGS[name]}.")

    # ---------------------------------------------------------------- what a method supplies

    def start(self, weight: Tensor) -> State:
        """Return the state tensors of a parameter that meets its first gradient, in the working precision."""
        return {}

    def observe(self, state: State, grad: Tensor, group: Group) -> None:
        """Let the moments see the gradient. Before any weight moves."""

    def direction(self, state: State, grad: Tensor, group: Group, mean_square: MeanSquare) -> Tensor:
        """Return u_t, in the shape of the tensor."""
        raise NotImplementedError(f"{type(self).__name__} defines no direction")

    def gain(self, state: State, group: Group) -> Number:
        """Return by how much the update multiplies a gradient, element by element (or one number)."""
        raise NotImplementedError(f"{type(self).__name__} defines no gain")

    def mean_gain(self, state: State, group: Group, mean_square: MeanSquare) -> Number:
        """Return the isotropic gain: one number; 0 where no element of the model has had a gradient."""
        raise NotImplementedError(f"{type(self).__name__} defines no isotropic gain")

    def second_moment(self, state: State, group: Group) -> Tensor:
        """Return v̂_t, whose mean over the model is v̄; for methods whose gain is a mean."""
        raise NotImplementedError(f"{type(self).__name__} has no second moment")

    def displacement(self, state: State, grad: Tensor, group: Group, mean_square: MeanSquare) -> Tensor:
        """Return η_t u_t."""
        move: Tensor = group["lr"] * self.direction(state, grad, group, mean_square)
        return move

    def couples(self, group: Group) -> bool:
        """Whether this group's step depends on a mean over the model."""
        return bool(group["weight_decay"] != 0) and group["decay"].reads_mean_gain

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
        ENGINES[self.engine](self)
        return loss

    def reference_step(self) -> None:
        """The definition that every engine must equal: observe all gradients, then move all weights."""
        members = self.gather()
        if not self.admit(members):
            return
        for m in members:
            if m.group["weight_decay"] != 0:
                m.grad = m.group["decay"].couple(m.grad, m.weight.to(m.grad.dtype), m.group["weight_decay"])
            if not m.state:
                m.state["step"] = torch.tensor(0.0, dtype=torch.float32)
                m.state.update(self.start(torch.zeros_like(m.weight, dtype=m.grad.dtype)))
            m.state["step"] += 1
            self.observe(m.state, m.grad, m.group)
        # Before any weight moves: the mean is over the model as it stood when the gradients were taken.
        mean_square = functools.cache(functools.partial(self.model_mean_square, members))
        clamped = False
        for m in members:
            pull = self.pull(m, mean_square)
            if (pull > 1).any():
                pull, clamped = pull.clamp(max=1), True
            move = self.displacement(m.state, m.grad, m.group, mean_square)
            # One expression in the working precision, rounded once.
            self.write(m, (1 - pull) * m.weight.to(m.grad.dtype) - move)
        self.counters["clamped"] += clamped

    def gather(self) -> list[Member]:
        """Return the tensors that have a gradient; refuse what the step could not do, before anything moves."""
        members, index = [], 0
        for i, group in enumerate(self.param_groups):
            group["decay"].check(group, f"group {i}")
            names = group.get("param_names", [f"parameter {j}" for j in range(len(group["params"]))])
            for param, name in zip(group["params"], names, strict=True):
                index += 1
                if param.grad is None:
                    continue
                name_in = f"{name} of group {i}"
                if param.grad.layout != torch.strided:
                    raise RuntimeError(
                        f"{type(self).__name__} does not support sparse gradients ({name_in}): moments and the mean "
                        "over the model need every element. Use sparse=False in the layer, or torch.optim.SparseAdam."
                    )
                weight, grad = param.detach(), param.grad
                if torch.is_complex(param):
                    weight, grad = torch.view_as_real(weight), torch.view_as_real(grad)
                grad = grad.to(working_dtype(weight))
                grad = -grad if group["maximize"] else grad
                members.append(Member(index, weight, grad, self.state[param], group, name_in))
        return members

    def admit(self, members: list[Member]) -> bool:
        """Return whether the step may be taken; decide what a non-finite gradient does."""
        if self.nonfinite == "skip" and not any(self.couples(m.group) for m in members):
            return True
        for m in members:
            if not self.finite(m.grad):
                if self.nonfinite == "raise":
                    raise FloatingPointError(
                        f"the gradient of {m.name} is not finite (or too large to square); weights and state "
                        'are untouched. nonfinite="skip" leaves such steps out and counts them.'
                    )
                self.counters["skipped"] += 1
                return False
        return True

    def model_mean_square(self, members: list[Member]) -> Tensor:
        r"""Return :math:`\bar v = \sum \hat v / n` over every element of the model that has a gradient; float64."""
        totals = [self.second_moment(m.state, m.group).sum().cpu().double() for m in members]
        return torch.stack(totals).sum() / sum(m.weight.numel() for m in members)

    def pull(self, m: Member, mean_square: MeanSquare) -> Tensor:
        """Return the tensor's pull before the clamp; a 0-d float64 tensor where the decay is uniform."""
        group = m.group
        if group["weight_decay"] == 0:
            return torch.zeros((), dtype=torch.float64)
        step = Step(
            strength=group["weight_decay"],
            lr=group["lr"],
            peak_lr=group["peak_lr"],
            mean_gain=functools.partial(self.mean_gain, m.state, group, mean_square),
            gain=functools.partial(self.gain, m.state, group),
        )
        pull: Number = group["decay"].pull(step)
        return pull if isinstance(pull, Tensor) else torch.tensor(pull, dtype=torch.float64)

    def write(self, m: Member, value: Tensor) -> None:
        """Store the new weight, rounded once to its precision."""
        if self.rounding == "stochastic" and low_precision(m.weight):
            generator = torch.Generator(device=m.weight.device)
            generator.manual_seed((self.seed * 1_000_003 + m.index) * 1_000_003 + int(m.state["step"]))
            value = stochastic_round(value, m.weight.dtype, generator)
        m.weight.copy_(value)

    # ---------------------------------------------------------------- torch's contract

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
        try:
            self.check(param_group, where)
            if param_group["peak_lr"] is None:
                param_group["peak_lr"] = float(param_group["lr"])
            param_group["decay"].check(param_group, where)
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
                'pull too small for the spacing of the numbers. Pass rounding="stochastic" to keep it on average.',
                stacklevel=5,
            )

    def state_dict(self) -> dict[str, Any]:
        """Return plain values only, so that it loads with ``weights_only=True``. A decay is named, not stored."""
        return checkpoint.pack(self, super().state_dict())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume bit-exactly from our own checkpoint; take the moments of torch's, keeping our λ.

        Raises: ValueError, where groups, shapes or the method do not match; nothing has changed then.
        """
        checkpoint.load(self, state_dict)

    def __getstate__(self) -> dict[str, Any]:
        own = {k: getattr(self, k) for k in ("engine", "nonfinite", "rounding", "seed", "counters")}
        return {**super().__getstate__(), **own}


ENGINES: dict[str, Callable[[Optimizer], None]] = {
    "auto": Optimizer.reference_step,
    "reference": Optimizer.reference_step,
}
"""How a step may be computed. The seam: a faster engine registers itself here and nothing else changes."""
