"""A schedule of λ beside all that it may stand beside: schedulers of the lr, any optimizer, groups, tensors."""

import copy
import gc
import math

import pytest
import torch
from drive import assert_close, drive, flat, gradients, weights
from scheduled import OPTIMIZERS, PI, SHAPES, STEPS, T, adamw, attached, built, parameter, two_groups
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    CosineAnnealingLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    SequentialLR,
)

import weightdecay as wd
from weightdecay.schedule import (
    AntiPhase,
    Budget,
    Cosine,
    Follow,
    HoldDrop,
    Linear,
    Moment,
    Scheduler,
    Warmup,
)

# -------------------------------------------------------------------- beside schedulers of the lr


BESIDE = {
    "OneCycleLR": lambda o: OneCycleLR(o, max_lr=0.3, total_steps=T + 1),
    "CosineAnnealingLR": lambda o: CosineAnnealingLR(o, T),
    "LambdaLR": lambda o: LambdaLR(o, lambda t: min(1.0, (t + 1) / 5)),
    "SequentialLR": lambda o: SequentialLR(o, [LinearLR(o, 0.1, total_iters=5), CosineAnnealingLR(o, T - 5)], [5]),
}
PEAK = {"OneCycleLR": 0.3}


@pytest.mark.parametrize("built", ["ours first", "theirs first"])
@pytest.mark.parametrize("stepped", ["ours first", "theirs first"])
@pytest.mark.parametrize("name", BESIDE)
def test_a_shape_that_follows_the_lr_reads_that_of_the_step(name, stepped, built):
    """In whatever order the two are built and stepped, and whatever else is multiplied with it."""
    optimizer, used = adamw(), []
    makers = [
        lambda: Scheduler(optimizer, Follow(1.5) * Linear(1, 0.5), total_steps=T),
        lambda: BESIDE[name](optimizer),
    ]
    made = [maker() for maker in (makers if built == "ours first" else makers[::-1])]
    ours, theirs = made if built == "ours first" else made[::-1]
    optimizer.register_step_pre_hook(
        lambda o, args, kwargs: used.append((o.param_groups[0]["lr"], o.param_groups[0]["weight_decay"]))
    )
    peak = PEAK.get(name, 0.1)
    for t in range(T):
        optimizer.step()
        lr, strength = used[-1]
        assert strength == pytest.approx(0.1 * (lr / peak) ** 1.5 * (1 - 0.5 * t / T), rel=1e-12)
        for scheduler in (ours, theirs) if stepped == "ours first" else (theirs, ours):
            scheduler.step()
    assert len({lr for lr, _ in used}) > 4


@pytest.mark.parametrize("name", BESIDE)
def test_neither_disturbs_the_other(name):
    """The lr is what it is without us, λ what it is without them, and the groups have no key of ours."""
    alone, optimizer = adamw(), adamw()
    reference, theirs = BESIDE[name](alone), BESIDE[name](optimizer)
    ours = Scheduler(optimizer, "cosine", total_steps=T)
    for t in range(T):
        assert optimizer.param_groups[0]["lr"] == alone.param_groups[0]["lr"]
        assert ours.get_last_value() == [0.1 * Cosine().multiplier(Moment(t, T))]
        assert ours.get_last_lr() == [optimizer.param_groups[0]["lr"]]
        for each in (alone, optimizer):
            each.step()
        for each in (reference, ours, theirs):
            each.step()
    assert set(optimizer.param_groups[0]) == set(alone.param_groups[0])


def test_it_goes_where_there_is_place_for_one_scheduler():
    optimizer = adamw()
    theirs, ours = CosineAnnealingLR(optimizer, T), Scheduler(optimizer, "follow(2)")
    both = ChainedScheduler([theirs, ours])
    for t in range(T):
        optimizer.step()
        cosine = (1 + math.cos(PI * t / T)) / 2
        assert optimizer.param_groups[0]["weight_decay"] == pytest.approx(0.1 * cosine**2, rel=1e-9)
        both.step()
        assert both.get_last_lr() == theirs.get_last_lr() == ours.get_last_lr()
    saved = copy.deepcopy(both.state_dict())
    both.step()
    both.load_state_dict(saved)
    assert ours.last_epoch == T


def test_it_is_a_scheduler_to_those_who_ask():
    """Lightning asks for the class, accelerate reads _step_count where there are total_steps."""
    with_total, without = Scheduler(adamw(), "cosine", total_steps=T), Scheduler(adamw(), "follow")
    assert isinstance(with_total, LRScheduler)
    assert (with_total.total_steps, with_total._step_count, with_total.last_epoch) == (T, 1, 0)
    with_total.step()
    assert (with_total._step_count, with_total.last_epoch) == (2, 1)
    assert not hasattr(without, "total_steps")


def test_lr_that_is_written_by_hand_is_followed():
    optimizer = adamw(lr=0.4)
    Scheduler(optimizer, "follow")  # held by the optimizer: nobody else has a name for it
    gc.collect()
    for lr in (0.4, 0.1, 0.3):
        optimizer.param_groups[0]["lr"] = lr
        optimizer.step()
        assert optimizer.param_groups[0]["weight_decay"] == pytest.approx(0.1 * lr / 0.4, rel=1e-12)
    optimizer.param_groups[0]["lr"] = 0.5
    with pytest.raises(ValueError, match=r"lr=0.5 exceeds the peak lr 0.4 that follow divides by. Pass peak_lr="):
        optimizer.step()


def test_the_peak_of_our_optimizers_is_theirs():
    optimizer = wd.AdamW([parameter()], lr=0.1, weight_decay=0.1, peak_lr=0.4)
    Scheduler(optimizer, "follow")
    optimizer.step()
    assert optimizer.param_groups[0]["weight_decay"] == pytest.approx(0.025, rel=1e-12)


# -------------------------------------------------------------------- any optimizer


def by_hand(params, name, run, lrs):
    """The same path with λ written as a number before every step: nothing is scheduled."""
    optimizer = built(name, params)
    first = (lrs[0][t] / max(lrs[0]) for t in range(STEPS))
    for t, (step, ratio) in enumerate(zip(run, first, strict=True)):
        warm = t / 4 if t < 4 else ratio * (1 + math.cos(PI * (t - 4) / (STEPS - 4))) / 2
        optimizer.param_groups[0]["weight_decay"] = 0.1 * warm
        optimizer.param_groups[1]["weight_decay"] = 0.3 * (1 - 0.45 * (1 + math.cos(PI * t / STEPS)))
        drive(optimizer, params, [step], [[lr[t]] for lr in lrs])
    return flat(params)


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != "compiled"])
def test_every_optimizer_takes_the_steps_of_one_whose_strength_is_written_by_hand(name):
    """Groups with shapes of their own, λ from 0 on, late joiners, missing gradients."""
    run, a, b = gradients(STEPS), weights(), weights()
    lrs = [[lr * min(1.0, (t + 1) / 3) for t in range(STEPS)] for lr in (1e-2, 3e-3)]
    optimizer = built(name, a)
    scheduler = Scheduler(optimizer, SHAPES, total_steps=STEPS)
    for t, step in enumerate(run):
        drive(optimizer, a, [step], [[lr[t]] for lr in lrs])
        scheduler.step()
    assert_close(flat(a), by_hand(b, name, run, lrs))


@pytest.mark.parametrize("name", ["foreach", "fused", "auto"])
def test_engines_follow_the_reference_under_a_schedule(name):
    paths = []
    for engine in ("reference", name):
        params = weights()
        optimizer = built(engine, params)
        scheduler = Scheduler(optimizer, SHAPES, total_steps=STEPS)
        for step in gradients(STEPS):
            drive(optimizer, params, [step])
            scheduler.step()
        paths.append(flat(params))
    assert_close(*paths)


@pytest.mark.slow
def test_the_compiled_engine_builds_one_graph_for_a_schedule():
    paths = []
    for engine in ("reference", "compiled"):
        weight = torch.nn.Parameter(torch.linspace(-1, 1, 8, dtype=torch.float64))
        optimizer = wd.AdamS([weight], lr=0.1, weight_decay=0.1, engine=engine)
        schedulers = Scheduler(optimizer, "rise * follow", total_steps=8), CosineAnnealingLR(optimizer, 9)
        for t in range(8):
            weight.grad = (weight.detach() + t).cos()
            optimizer.step()
            for each in schedulers:
                each.step()
        paths.append([weight.detach()])
    assert len([key for key in optimizer.runner.programs if key[0] == "move"]) == 1
    assert_close(*paths)


# -------------------------------------------------------------------- groups


def test_a_group_without_decay_keeps_none_and_one_without_a_shape_is_left_alone():
    optimizer = two_groups()
    scheduler = Scheduler(optimizer, "absolute(linear(1, 0))", total_steps=2)
    assert scheduler.get_last_value() == [1.0, 0.0]
    optimizer = two_groups()
    optimizer.param_groups[1]["weight_decay"] = 0.7
    scheduler = Scheduler(optimizer, {"matrices": "linear(1, 0)"}, total_steps=2)
    scheduler.step()
    assert scheduler.get_last_value() == [0.1, 0.7]
    optimizer.param_groups[1]["weight_decay"] = 0.8
    scheduler.step()
    assert scheduler.get_last_value() == [0.0, 0.8]


def test_a_group_that_is_added_later_begins_with_its_own_strength():
    optimizer = adamw()
    scheduler = Scheduler(optimizer, "linear(1, 0)", total_steps=4)
    scheduler.step()
    optimizer.add_param_group({"params": [parameter()], "weight_decay": 0.8})
    scheduler.step()
    assert scheduler.get_last_value() == pytest.approx([0.05, 0.4])
    assert [None if base is None else base for base in scheduler.state_dict()["bases"]] == [0.1, 0.8]


def test_another_key_can_be_scheduled_beside_it():
    optimizer = two_groups(momentum=0.8)
    strength, momentum = Scheduler(optimizer, HoldDrop(1, 0.5)), Scheduler(optimizer, "follow", key="momentum")
    optimizer.param_groups[0]["lr"] = 0.05
    strength.step()
    momentum.step()
    optimizer.step()
    assert momentum.get_last_value() == [0.4, 0.8]
    assert strength.get_last_value() == [0.1, 0.0]


def test_a_second_schedule_takes_the_place_of_the_first_and_begins_where_that_began():
    """As when a cell of a notebook is run again; unless somebody has written another λ in between."""
    optimizer = adamw()
    first = Scheduler(optimizer, "follow", key="weight_decay")
    optimizer.param_groups[0]["lr"] = 0.05
    optimizer.step()
    assert first.get_last_value() == [0.05]
    second = Scheduler(optimizer, "constant(0.5)")
    optimizer.step()
    assert second.get_last_value() == [0.05]
    optimizer.param_groups[0]["weight_decay"] = 0.3
    third = Scheduler(optimizer, "constant(0.5)")
    assert third.get_last_value() == [0.15]


def test_removed_it_leaves_the_strength_where_it_is():
    optimizer = adamw()
    scheduler = Scheduler(optimizer, "follow")
    scheduler.remove()
    scheduler.remove()
    optimizer.param_groups[0]["lr"] = 0.05
    optimizer.step()
    assert scheduler.get_last_value() == [0.1]


class Wrapper(torch.optim.Optimizer):
    """As accelerate's: an optimizer by class, without hooks, around another."""

    def __init__(self, optimizer):
        self.optimizer = optimizer

    param_groups = property(lambda self: self.optimizer.param_groups)

    def step(self, closure=None):
        self.optimizer.step(closure)


def test_a_wrapped_optimizer_tells_of_its_steps():
    inner = adamw()
    wrapper = Wrapper(inner)
    Scheduler(wrapper, "follow")
    inner.param_groups[0]["lr"] = 0.05
    wrapper.step()
    assert inner.param_groups[0]["weight_decay"] == 0.05


# -------------------------------------------------------------------- tensors


@pytest.mark.parametrize("cls", [wd.AdamS, torch.optim.AdamW, attached])
@pytest.mark.parametrize("text", ["cosine", "follow(2)", "budget(0.1)", "anti_phase(0.5, 1) * linear(1, 0)"])
def test_a_tensor_is_written_in_place(text, cls):
    optimizer = adamw(cls=cls, weight_decay=torch.tensor(0.1, dtype=torch.float64))
    kept = optimizer.param_groups[0]["weight_decay"]
    plain = adamw(cls=cls)
    schedulers = [Scheduler(each, text, total_steps=T) for each in (optimizer, plain)]
    lrs = [CosineAnnealingLR(each, T) for each in (optimizer, plain)]
    for _ in range(5):
        for each in (optimizer, plain):
            each.param_groups[0]["params"][0].grad = torch.ones(2, dtype=torch.float64)
            each.step()
        assert optimizer.param_groups[0]["weight_decay"] is kept
        assert kept.item() == plain.param_groups[0]["weight_decay"]
        for each in (*schedulers, *lrs):
            each.step()
    first, second = (each.param_groups[0]["params"][0] for each in (optimizer, plain))
    assert torch.equal(first, second)
    (last,) = schedulers[0].get_last_value()
    assert torch.equal(last, kept)
    assert last is not kept


def test_an_lr_that_is_a_tensor_is_followed():
    lr = torch.tensor(0.1, dtype=torch.float64)
    optimizer = adamw(lr=lr)
    Scheduler(optimizer, Follow(2))
    lr.fill_(0.05)
    optimizer.step()
    assert optimizer.param_groups[0]["weight_decay"] == pytest.approx(0.025)


@pytest.mark.parametrize(
    "shape",
    [
        Follow(2),
        AntiPhase(0.5, 1),
        Follow() * Linear(1, 0),
        Budget(0.3),
        Budget(0.3, Cosine(), "independent"),
        Warmup(1, Follow()),
    ],
    ids=str,
)
def test_arithmetic_on_an_lr_of_a_device_is_that_on_a_number(shape):
    """What would wait for a device stays a tensor, and gives the same."""
    for lr in (0.05, 0.0):
        on_host, on_device = (
            shape.value(0.2, Moment(3, 8, x, 0.1)) for x in (lr, torch.tensor(lr, dtype=torch.float64))
        )
        assert isinstance(on_device, torch.Tensor)
        assert on_device.item() == pytest.approx(on_host, rel=1e-12)


@pytest.mark.slow
def test_a_compiled_step_is_not_compiled_again():
    weight = torch.nn.Parameter(torch.ones(2))
    lr, strength = torch.tensor(0.1), torch.tensor(0.1)
    optimizer = torch.optim.AdamW([weight], lr=lr, weight_decay=strength, foreach=False, capturable=False)
    scheduler = Scheduler(optimizer, "cosine * follow", total_steps=8)
    weight.grad = torch.ones(2)
    torch._dynamo.reset()
    step = torch.compile(optimizer.step)
    for t in range(6):
        if t == 2:
            before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        step()
        assert strength.item() == pytest.approx(0.1 * lr.item() / 0.1 * (1 + math.cos(PI * t / 8)) / 2, rel=1e-6)
        scheduler.step()
        lr.mul_(0.9)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == before
