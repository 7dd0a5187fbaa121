"""attach(): any decay for any optimizer of torch.optim's kind; what it could not attach is left as it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, overload

import torch

from weightdecay.attaching.handle import Handle
from weightdecay.attaching.pool import Pool
from weightdecay.attaching.refusals import refuse, unwrapped
from weightdecay.attaching.several import Handles, one_each
from weightdecay.decay import Decay
from weightdecay.decay.parse import decay_of
from weightdecay.optim.member import Group
from weightdecay.optim.sharding import zero_group

Gains = str | float | Callable[[Group], float] | None


@overload
def attach(
    optimizer: torch.optim.Optimizer,
    decay: Decay | str,
    *,
    weight_decay: float | None = ...,
    peak_lr: float | None = ...,
    gain: Gains = ...,
    process_group: Any = ...,
    check: bool = ...,
) -> Handle: ...
@overload
def attach(
    optimizer: Sequence[torch.optim.Optimizer],
    decay: Decay | str | Sequence[Decay | str],
    *,
    weight_decay: float | Sequence[float | None] | None = ...,
    peak_lr: float | Sequence[float | None] | None = ...,
    gain: Gains | Sequence[Gains] = ...,
    process_group: Any = ...,
    check: bool = ...,
) -> Handles: ...
def attach(
    optimizer: Any,
    decay: Any,
    *,
    weight_decay: Any = None,
    peak_lr: Any = None,
    gain: Any = None,
    process_group: Any = None,
    check: bool = True,
) -> Handle | Handles:
    r"""Give an existing optimizer, or several, this decay; return the handle that takes it off again.

    .. math:: \theta_t = r + (1 - \text{pull}_t \odot \text{mask}_t)\,(\theta_{t-1} - r) - \eta_t u_t

    Before every ``optimizer.step()`` the weights that have a gradient shrink by pull, and the optimizer's own
    ``weight_decay`` is 0 until the step is over; at all other times ``group["weight_decay"]`` is λ. The optimizer
    supplies u_t; v̄, where the decay reads it, comes from the norms of the gradients. A decay that asks for the update
    (``Cautious``) or constrains the weight (``Hyperball``) acts after the step, for which a copy of the weights of its
    groups is kept through it. A group may name a decay of its own: ``group["decay"]``.

    ``optimizer``
        A torch.optim.Optimizer. A list of them (Muon for the matrices and AdamW for the rest, one for each part of a
        model) shares one v̄, the mean over the tensors of all those whose decay reads it, in one all-reduce; make all
        gradients before the first of them steps. Every other argument may then be a list too, one entry for each.
    ``decay``
        An object or its text: ``"cautious(stable)"``.
    ``weight_decay``
        λ of the groups, in place of theirs. Groups whose λ is 0 while another's is not keep 0: these are the biases and
        norms that somebody took out of the decay. Needed where the optimizer knows no such option.
    ``peak_lr``
        η_max of groups that have no ``"peak_lr"`` of their own. By default what a scheduler has written into the group
        by the first step (``max_lr``, ``initial_lr``), else the lr at attach.
    ``gain``
        By how much the update multiplies a gradient: "adam", "ademamix", "adopt", "radam", "rmsprop", "sgd", "none", a
        number, or a function of the group. By default that of the optimizer's type, for the types in
        ``attaching/gains.py``.
    ``process_group``
        The processes over which the tensors are dealt out, where that cannot be read from them (ZeRO).
    ``check``
        Before the first step, let a twin of the optimizer step over one small tensor, and raise where it does not keep
        what shrank, or steps with another lr than its groups say (``attaching/probe.py``; milliseconds, once).

    Shapes: pull is one number per group (with RAdam one per tensor); the mean is over every element with a gradient.
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
    several = isinstance(optimizer, (list, tuple))
    optimizers = [unwrapped(each) for each in (optimizer if several else [optimizer])]
    arguments = {"decay": decay, "weight_decay": weight_decay, "gain": gain, "peak_lr": peak_lr}
    rows = one_each(optimizers, **arguments) if several else [arguments]
    pool = Pool(zero_group() if process_group is None else process_group, len(optimizers))
    for each, row in zip(optimizers, rows, strict=True):
        row["decay"] = decay_of(row["decay"], "attach()")
        refuse(each, row["decay"])
    before = [_written(each) for each in optimizers]
    handles: list[Handle] = []
    try:
        for place, (each, row) in enumerate(zip(optimizers, rows, strict=True)):
            handles.append(Handle(each, **row, pool=pool, place=place))
            handles[-1].to_check = check
        pool.claim()
    except Exception:
        for handle in handles:
            handle.remove()
        for each, written in zip(optimizers, before, strict=True):
            _rewrite(each, *written)
        raise
    return Handles(handles) if several else handles[0]


def _written(optimizer: torch.optim.Optimizer) -> tuple[list[Group], dict[str, Any]]:
    """Return what attach() may write into."""
    return [dict(group) for group in optimizer.param_groups], dict(optimizer.defaults)


def _rewrite(optimizer: torch.optim.Optimizer, groups: list[Group], defaults: dict[str, Any]) -> None:
    """Put back what was there before attach()."""
    for group, old in zip(optimizer.param_groups, groups, strict=True):
        group.clear()
        group.update(old)
    optimizer.defaults = defaults
