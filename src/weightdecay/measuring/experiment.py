r"""The experiment: pairs of paths that differ by λ alone, and the exponents of the pull that they show.

The gradients are prescribed and do not depend on the weight, so that the difference of two paths is the decay's:

.. math:: \text{pull}_t = 1 - \frac{\theta_t^{(\lambda)} - \Delta_t^{(0)}}{\theta_{t-1}^{(\lambda)}},
   \qquad \Delta_t^{(0)} = \theta_t^{(0)} - \theta_{t-1}^{(0)}

element by element, of the weight before its update; of the updated weight it is
:math:`1 - \theta_t^{(\lambda)}/(\theta_{t-1}^{(\lambda)} + \Delta_t^{(0)})`.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from weightdecay.measuring.walk import LR, STEPS, STRENGTH, Walk

LOUDER = 2.0
"""How many times as large the gradients of the fourth pair are."""
COUPLED = (1.0, 2.0, 0.5)
"""What times λθ an optimizer with L2 may add: 2 where the penalty is λ‖θ‖² without ½."""
CONSTANT_STEPS, CONSTANT_LR, CONSTANT_GRAD = 150, 1e-3, 0.05
"""A long path with one gradient, at whose end an update is gain · gradient."""


@functools.cache
def given() -> tuple[Tensor, Tensor]:
    """Return the weight, with elements of both signs between 1 and 2 in size, and the gradients; the last is zero."""
    draw = torch.Generator().manual_seed(0)

    def sizes(low: float, high: float, *shape: int) -> Tensor:
        signs = torch.where(torch.rand(shape, generator=draw) < 0.5, -1.0, 1.0).double()
        return (low + (high - low) * torch.rand(shape, generator=draw, dtype=torch.float64)) * signs

    start, grads = sizes(1.0, 2.0, 4, 4), sizes(0.05, 0.2, STEPS, 4, 4)
    grads[-1] = 0.0
    return start, grads


@dataclass(frozen=True)
class Pulls:
    """The pull of every step, of the weight before its update or after it. One number for each step, unless said."""

    pull: Tensor
    spread: Tensor  # (largest − smallest)/mean over elements
    lr: Tensor  # exponents; NaN where there is no pull
    schedule: Tensor
    gradient: Tensor


@dataclass(frozen=True)
class Numbers:
    """What the paths of one optimizer show."""

    effect: float  # the largest difference that λ makes to a weight
    moved: float  # the largest update without λ
    sees_weight: bool  # the update itself depends on the weight: a pull mixes both
    coupled: float | None  # the multiple of λθ that, added to the gradient by hand, gives the same path
    apart: float  # how far the path is from L2's, at the multiple 1
    masked: bool  # pulls act exactly where update and weight agree in sign
    before: Pulls
    after: Pulls
    update: float  # exponent of the update in the scale of the gradients: 1 for SGD, 0 for Adam


def experiment(walk: Walk) -> Numbers:
    """Walk, and compare."""
    start, grads = given()
    constant = [LR] * STEPS
    halved = [LR] * (STEPS // 2) + [LR / 2] * (STEPS - STEPS // 2)
    cases = [(constant, grads), ([LR / 2] * STEPS, grads), (halved, grads), (constant, LOUDER * grads)]
    pairs = [tuple(walk(lrs, g, strength, start) for strength in (STRENGTH, 0.0)) for lrs, g in cases]
    decayed, free = pairs[0]
    effect = (decayed - free).abs().max().item()
    elsewhere = walk(constant, grads, 0.0, 1.5 * start).diff(dim=0) - free.diff(dim=0)
    gaps = {k: (decayed - walk(constant, grads, 0.0, start, k * STRENGTH)).abs().max().item() for k in COUPLED}
    masked = _masked(decayed, free)
    before, after = (_pulls(pairs, masked, late) for late in (False, True))
    sizes = [path.diff(dim=0)[:-1].abs().mean().item() for path in (free, pairs[3][1])]
    return Numbers(
        effect=effect,
        moved=free.diff(dim=0).abs().max().item(),
        sees_weight=elsewhere.abs().max().item() > 1e-2 * effect,
        coupled=next((k for k, gap in gaps.items() if gap < 1e-3 * effect), None),
        apart=gaps[1.0],
        masked=masked,
        before=before,
        after=after,
        update=math.log(sizes[1] / sizes[0]) / math.log(LOUDER) if min(sizes) > 0 else math.nan,
    )


def ratio_to_gain(walk: Walk) -> float:
    r"""Return pull/(ηλ·gain) at the end of a long path with one gradient, where gain is update/(η·gradient).

    1 for a stable (or elementwise) decay, whatever the optimizer: λ then means what L2's λ means.
    """
    start, _ = given()
    grads = (CONSTANT_GRAD * start.sign()).expand(CONSTANT_STEPS, *start.shape)
    decayed, free = (walk([CONSTANT_LR] * CONSTANT_STEPS, grads, s, start) for s in (STRENGTH, 0.0))
    update = free[-2] - free[-1]
    pull = 1 - (decayed[-1] + update) / decayed[-2]
    gain = update / (CONSTANT_LR * grads[-1])
    return (pull / (CONSTANT_LR * STRENGTH * gain)).mean().item()


def _elementwise(decayed: Tensor, free: Tensor, after: bool) -> Tensor:
    update = free.diff(dim=0)
    return 1 - decayed[1:] / (decayed[:-1] + update) if after else 1 - (decayed[1:] - update) / decayed[:-1]


def _agree(decayed: Tensor, free: Tensor) -> Tensor:
    """1 where the update shrinks the weight, −1 where it makes it grow, 0 where there is none."""
    return -(free.diff(dim=0) * decayed[:-1]).sign()


def _masked(decayed: Tensor, free: Tensor) -> bool:
    """Whether pulls act where update and weight agree, and nowhere else."""
    pull, agree = _elementwise(decayed, free, False).abs(), _agree(decayed, free)
    there = pull > 1e-3 * pull.amax(dim=(1, 2), keepdim=True).clamp(min=1e-9)
    told = agree != 0
    return bool((told & ~there).any()) and bool((there == (agree > 0))[told].all())


def _pulls(pairs: list[tuple[Tensor, ...]], masked: bool, after: bool) -> Pulls:
    means, spread = [], torch.empty(0)
    for i, (decayed, free) in enumerate(pairs):
        each = _elementwise(decayed, free, after)
        on = _agree(decayed, free) > 0 if masked else torch.ones_like(each, dtype=torch.bool)
        each = torch.where(on, each, torch.nan)
        mean = each.flatten(1).nanmean(dim=1)
        if i == 0:
            wide = (each - mean[:, None, None]).abs().nan_to_num(0.0).amax(dim=(1, 2))
            spread = wide / mean.abs().clamp(min=1e-12)
        means.append(mean)
    pull, half, halved, louder = means
    return Pulls(
        pull,
        spread,
        lr=(half / pull).log() / math.log(0.5),
        schedule=(halved / pull).log() / math.log(0.5),
        gradient=(louder / pull).log() / math.log(LOUDER),
    )
