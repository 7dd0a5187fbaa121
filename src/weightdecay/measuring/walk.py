"""The path of a small weight through prescribed gradients, under somebody's optimizer."""

from __future__ import annotations

import contextlib
import inspect
import io
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from weightdecay.checks import nearest

LR, STRENGTH, STEPS = 0.1, 0.01, 12
"""η, λ and the number of steps of a path."""


class MeasureError(ValueError):
    """An optimizer cannot be measured; the message says why, in one line."""


class Walk(Protocol):
    """The interface to an optimizer of any library that an experiment needs."""

    def __call__(
        self, lrs: Sequence[float], grads: Tensor, strength: float, start: Tensor, coupled: float = 0.0
    ) -> Tensor:
        r"""Return the weight before the first and after every step, in float64: (steps + 1, \*shape).

        ``grads`` are prescribed, one for each step; ``coupled`` times the weight is added to them, which is L2 by hand.
        The optimizer is built with the first lr; the others are written into it, as a scheduler does.
        """


@dataclass(frozen=True)
class TorchWalk:
    """Walks with an optimizer of torch's kind.

    ``make(params, lr=…, weight_decay=…, **options)`` returns it; ``key`` is what it calls λ. It works in float64,
    and in float32 where the optimizer knows no float64. A step that asks for a closure gets one. One that
    differentiates the gradient gets a gradient whose derivative is 1.
    """

    make: Callable[..., Any]
    name: str
    key: str = "weight_decay"
    options: Mapping[str, Any] = field(default_factory=dict)
    dtype: torch.dtype = torch.float64
    differentiable: bool = False

    def __call__(
        self, lrs: Sequence[float], grads: Tensor, strength: float, start: Tensor, coupled: float = 0.0
    ) -> Tensor:
        """Walk one weight."""
        return self.several(lrs, [grads], [start], strength, coupled=coupled)[0]

    def several(
        self,
        lrs: Sequence[float],
        grads: Sequence[Tensor],
        starts: Sequence[Tensor],
        strength: float,
        *,
        coupled: float = 0.0,
        groups: Sequence[Mapping[str, Any]] = (),
        write: Callable[[dict[str, Any], int], None] | None = None,
    ) -> list[Tensor]:
        """Walk several weights of one optimizer, and return a path for each.

        ``groups`` puts every weight into a group of its own, with these options; ``write(group, step)`` may write into
        a group before each step.
        """
        with _undisturbed():
            weights = [torch.nn.Parameter(start.to(self.dtype, copy=True)) for start in starts]
            optimizer = self.build(weights, lrs[0], strength, groups)
            paths = [[weight.detach().double().clone()] for weight in weights]
            with _eager():
                for step, lr in enumerate(lrs):
                    for group in optimizer.param_groups:
                        if isinstance(group["lr"], Tensor):  # torchao's wants it filled
                            group["lr"].fill_(lr)
                        else:
                            group["lr"] = float(lr)
                        if write is not None:
                            write(group, step)
                    self._step(optimizer, weights, [grad[step] for grad in grads], coupled)
                    for path, weight in zip(paths, weights, strict=True):
                        path.append(weight.detach().double().clone())
        return [torch.stack(path) for path in paths]

    @property
    def in_groups(self) -> bool:
        """Whether λ stands in the groups under its name, where a scheduler can write it."""
        with _undisturbed():
            weight = torch.nn.Parameter(torch.ones(4, 4, dtype=self.dtype))
            return self.key in self.build([weight], LR, STRENGTH).param_groups[0]

    def build(
        self, weights: list[torch.nn.Parameter], lr: float, strength: float, groups: Sequence[Mapping[str, Any]] = ()
    ) -> torch.optim.Optimizer:
        """Return the optimizer over these weights, ready for a step."""
        options = {**self.options, "lr": float(lr), self.key: strength}
        params: Any = weights
        if groups:
            params = [{"params": [weight], **group} for weight, group in zip(weights, groups, strict=True)]
        try:
            optimizer = self.make(params, **options)
        except Exception as error:
            # Muon beside Adam in one class: a group must say which of the two it is for.
            flagged = params if groups else [{"params": weights}]
            try:
                optimizer = self.make([{**group, "use_muon": True} for group in flagged], **options)
            except Exception:
                raise error from None
        if hasattr(optimizer, "train"):  # schedule-free
            optimizer.train()
        return optimizer  # type: ignore[no-any-return]

    def _step(
        self, optimizer: torch.optim.Optimizer, weights: list[torch.nn.Parameter], grads: list[Tensor], coupled: float
    ) -> None:
        def fill() -> Tensor:
            for weight, grad in zip(weights, grads, strict=True):
                seen = grad.to(self.dtype) + coupled * weight.detach()
                weight.grad = seen + (weight - weight.detach()) if self.differentiable else seen
            return torch.zeros((), dtype=self.dtype)

        fill()
        closure = inspect.signature(optimizer.step).parameters.get("closure")
        if closure is not None and closure.default is inspect.Parameter.empty:
            optimizer.step(fill)  # type: ignore[arg-type]
        else:
            optimizer.step()


def torch_walk(make: Callable[..., Any], name: str, key: str, options: Mapping[str, Any]) -> TorchWalk:
    """Return the first way in which this optimizer takes a step. Raises: MeasureError."""
    _check_key(make, name, key, options)
    first: Exception | None = None
    for dtype in (torch.float64, torch.float32):
        for differentiable in (False, True):
            walk = TorchWalk(make, name, key, options, dtype, differentiable)
            try:
                ends = walk([LR] * 2, torch.ones(2, 4, 4), STRENGTH, torch.ones(4, 4))
            except Exception as error:  # whatever somebody's optimizer raises that is not built and stepped as usual
                first = first or error
                continue
            if torch.isfinite(ends).all():
                return walk
    if first is None:
        raise MeasureError(f"{name} cannot be measured: two steps with gradients of 1 end in weights not finite.")
    text = (str(first).strip().splitlines() or ["no reason given"])[0]
    raise MeasureError(
        f"{name} cannot be measured: {type(first).__name__}: {text[:160]} "
        "Pass what it needs as an option, or a function (params, lr, weight_decay) that builds it."
    )


def low_precision(walk: TorchWalk) -> TorchWalk:
    """Return the same walk with weights in bfloat16."""
    return replace(walk, dtype=torch.bfloat16)


def _check_key(make: Callable[..., Any], name: str, key: str, options: Mapping[str, Any]) -> None:
    """Refuse a keyword for λ, or an option, that the signature does not have. Raises: MeasureError."""
    try:
        known = inspect.signature(make).parameters
    except (TypeError, ValueError):  # of a class without one
        return
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in known.values()):
        return
    for word in ("lr", key, *options):
        if word not in known:
            raise MeasureError(
                f"{name} has no argument {word!r}.{nearest(word, known)} "
                'measure() calls it as (params, lr=…, weight_decay=…); key="…" is another name for λ.'
            )


def _eager() -> Any:
    """Let steps that are compiled run as they are written: compiling each takes minutes, and moves the same weights."""
    if "torch._dynamo" in sys.modules:  # whose import takes seconds; torch's base class has imported it by now
        return torch.compiler.set_stance("force_eager")
    return contextlib.nullcontext()


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Let an optimizer draw the same random numbers each time, and say nothing."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        torch.random.fork_rng(devices=[]),
        torch.enable_grad(),
    ):
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        yield
