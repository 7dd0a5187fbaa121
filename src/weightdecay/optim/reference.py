"""The step: its parts, which every engine goes through, and the loop over tensors that is the definition."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from weightdecay.decay import Number, Step
from weightdecay.optim import scalars
from weightdecay.optim.blocks import is_packed
from weightdecay.optim.member import (
    COMPENSATION,
    START,
    Group,
    Member,
    SeenGroup,
    kept,
    kept_dtype,
    member,
    one_number,
    start_of,
)
from weightdecay.optim.parameters import LOW, low_precision
from weightdecay.optim.scalars import capped
from weightdecay.optim.sharding import like, piece

if TYPE_CHECKING:
    from weightdecay.optim.base import Optimizer


class Runner:
    """What an optimizer asks of an engine. It keeps no optimizer: one that nobody needs any more goes at once."""

    name = ""

    def __init__(self, optimizer: Optimizer) -> None:
        for i, group in enumerate(optimizer.param_groups):
            self.check(optimizer, group, f"group {i}")

    def step(self, optimizer: Optimizer) -> None:
        """Take one step."""
        raise NotImplementedError

    def check(self, optimizer: Optimizer, group: Group, where: str) -> None:
        """Raise ValueError for a group that this engine cannot honour, naming an engine that can."""

    def sums(self, optimizer: Optimizer) -> dict[int, float]:
        """Return what a checkpoint must hold beside the state: Σ v of tensors, by their place in the model."""
        return {}

    def take_sums(self, optimizer: Optimizer, sums: dict[int, float]) -> None:
        """Go on from what :meth:`sums` of an earlier process returned."""

    def device_of_steps(self, weight: Tensor) -> torch.device:
        """Return where the step count of a weight is kept: where the weight is, so that a graph counts its steps."""
        return weight.device


class Reference(Runner):
    """The definition that every engine must equal: observe all gradients, then move all weights."""

    name = "reference"

    def step(self, optimizer: Optimizer) -> None:
        """Take one step."""
        seen = optimizer.see()
        members = gather(optimizer, seen.groups)
        if seen.foreign:
            try_decays(optimizer)
        scale = clipping(optimizer, members)
        if scale is None:
            return
        for m in members:
            init_state(optimizer, m)
        for m in members:
            m.memory["step"] = step = m.memory["step"] + 1  # not in place: an engine may keep many counts in one memory
            m.load_state(float(step), optimizer.state_names)
            update_moments(optimizer, m, scale)
        # Before any weight moves: the mean is over the model as it stood when the gradients were taken.
        mean_square = model_mean_square(optimizer, members) if seen.coupled else math.nan
        pulls: dict[int, float] = {}
        for m in members:
            pull = float(apply_update(optimizer, m, mean_square))
            m.store_state(optimizer.moments, optimizer.seed)
            pulls[m.place] = max(pull, pulls.get(m.place, 0.0))
        optimizer.record(pulls, mean_square)

    def device_of_steps(self, weight: Tensor) -> torch.device:
        """Return the CPU, where the step reads t."""
        return torch.device("cpu")


def clipping(optimizer: Optimizer, members: list[Member]) -> float | None:
    """Return what the gradients are multiplied by; None where the step is left out for a gradient not finite."""
    most, spread = optimizer.max_grad_norm, optimizer.spread
    if not (optimizer.seen.coupled or most or optimizer.nonfinite == "raise"):
        return 1.0
    bad = next((m for m in members if not optimizer.finite(m.grad)), None)
    spoilt, square = float(bad is not None), 0.0
    if most is not None and bad is None:
        square = sum(m.grad.double().square().sum().item() / spread.copies(m.param) for m in members)
    if spread.group is not None:
        spoilt, square = spread.sum(torch.tensor([spoilt, square], dtype=torch.float64, device="cpu")).tolist()
    if spoilt:
        if optimizer.nonfinite == "raise":
            raise not_finite(optimizer, bad)
        optimizer.count("skipped", True)
        return None
    if most is None:
        return 1.0
    optimizer.grad_norm = math.sqrt(square)
    return min(1.0, most / (optimizer.grad_norm + 1e-6))  # as torch.nn.utils.clip_grad_norm_


# ---------------------------------------------------------------- the parts of a step


def gather(optimizer: Optimizer, groups: list[SeenGroup]) -> list[Member]:
    """Return the tensors that have a gradient; refuse what the step could not do, before anything moves."""
    members, index, state = [], 0, optimizer.state
    for place, (group, seen) in enumerate(zip(optimizer.param_groups, groups, strict=True)):
        for param in group["params"]:
            index += 1
            grad = param.grad
            if grad is None:
                continue
            if type(grad) is not Tensor and type(grad).__name__ == "FakeTensor":
                raise NotImplementedError(
                    "the gradients are fake tensors, which hold no numbers, and a step reads some (t, v̄, whether "
                    "all is finite). Plan memory with torch.optim's class of the same method: its state is as large."
                )
            if grad.layout != torch.strided:
                raise RuntimeError(
                    f"{type(optimizer).__name__} does not support sparse gradients ({optimizer.describe(index)}): "
                    "moments and the mean over the model need every element. Use sparse=False in the layer, or "
                    "torch.optim.SparseAdam."
                )
            members.append(member(index, param, grad, state[param], seen, place))
    return members


def try_decays(optimizer: Optimizer) -> None:
    """Ask every decay that is not ours on a copy of the smallest tensor of its group: if it raises, nothing moves."""
    for place, group in enumerate(optimizer.seen.groups):
        if group.trusted or not group.acts:
            continue
        live = [p for p in group["params"] if p.grad is not None and p.grad.layout == torch.strided and p.numel()]
        if not live:
            continue
        param = min(live, key=Tensor.numel)
        memory = {
            name: value.clone() if isinstance(value, Tensor) else value
            for name, value in optimizer.state.get(param, {}).items()
        }
        copy = member(0, param, param.grad, memory, group, place)
        copy.weight, copy.grad = copy.weight.clone(), copy.grad.clone()
        init_state(optimizer, copy)
        t = float(copy.memory["step"]) + 1 if scalars.readable(copy.memory["step"].device) else 1.0
        copy.load_state(t, optimizer.state_names)
        update_moments(optimizer, copy, 1.0)
        apply_update(optimizer, copy, 1.0)


def init_state(optimizer: Optimizer, m: Member) -> None:
    """Give a parameter that meets its first gradient its state; bring a state that is there into the right form."""
    if "step" in m.memory:
        _fit(optimizer, m)
        if START in m.group.needs and START not in m.memory:  # a checkpoint or another decay had none
            m.memory[START] = kept(START, m.weight, m.param, m.weight, optimizer.moments, m.group["decay"])
        return
    for name in optimizer.state_names:
        m.memory.pop(name, None)  # half a state is none
    m.memory["step"] = torch.zeros((), dtype=torch.float32, device=optimizer.runner.device_of_steps(m.weight))
    m.state = optimizer.start(torch.empty_like(m.weight, dtype=m.dtype), m.group)
    if undeclared := [name for name in m.state if name not in optimizer.state_names]:
        optimizer.state_names += tuple(undeclared)
    if optimizer.rounding == "compensated" and low_precision(m.weight):
        m.state[COMPENSATION] = torch.zeros_like(m.weight, dtype=m.dtype)
    if START in m.group.needs:
        m.state[START] = m.weight.to(m.dtype, copy=True)
    m.store_state(optimizer.moments, optimizer.seed)


def _fit(optimizer: Optimizer, m: Member) -> None:
    """Keep the state in the type and the memory layout that belong to the weight, which may have been converted."""
    if not isinstance(m.memory["step"], Tensor):  # somebody wrote a number
        m.memory["step"] = torch.tensor(float(m.memory["step"]), device="cpu")
    weight, worked = m.weight, m.dtype
    moments = optimizer.moments if optimizer.moments and weight.dim() else worked
    for name in optimizer.state_names:
        if (there := m.memory.get(name)) is None:
            continue
        alike = there.dtype is moments and there.shape == weight.shape and there.stride() == weight.stride()
        if alike and m.bare and there.device == weight.device and name not in (START, COMPENSATION):
            continue
        mine, dtype = piece(there), kept_dtype(name, weight, optimizer.moments, m.group["decay"])
        if name == START and (dtype == torch.int8) != is_packed(mine, weight):
            m.memory[name] = kept(name, start_of(mine, weight, m.dtype), m.param, weight, None, m.group["decay"])
            continue
        if name == START and dtype == torch.int8 and (mine.dtype != dtype or mine.device != weight.device):
            m.memory[name] = mine.to(weight.device, dtype)
        if one_number(mine, weight) and (mine.dtype != worked or mine.device != weight.device):
            m.memory[name] = mine.to(weight.device, worked)
        if mine.shape != weight.shape:
            continue
        crooked = mine.stride() != weight.stride() and torch.ops.aten.is_non_overlapping_and_dense(weight)
        if crooked or mine.dtype != dtype or mine.device != weight.device:
            m.memory[name] = like(m.param, torch.empty_like(weight, dtype=dtype).copy_(mine))


def update_moments(optimizer: Optimizer, m: Member, scale: Number) -> None:
    """Let decay and moments see the gradient: g ← scale · g, coupled with the weight where the decay does that."""
    if not (isinstance(scale, float) and scale == 1):
        m.grad = m.grad * scale
    if m.group.enters:
        m.grad = m.group["decay"].couple(m.grad, m.weight.to(m.dtype), m.group["weight_decay"])
    optimizer.observe(m.state, m.grad, m.group)


def apply_update(optimizer: Optimizer, m: Member, mean_square: Number) -> Number:
    r"""Move the weight: :math:`\theta_t = r + (1 - \text{pull} \odot \text{mask})(\theta_{t-1} - r) - \eta_t u_t`.

    Return the largest pull of an element before the clamp to 1.
    """
    # The direction once, for the decay to look at and for the weight to take: some boxes move their state on the way.
    move = optimizer.displacement(m.state, m.grad, m.group, mean_square)
    decay, acts = m.group["decay"], m.group.acts
    step = step_of(optimizer, m, mean_square, move) if acts else None
    pull = decay.pull(step) if acts else 0.0
    plain = not acts or m.group.plain
    if plain and m.weight.dtype not in LOW:
        if not isinstance(pull, float) or pull > 1:
            m.weight.mul_(1 - capped(pull))
        elif pull != 0:
            m.weight.mul_(1 - pull)
        m.weight.sub_(move)
        return largest(pull)
    old = m.whole_weight()
    if plain:
        new = (1 - capped(pull)) * old - move
    else:
        mask = decay.mask(step)
        share = capped(pull) if mask is None else capped(pull) * mask.to(m.dtype)
        new = decay.constrain(step, old, old - share * (old - decay.anchor(step)) - move)
    m.write(new, optimizer.rounding, optimizer.seed)
    return largest(pull)


def step_of(optimizer: Optimizer, m: Member, mean_square: Number, move: Tensor | None) -> Step:
    """Return what the decay of this tensor may know of the step; ``move`` is η_t u_t."""
    group, facts = m.group, dict(m.group.undeclared)
    for name in group.needs:
        if name == "mean_gain":
            facts[name] = partial(optimizer.mean_gain, m.state, group, mean_square)
        elif name == "gain":
            facts[name] = partial(optimizer.gain, m.state, group)
        elif name == "update":
            facts[name] = partial(direction_of, move, group["lr"])
        elif name == "weight":
            facts[name] = m.whole_weight
        elif name == "grad":
            facts[name] = partial(getattr, m, "grad")
        elif name == "start":
            facts[name] = partial(m.state.get, START)
        elif name == "norms":
            facts[name] = m.norms
    return Step(group["weight_decay"], group["lr"], group["peak_lr"], t=m.state["step"], **facts)


def direction_of(move: Any, lr: Number) -> Any:
    """Return u_t of η_t u_t; 0 where the lr is."""
    if isinstance(lr, Tensor):
        return move / torch.where(lr == 0, 1.0, lr)
    return move / lr if lr else move * 0.0


def largest(pull: Any) -> Number:
    """Return the largest element, which decides whether the clamp acts."""
    if isinstance(pull, (int, float)) or (isinstance(pull, Tensor) and not pull.dim()):
        return pull
    if not isinstance(pull, Tensor):  # several tensors as one
        pull = torch.stack([torch.as_tensor(largest(each)) for each in pull.tensors])
    return pull.amax() if pull.numel() else 0.0


def model_mean_square(optimizer: Optimizer, members: list[Member]) -> float:
    r"""Return :math:`\bar v = \sum \hat v / n` over every element of the model that has a gradient."""
    spread, total, count = optimizer.spread, 0.0, 0.0
    for m in members:
        if m.group.averages:
            copies = 1 if spread.group is None else spread.copies(m.param)
            total += optimizer.second_moment(m.state, m.group).sum().item() / copies
            count += m.weight.numel() / copies
    if spread.group is not None:
        total, count = spread.sum(torch.tensor([total, count], dtype=torch.float64, device="cpu")).tolist()
    return total / count if count else 0.0


def not_finite(optimizer: Optimizer, bad: Member | None) -> FloatingPointError:
    """Return the error for a gradient that the moments cannot take."""
    whose = f"the gradient of {optimizer.describe(bad.index)}" if bad else "a gradient in another process"
    return FloatingPointError(
        f"{whose} is not finite (or too large to square); weights and state are untouched. "
        'nonfinite="skip" leaves such steps out and counts them.'
    )


# ---------------------------------------------------------------- the seam

ENGINES: dict[str, Callable[[Optimizer], Runner]] = {"reference": Reference}
"""How a step may be computed. The seam: a faster engine registers itself here and nothing else changes."""


def engines() -> dict[str, Callable[[Optimizer], Runner]]:
    """Return all engines, whatever module a class was imported from."""
    if "auto" not in ENGINES:
        importlib.import_module("weightdecay.engine")  # the one arrow upwards, so that no import decides an engine
    return ENGINES
