"""torch's own fused kernels, carrying any uniform decay."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from weightdecay.decay import L2, Number, Step
from weightdecay.engine.base import Engine, refuse
from weightdecay.engine.buckets import Bucket
from weightdecay.engine.bundle import Bundle
from weightdecay.engine.mean_square import Facts
from weightdecay.optim import scalars
from weightdecay.optim.adam import Adam, AMSGrad
from weightdecay.optim.base import BOX, Optimizer
from weightdecay.optim.member import Group, decays
from weightdecay.optim.parameters import low_precision
from weightdecay.optim.scalars import capped
from weightdecay.optim.sgd import SGD, HeavyBall
from weightdecay.optim.sharding import like

CACHEFUL = 1 << 19
"""Elements of a scaled gradient that are written, and read by the kernel, before the next are."""


class Fused(Engine):
    r"""Adam, AMSGrad, SGD and HeavyBall through ``torch._fused_adam_``, ``_fused_adamw_`` and ``_fused_sgd_``.

    On the CPU pull rides in the kernel of AdamW or SGD, as its weight decay pull/η; elsewhere the weights are
    multiplied by 1 − pull before the kernel. v̄ comes from the norms of the gradients; AMSGrad's does not, so no stable
    decay of it.
    """

    name = "fused"

    def __init__(self, optimizer: Optimizer) -> None:
        if all(kernel_of(optimizer.box(group)) is None for group in optimizer.param_groups):
            raise refuse("fused", f"{type(optimizer).__name__}", "torch has no fused kernel of its step", "foreach")
        super().__init__(optimizer)

    def check(self, optimizer: Optimizer, group: Group, where: str) -> None:
        """Refuse what the kernels cannot do."""
        if reason := refusal(optimizer, group):
            raise refuse("fused", where, reason, "foreach")

    def prepare(self, optimizer: Optimizer) -> None:
        """Refuse what tensors or groups have become: people convert models, schedulers write into groups."""
        for i, group in enumerate(optimizer.seen.groups):
            self.check(optimizer, group, f"group {i}")

    def advance(self, optimizer: Optimizer, buckets: Sequence[Bucket], facts: Facts) -> None:
        """One kernel a bucket."""
        advance(optimizer, buckets, facts)


def advance(optimizer: Optimizer, buckets: Sequence[Bucket], facts: Facts) -> None:
    """Move each bucket by the kernel of its method."""
    found = (~facts.ok).float() if isinstance(facts.ok, Tensor) else None
    methods: dict[Optimizer, type[Optimizer] | None] = {}
    for bucket in buckets:
        group, scale, penalty, box = bucket.group, facts.scale, 0.0, optimizer.box(bucket.group)
        if box not in methods:
            methods[box] = kernel_of(box)
        if bucket.crooked:
            bucket.grads = list(map(aligned, bucket.weight.tensors, bucket.grads))
        if group.enters:
            if type(group["decay"]) is L2:
                penalty = float(group["weight_decay"])
            else:
                grad = Bundle(bucket.grads) * scale
                bucket.grads = group["decay"].couple(grad, bucket.weight, group["weight_decay"]).tensors
                scale = 1.0
        pull = pull_of(optimizer, bucket, facts.mean_square) if group.acts else 0.0
        if found is not None:
            pull = scalars.choose(facts.ok, pull, 0.0)
        bucket.pull = pull
        pull = min(pull, 1.0) if isinstance(pull, float) else scalars.host_number(capped(pull))
        if methods[box] is SGD:
            sgd(bucket, scale, pull, penalty, found)
        else:
            adam(bucket, scale, pull, penalty, found, isinstance(box, AMSGrad))


def pull_of(optimizer: Optimizer, bucket: Bucket, mean_square: Number) -> Number:
    """Return the pull of a uniform decay, one number before the clamp."""
    group, facts = bucket.group, dict(bucket.group.undeclared)
    if "mean_gain" in group.needs:
        facts["mean_gain"] = partial(optimizer.mean_gain, bucket.state, group, mean_square)
    step = Step(group["weight_decay"], group["lr"], group["peak_lr"], t=bucket.state["step"], **facts)
    pull: Number = group["decay"].pull(step)
    return pull


def adam(bucket: Bucket, scale: Number, pull: Number, penalty: float, found: Tensor | None, amsgrad: bool) -> None:
    """Move the bucket by the kernel of Adam or AdamW."""
    group, lr = bucket.group, bucket.group["lr"]
    ratio = None if penalty else carried(pull, lr)
    rides = ratio is not None
    if not rides:
        shrink(bucket, pull)
    kernel: Any = torch._fused_adamw_ if rides else torch._fused_adam_
    slots = ("exp_avg", "exp_avg_sq", *(("max_exp_avg_sq",) if amsgrad else ()))
    states = [bucket.tensors(name) for name in (*slots, "step")]
    for weights, grads, *moments, counts in scaled(scale, bucket, *states):
        kernel(
            *(weights, grads, *moments, *([] if amsgrad else [[]]), counts),
            amsgrad=amsgrad,
            lr=lr,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=ratio if rides else penalty,
            eps=group["eps"],
            maximize=False,  # the gradient has its sign already
            grad_scale=None,
            found_inf=found,
        )


def carried(pull: Number, lr: Number) -> float | None:
    """Return the λ with which a kernel pulls this much itself, as ηλ; None where it cannot."""
    if isinstance(pull, Tensor) or isinstance(lr, Tensor) or not lr > 1e-30:  # beyond, λ would be infinite in float32
        return None
    return pull / lr


def sgd(bucket: Bucket, scale: Number, pull: Number, penalty: float, found: Tensor | None) -> None:
    r"""Move the bucket by the kernel of SGD, which lets its weight decay λ go through the momentum.

    Without momentum that decay is a pull. So a bucket that decays and has a momentum is moved by two kernels without,
    of which the first takes the buffer for a weight, and the last carries the pull:

    .. math:: m \leftarrow m + \beta_3 (g - \tfrac{1-\beta_1}{\beta_3} m), \qquad
              \theta \leftarrow \theta - \eta (m + \tfrac{\text{pull}}{\eta} \theta)
    """
    group, weights = bucket.group, bucket.weight.tensors
    lr, momentum, dampening = group["lr"], group["momentum"], group["dampening"]
    first = bool(momentum) and "momentum_buffer" not in bucket.memory
    if first:
        for param, weight, memory in zip(bucket.params, weights, bucket.memories, strict=True):
            memory["momentum_buffer"] = like(param, torch.empty_like(weight))
    buffers = [bucket.tensors("momentum_buffer")] if momentum else []
    blocked = group["nesterov"] or first or penalty or not bucket.host
    ratio = 0.0 if blocked else carried(pull, lr) or 0.0
    if not ratio:
        shrink(bucket, pull)
    for some, gradients, *buffer, _ in scaled(scale, bucket, *buffers, bucket.tensors("step")):
        if ratio and momentum:
            taken = 1 - dampening
            sgd_kernel(buffer[0], gradients, [], lr=-taken, weight_decay=(momentum - 1) / taken)
            sgd_kernel(some, buffer[0], [], lr=lr, weight_decay=ratio)
        else:
            sgd_kernel(
                *(some, gradients, buffer[0] if buffer else []),
                weight_decay=ratio or penalty,
                momentum=momentum,
                lr=lr,
                dampening=dampening,
                nesterov=group["nesterov"],
                is_first_step=first,
                found_inf=found,
            )


def sgd_kernel(
    weights: list[Tensor],
    grads: list[Tensor],
    buffers: list[Tensor],
    *,
    lr: Number,
    weight_decay: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    is_first_step: bool = False,
    found_inf: Tensor | None = None,
) -> None:
    """θ ← θ − η (g + λθ), or with momentum as torch.optim.SGD writes it. The gradient has its sign already."""
    torch._fused_sgd_(
        *(weights, grads, buffers),
        weight_decay=weight_decay,
        momentum=momentum,
        lr=lr,
        dampening=dampening,
        nesterov=nesterov,
        maximize=False,
        is_first_step=is_first_step,
        grad_scale=None,
        found_inf=found_inf,
    )


Lists = list[list[Tensor]]


def scaled(scale: Number, bucket: Bucket, *others: list[Tensor]) -> Iterator[Lists]:
    """Yield weights, scaled gradients, states and, last, step counts: all at once, or a cacheful at a time.

    p.grad is never written, so a scaled gradient is a copy. On the CPU it is made in pieces that never leave the cache:
    reading the gradient once more would cost as much as a third of the kernel.
    """
    weights, grads = bucket.weight.tensors, bucket.grads
    if isinstance(scale, float) and scale == 1:
        yield [weights, grads, *others]
    elif not bucket.host:
        yield [weights, (Bundle(grads) * scale).tensors, *others]
    else:
        for part in cachefuls([weights, grads, *others]):
            part[1] = (Bundle(part[1]) * scale).tensors
            yield part


def cachefuls(columns: Lists) -> Iterator[Lists]:
    """Yield the columns in rows of about so many elements, large tensors cut. The last column are step counts."""
    if sum(map(Tensor.numel, columns[0])) <= CACHEFUL:
        yield columns
        return
    part: Lists = [[] for _ in columns]
    size = 0
    for *tensors, step in zip(*columns, strict=True):
        lines: Iterable[Sequence[Tensor]] = [tensors]
        if all(t.is_contiguous() for t in tensors) and tensors[0].numel() > CACHEFUL:
            lines = zip(*(t.view(-1).split(CACHEFUL) for t in tensors), strict=True)
        for line in lines:
            for column, value in zip(part, (*line, step), strict=True):
                column.append(value)
            size += line[0].numel()
            if size >= CACHEFUL:
                yield part
                part, size = [[] for _ in columns], 0
    if size:
        yield part


def aligned(weight: Tensor, grad: Tensor) -> Tensor:
    """Return the gradient in the memory layout of its weight, through which the kernels walk."""
    return grad if grad.stride() == weight.stride() else torch.empty_like(weight, dtype=grad.dtype).copy_(grad)


def shrink(bucket: Bucket, pull: Number) -> None:
    """Multiply the weights by 1 − pull."""
    weights = bucket.weight.tensors
    if isinstance(pull, Tensor) or (pull != 0 and not bucket.host):
        Bundle(weights).mul_(1 - pull)
    elif pull != 0:  # θ ← θ − pull θ: half of the host's time
        sgd_kernel(weights, weights, [], lr=pull, weight_decay=0.0)


def kernel_of(optimizer: Optimizer) -> type[Optimizer] | None:
    """Return the method whose kernel computes this optimizer's step: its own box, none of it overridden."""
    for method, family in ((Adam, Adam), (AMSGrad, Adam), (SGD, SGD), (HeavyBall, SGD)):
        if all(getattr(type(optimizer), box, None) is getattr(method, box, None) for box in BOX):
            return family
    return None


def refusal(optimizer: Optimizer, group: Group) -> str | None:
    """Return why torch's kernels cannot move this group; None where they can."""
    return refusal_of_params(optimizer, group) or refusal_of_numbers(optimizer, group)


def refusal_of_params(optimizer: Optimizer, group: Group) -> str | None:
    """Return why the kernels can never move the tensors of this group."""
    box = optimizer.box(group)
    if kernel_of(box) is None:
        return f"torch has no fused kernel of {type(box).__name__}"
    if optimizer.moments is not None:
        return "the kernels keep moments in the weights' type, this optimizer in its own (moments=)"
    low = next((p for p in group["params"] if low_precision(p)), None)
    if low is not None:
        kind = str(low.dtype).removeprefix("torch.")
        return f"it holds 16-bit weights ({kind}), and the kernels would keep their moments in 16 bits too"
    if not all(torch.ops.aten.is_non_overlapping_and_dense(p) for p in group["params"]):
        return "a weight is a view with holes, and the kernels walk through memory without looking"
    return None


def refusal_of_numbers(optimizer: Optimizer, group: Group) -> str | None:
    """Return why the kernels cannot move the group with the decay and the numbers that it has now."""
    if decays(group) and not group["decay"].plain:
        return f"{group['decay']!r} does more to a weight than multiply it, which the kernel cannot"
    if decays(group) and (looked := set(group["decay"].needs) - {"mean_gain", "gain", "t"}):
        return f"{group['decay']!r} looks at {min(looked)}, which the kernel does not show"
    if decays(group) and not group["decay"].uniform:
        return f"{group['decay']!r} has a pull for every element, the kernel one for the tensor"
    if optimizer.couples(group) and not optimizer.linear_in_squares:
        return (
            f"{group['decay']!r} reads the mean of {type(optimizer).__name__}'s v, which the kernel computes too late"
        )
    if group.get("eps") == 0:
        return "with eps=0 the kernel divides 0 by 0 where an element never had a gradient"
    if isinstance(optimizer.box(group), HeavyBall) and group["momentum"] == 0:
        return "without momentum the kernel knows neither buffer nor dampening"
    return None
