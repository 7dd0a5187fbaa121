"""A decay that is more than one number per tensor: a mask, an anchor, a constraint, a look at weight or update."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor

from weightdecay.attaching.lineup import real
from weightdecay.attaching.options import Options
from weightdecay.decay import Decay, Number, Step
from weightdecay.decay.base import undeclared
from weightdecay.optim.blocks import pack
from weightdecay.optim.member import START, start_of
from weightdecay.optim.parameters import working_dtype
from weightdecay.optim.reference import direction_of, largest
from weightdecay.optim.scalars import choose, clip
from weightdecay.optim.sharding import like, piece, whole_norms


@dataclass(slots=True)
class Move:
    """One tensor in one step: this process's piece, complex numbers as pairs of reals."""

    param: Tensor
    weight: Tensor  # the parameter's own memory
    grad: Tensor
    options: Options
    place: int  # of the group
    mean_gain: Callable[[], Number]
    t: Any
    old: Tensor | None = None  # θ_{t−1}, where the decay acts after the optimizer's step

    def value(self) -> Tensor:
        """Return θ_{t−1} in the working precision; not to be written."""
        return (self.weight if self.old is None else self.old).to(working_dtype(self.weight))

    def norms(self, *several: Tensor) -> list[Tensor]:
        """Return the norm of each tensor, which is shaped as the weight, over all pieces of it."""
        return [row[0] for row in whole_norms([self.param], [[x] for x in several])]

    def gradient(self) -> Tensor:
        """Return the gradient in the working precision, downhill."""
        grad = self.grad.to(working_dtype(self.weight))
        return -grad if self.options.seen.get("maximize") else grad


@dataclass(slots=True)
class Moved:
    """What became of one tensor."""

    place: int  # of the group
    pull: Number  # the largest of an element, before the clamp
    over: bool | Tensor  # whether it was clamped


class Moves:
    r"""Moves weights as their decay says, before the optimizer's step or, where it must, around it.

    .. math:: \theta_t = r + (1 - \text{pull} \odot \text{mask})(\theta_{t-1} - r) - \eta_t u_t

    What follows from weight, gradient and gain acts before the step. A decay that asks for the update, or changes the
    weight after it, is given :math:`\eta_t u_t = \theta_{t-1} - \theta'` when the optimizer has made θ', for which
    θ_{t−1} is kept through the step: one tensor of the weight's size. "start" is kept in the optimizer's state.
    """

    def __init__(self) -> None:
        self.waiting: list[tuple[Move, bool | Tensor]] = []
        self.starts: dict[int, tuple[Tensor, Tensor]] = {}

    def forget(self) -> None:
        """Forget a step that was not taken."""
        self.waiting, self.starts = [], {}

    def before(self, optimizer: torch.optim.Optimizer, move: Move, ok: bool | Tensor) -> Moved | None:
        """Do what can be done before the optimizer's step; None where that must be waited for. ``ok``: or nothing."""
        decay = move.options.decay
        if START in decay.needs and START not in optimizer.state.get(move.param, {}):
            self.starts[id(move.param)] = move.param, _kept_start(decay, move.param)
        if decay.follows_update:
            move.old = move.weight.clone()
            self.waiting.append((move, ok))
            return None
        step = self._step(optimizer, move, None)
        old, pull = move.value(), choose(ok, decay.pull(step), 0.0)
        if not (isinstance(pull, float) and pull == 0):
            move.weight.copy_(old - _share(decay, step, pull, old.dtype) * (old - decay.anchor(step)))
        return _moved(move, pull)

    def after(self, optimizer: torch.optim.Optimizer) -> list[Moved]:
        """Finish what waits for the optimizer's step."""
        done = []
        for move, ok in self.waiting:
            decay, old = move.options.decay, move.value()
            plain = move.weight.to(old.dtype)
            step = self._step(optimizer, move, old - plain)
            pull = choose(ok, decay.pull(step), 0.0)
            if ok is not False:
                new = decay.constrain(
                    step, old, plain - _share(decay, step, pull, old.dtype) * (old - decay.anchor(step))
                )
                move.weight.copy_(torch.where(ok, new, plain) if isinstance(ok, Tensor) else new)
            done.append(_moved(move, pull))
        for param, start in self.starts.values():
            optimizer.state[param][START] = start  # after the step: many optimizers begin a state that is empty
        self.forget()
        return done

    def _start(self, optimizer: torch.optim.Optimizer, move: Move) -> Tensor:
        waiting = self.starts.get(id(move.param))
        kept = waiting[1] if waiting else optimizer.state[move.param][START]
        return start_of(real(piece(kept)), move.weight, working_dtype(move.weight))

    def _step(self, optimizer: torch.optim.Optimizer, move: Move, difference: Tensor | None) -> Step:
        """Return what the decay may know of the step; ``difference`` is η_t u_t."""
        group, decay = move.options.seen, move.options.decay
        needs = decay.needs

        def fact(name: str, of: Callable[..., Any], *arguments: Any) -> Callable[..., Any]:
            return functools.partial(of, *arguments) if name in needs else functools.partial(undeclared, decay, name)

        return Step(
            strength=group["weight_decay"],
            lr=group["lr"],
            peak_lr=group["peak_lr"],
            mean_gain=fact("mean_gain", move.mean_gain),
            gain=functools.partial(refuse_gain, decay),
            t=move.t,
            update=fact("update", direction_of, difference, group["lr"]),
            weight=fact("weight", move.value),
            grad=fact("grad", move.gradient),
            start=fact("start", self._start, optimizer, move),
            norms=fact("norms", move.norms),
        )


def _kept_start(decay: Decay, param: Tensor) -> Tensor:
    dtype = param.dtype if param.is_complex() else decay.keeps_start_as or param.dtype  # there is no complex bfloat16
    start = piece(param.detach())
    return pack(start) if dtype == torch.int8 else like(param, start.to(dtype, copy=True))


def refuse_gain(decay: Decay) -> NoReturn:
    """Say that the gain of an element is not known."""
    raise TypeError(
        f"{decay!r} asks for a gain for each element, which is in the optimizer's step. Use Adam(..., decay=...)."
    )


def _share(decay: Decay, step: Step, pull: Number, dtype: torch.dtype) -> Number:
    """Return pull ⊙ mask."""
    mask, pull = decay.mask(step), clip(pull, 0.0, 1.0)
    return pull if mask is None else pull * mask.to(dtype)


def _moved(move: Move, pull: Number) -> Moved:
    over = (pull < 0) | (pull > 1)
    return Moved(move.place, largest(pull), over.any() if isinstance(over, Tensor) else over)
