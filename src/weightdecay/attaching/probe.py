"""Does an optimizer do with a shrunk weight what attach() takes for granted? A twin of it, over one tensor, tells."""

from __future__ import annotations

import contextlib
import inspect
import math
import sys
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor

from weightdecay.optim.member import Group
from weightdecay.optim.untraced import untraced

PULL = 0.005
"""What the twin's weights shrink by before each step: a pull as trainings have it."""
STEPS = 8
"""RAdam's first five move nothing."""
STRENGTH = 1000.0
"""η λ of the twin's own weight decay: what an lr a million times smaller leaves of it can still be measured."""
FAR = 30.0
"""An lr that is so many times another is another: less may be a scale that the optimizer gives each tensor."""
CLOSE = 0.01
"""Two pulls that differ by no more than this part of them are one."""
LARGEST = 1 << 20
"""Elements of a tensor that is still probed."""


OUT = "Use its own weight_decay; attach(..., check=False) is for one who answers for it."


class ProbeError(Exception):
    """There is no twin of this optimizer, or its steps say nothing."""


@untraced
def probe(optimizer: torch.optim.Optimizer, group: Group, param: Tensor, lr: float) -> None:
    """Raise where a step undoes what shrinks the weights before it, or its lr is not that of the group.

    ``lr`` is what attach() takes for η of the group. Two twins of the optimizer step over a tensor of the parameter's
    shape without a gradient, one of them shrunk before each step; then three over one step with a gradient, with a
    weight decay of their own. Nothing of the optimizer and of its parameters is touched. Where there is no twin, as of
    a class that is not built from its groups, nothing is said.

    Raises: TypeError, with what was promised and what was measured.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized() and speaks(type(optimizer)):
        return  # a twin's step would wait for twins that other processes do not build
    if param.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        return
    if param.numel() > LARGEST or param.numel() < 2 or type(param).__name__ == "FakeTensor":
        return
    with _undisturbed(param.device):
        with contextlib.suppress(ProbeError):
            _check_that_it_stays(optimizer, group, param)
        with contextlib.suppress(ProbeError):
            _check_the_lr(optimizer, group, param, lr)


def speaks(kind: type) -> bool:
    """Whether a step may speak to other processes: some module of the class holds something of torch.distributed."""
    modules = {cls.__module__ for cls in kind.__mro__}
    return any(_has_distributed(name) for name in modules if name != "builtins" and not name.startswith("torch.optim"))


def _has_distributed(name: str) -> bool:
    if name not in sys.modules or name.startswith("torch.distributed"):
        return True
    names = (
        v.__name__ if inspect.ismodule(v) else getattr(v, "__module__", "") for v in vars(sys.modules[name]).values()
    )
    return any(isinstance(home, str) and home.startswith("torch.distributed") for home in names)


def _check_that_it_stays(optimizer: torch.optim.Optimizer, group: Group, param: Tensor) -> None:
    ends = [_end(optimizer, group, param, pull, STEPS, 0.0, 0.0) for pull in (0.0, PULL)]
    size = ends[0].square().sum()
    kept = torch.dot(ends[1].flatten(), ends[0].flatten()) / size if size > 0 else size  # 0: nothing is left of either
    measured = 1 - kept.clamp(min=0).item() ** (1 / STEPS)
    if not math.isfinite(measured):
        raise ProbeError
    if abs(measured - PULL) > CLOSE * PULL:
        raise TypeError(
            f"{type(optimizer).__name__} does not keep what attach() does: weights that shrank by {PULL:.3g} before "
            f"each of {STEPS} steps without a gradient were smaller by {measured:.3g} a step after them. It makes its "
            f"weights anew from others that it keeps, or holds their norm. {OUT}"
        )


def _check_the_lr(optimizer: torch.optim.Optimizer, group: Group, param: Tensor, known: float) -> None:
    """Compare with the optimizer's own weight decay, where that takes a part of the weights that grows as λ."""
    lr = float(group["lr"])
    if not lr > 0 or "weight_decay" not in group:
        raise ProbeError
    none, once, twice = (_end(optimizer, group, param, 0.0, 1, c * STRENGTH / lr, 1.0) for c in (0, 1, 2))
    start = _weight(param).double()
    parts = []
    for end in (once, twice):
        part = (torch.dot((none - end).flatten(), start.flatten()) / start.square().sum()).item()
        if not math.isfinite(part) or not (none - end - part * start).norm() <= CLOSE * abs(part) * start.norm():
            raise ProbeError  # not the same part of every element
        parts.append(part)
    if not math.isclose(parts[1], 2 * parts[0], rel_tol=CLOSE):
        raise ProbeError
    expected = known * STRENGTH / lr
    fixed = math.isclose(parts[0], STRENGTH / lr, rel_tol=CLOSE)  # λ, not η λ
    if parts[0] == 0 or fixed or 1 / FAR < abs(parts[0]) / expected < FAR:
        return
    raise TypeError(
        f"the lr of {type(optimizer).__name__}'s step is not that of its groups, which a decay would multiply λ with: "
        f"its own weight_decay={STRENGTH / lr:.3g} takes {parts[0]:.3g} of every weight in a step, where "
        f"lr·weight_decay is {expected:.3g}. {OUT}"
    )


def _end(
    optimizer: torch.optim.Optimizer, group: Group, param: Tensor, pull: float, steps: int, strength: float, grad: float
) -> Tensor:
    """Return where the weights of a twin end, in float64."""
    weight = torch.nn.Parameter(_weight(param))
    torch.manual_seed(0)  # some begin with random moments
    loss = torch.zeros((), device=param.device)
    try:
        twin = _twin(optimizer, {**group, "params": [weight], "weight_decay": strength})
        for _ in range(steps):
            weight.grad = grad * _gradient(param)
            with torch.no_grad():
                weight.mul_(1 - pull)
            _step(twin, loss)
    except Exception as error:  # whatever somebody's optimizer raises that is not built and stepped as usual
        raise ProbeError from error
    return weight.detach().double()


def _twin(optimizer: torch.optim.Optimizer, group: Group) -> torch.optim.Optimizer:
    """Return an optimizer of the same class and options with a state of its own. Raises: what the class raises."""
    kind = type(optimizer)
    known = inspect.signature(kind).parameters
    options = {name: value for name, value in optimizer.defaults.items() if name in known}
    twin = kind([{key: value for key, value in group.items() if key not in ("param_names", "decay")}], **options)
    for name, value in vars(optimizer).items():
        if name in vars(twin) and isinstance(value, (bool, int, float, str)):
            setattr(twin, name, value)
    return twin


def _step(twin: torch.optim.Optimizer, loss: Tensor) -> None:
    closure = inspect.signature(twin.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        twin.step(lambda: loss)  # type: ignore[arg-type, return-value]
    else:
        twin.step()


def _weight(param: Tensor) -> Tensor:
    """Return weights of the parameter's shape whose root mean square is 1: of both signs, and of several sizes."""
    line = torch.linspace(0.5, 1.5, param.numel(), device=param.device, dtype=torch.float32)
    line[1::2] *= -1
    return (line / line.square().mean().sqrt()).view(param.shape)


def _gradient(param: Tensor) -> Tensor:
    line = torch.linspace(-1, 2, param.numel(), device=param.device, dtype=torch.float32)
    return line.view(param.shape)


@contextlib.contextmanager
def _undisturbed(device: torch.device) -> Iterator[None]:
    """Leave the random numbers as they are, and say nothing."""
    devices = [device] if device.type == "cuda" else []
    with warnings.catch_warnings(), torch.random.fork_rng(devices=devices), torch.enable_grad():
        warnings.simplefilter("ignore")
        yield
