"""Steps on pieces of tensors: every engine, clipping, a NaN in one process, low precision."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from sharded.bag import STEPS, Bag, counted, distance, gradient, line, set_gradients, spread_as, state_of, weight
from sharded.table import COUPLED, LAYOUTS, METHODS, SCENARIOS, Measured, alone, compared, fsdp2, moved, scenario


def grid(layout: str, method: str, engine: str) -> Callable[[], Measured]:
    def measure() -> Measured:
        model = LAYOUTS[layout]()
        optimizer = METHODS[method](model.parameters(), engine=engine)
        collectives = moved(model, optimizer)
        return compared(model, alone(method), collectives=collectives)

    return measure


for name_ in METHODS:
    for engine_ in ("reference", "foreach", "auto") if name_ in COUPLED else ("auto",):
        SCENARIOS[f"fsdp2/{name_}/{engine_}"] = ((2, 4), grid("fsdp2", name_, engine_))
        if name_ == "AdamS" or (name_ in COUPLED and engine_ == "auto"):
            SCENARIOS[f"mixed/{name_}/{engine_}"] = ((2, 4), grid("mixed", name_, engine_))


def clipped(method: str, engine: str) -> Callable[[], Measured]:
    """max_grad_norm on pieces equals torch's clipping of the whole model."""

    def measure() -> Measured:
        model, reference = fsdp2(), Bag()
        ours = METHODS[method](model.parameters(), engine=engine, max_grad_norm=0.5)
        theirs = METHODS[method](reference.parameters(), engine="reference")
        most, norms, clips = 0, 0.0, 0
        for t in range(STEPS):
            set_gradients(model, t)
            set_gradients(reference, t)
            norm = float(nn.utils.clip_grad_norm_(reference.parameters(), 0.5))
            theirs.step()
            most = max(most, counted(ours.step))
            norms, clips = max(norms, abs(float(ours.grad_norm) / norm - 1)), clips + (norm > 0.5)
        return compared(model, state_of(reference), collectives=most, norm=norms, clips=clips)

    return measure


for name_ in ("AdamS", "AMSGradS", "SGDS", "AdamW", "AdaiS", "AdaBound-Stable"):
    for engine_ in ("reference", "foreach", "auto") if name_ not in ("AdaiS", "AdaBound-Stable") else ("auto",):
        SCENARIOS[f"clip/{name_}/{engine_}"] = ((2, 4), clipped(name_, engine_))


def poisoned(layout: Callable[[], nn.Module], method: str, engine: str) -> Callable[[], Measured]:
    """A NaN in one element in the last process that has any: all leave the step out, and all can go on."""

    def measure() -> Measured:
        model, reference = layout(), Bag()
        ours = METHODS[method](model.parameters(), engine=engine)
        theirs = METHODS[method](reference.parameters(), engine="reference")
        raising = METHODS[method]((other := layout()).parameters(), engine=engine, nonfinite="raise")
        before, raised, most = state_of(other), 0, 0
        for t in range(STEPS):
            set_gradients(model, t)
            set_gradients(reference, t)
            if t == 4:
                spoil(model)
                set_gradients(other, t)
                spoil(other)
                try:
                    raising.step()
                except FloatingPointError as error:
                    raised = 1 + ("matrix" in str(error) or "parameter 0" in str(error))
            else:
                theirs.step()
            most = max(most, counted(ours.step))
        untouched = distance(state_of(other), before)
        more = {"skipped": ours.skipped_steps, "raised": raised, "untouched": untouched, "collectives": most}
        return compared(model, state_of(reference), **more)

    return measure


def spoil(model: nn.Module) -> None:
    """One NaN, in one process, in a sharded gradient."""
    grad = model.matrix.grad
    local = grad.to_local() if isinstance(grad, DTensor) else grad
    if dist.get_rank() == 1:
        assert local.numel()
        local.view(-1)[0] = float("nan")


for name_, engine_ in (("AdamS", "auto"), ("AdamS", "foreach"), ("AdamS", "reference"), ("AMSGradS", "auto")):
    SCENARIOS[f"nan/{name_}/{engine_}"] = ((2, 4), poisoned(fsdp2, name_, engine_))


@scenario(2, 4)
def raising_without_a_mean() -> Measured:
    """AdamW asks nobody; with nonfinite="raise" it does, and all processes raise."""
    model, raised = fsdp2(), 0
    optimizer = METHODS["AdamW"](model.parameters(), nonfinite="raise")
    most = moved(model, optimizer)
    set_gradients(model, 0)
    spoil(model)
    try:
        optimizer.step()
    except FloatingPointError:
        raised = 1
    return compared(model, alone("AdamW"), collectives=most, raised=raised)


def bf16(engine: str, **options: object) -> Callable[[], Measured]:
    def measure() -> Measured:
        model = fsdp2(torch.bfloat16)
        most = moved(model, METHODS["AdamS"](model.parameters(), engine=engine, **options))
        return compared(model, alone("AdamS"), collectives=most)

    return measure


for engine_ in ("reference", "auto"):
    for rounding_ in ("stochastic", "compensated"):
        SCENARIOS[f"bf16/{rounding_}/{engine_}"] = ((2, 4), bf16(engine_, rounding=rounding_))
    SCENARIOS[f"bf16/moments/{engine_}"] = ((2, 4), bf16(engine_, rounding="stochastic", moments=torch.bfloat16))


@scenario(2, 4)
def bf16_one_process() -> Measured:
    """Compensated rounding knows no chance: the pieces are those of the whole."""
    model, reference = fsdp2(torch.bfloat16), Bag(torch.bfloat16)
    most = moved(model, METHODS["AdamS"](model.parameters(), rounding="compensated"))
    moved(reference, METHODS["AdamS"](reference.parameters(), engine="reference", rounding="compensated"))
    return compared(model, state_of(reference), collectives=most)


@scenario(2, 4)
def complex_numbers() -> Measured:
    value = torch.complex(weight("matrix"), weight("matrix").flip(0))
    grads = [torch.complex(gradient("matrix", t), gradient("matrix", t + STEPS)) for t in range(STEPS)]
    sharded = nn.Parameter(distribute_tensor(value, line(), [Shard(0)], src_data_rank=None))
    plain = nn.Parameter(value.clone())
    ours, theirs = METHODS["AdamS"]([sharded]), METHODS["AdamS"]([plain], engine="reference")
    for g in grads:
        sharded.grad, plain.grad = spread_as(sharded, g), g
        ours.step()
        theirs.step()
    difference = (sharded.full_tensor() - plain).abs().max().item()
    return {"difference": difference, "shape": list(ours.state[sharded]["exp_avg"].shape)}


@scenario(2, 4)
def float32() -> Measured:
    model = fsdp2(torch.float32)
    most = moved(model, METHODS["AdamS"](model.parameters()))
    return compared(model, alone("AdamS", torch.float32), collectives=most)
