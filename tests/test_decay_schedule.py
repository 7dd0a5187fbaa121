"""λ over time: every shape against its formula, and the scheduler beside everything that it may stand beside."""

import copy
import gc
import json
import math
import pickle
import sys
import weakref

import numpy as np
import pytest
import torch
from drive import assert_close, drive, flat, gradients, joined, weights
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    ConstantLR,
    CosineAnnealingLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
)

import weightdecay as wd
from weightdecay.schedule import (
    Absolute,
    AntiPhase,
    Budget,
    Constant,
    Cosine,
    Follow,
    Function,
    HoldDrop,
    Linear,
    LogTime,
    Moment,
    Plateau,
    Product,
    Rise,
    Sawtooth,
    Scheduler,
    Sequence,
    Shape,
    Steps,
    Warmup,
    parse,
)
from weightdecay.schedule.parse import NAMES

T = 30
PI = math.pi


def lr_of(t, total=T):
    """A warm-up of three steps and a cosine: what the shapes that follow the lr are told."""
    return 0.2 * (min(1.0, (t + 1) / 3)) * 0.5 * (1 + math.cos(PI * t / total))


LRS = [lr_of(t) for t in range(T)]
ETA = [lr / max(LRS) for lr in LRS]

FORMULAS = {
    "constant": lambda t: 1.0,
    "constant(0.3)": lambda t: 0.3,
    "linear(1, 0)": lambda t: 1 - t / T,
    "linear(0.2, 1.5)": lambda t: 0.2 + 1.3 * t / T,
    "cosine": lambda t: (1 + math.cos(PI * t / T)) / 2,
    "cosine(2, 0.5)": lambda t: 0.5 + 1.5 * (1 + math.cos(PI * t / T)) / 2,
    "rise": lambda t: 0.1 + 0.9 * (1 - math.cos(PI * t / T)) / 2,
    "rise(0.04, 0.4)": lambda t: 0.4 + 0.5 * (0.04 - 0.4) * (1 + math.cos(PI * t / T)),  # as DINO writes it
    "sawtooth(0.65, 1.5, period=0.2)": lambda t: 0.65 + 0.85 * (t % 6) / 6,
    "sawtooth(1, 0, 7)": lambda t: 1 - (t % 7) / 7,
    "log_time(5)": lambda t: 1 / (1 + t / 5),
    "log_time(0.1)": lambda t: 1 / (1 + t / 3),
    "steps({0.4: 0.65, 0.8: 0.1})": lambda t: 1.0 if t < 12 else 0.65 if t < 24 else 0.1,
    "steps({20: 0.1, 10: 0.5, 0: 0.9})": lambda t: 0.9 if t < 10 else 0.5 if t < 20 else 0.1,
    "hold_drop(0.4, 0.65)": lambda t: 1.0 if t < 12 else 0.65,
    "hold_drop(1, 0)": lambda t: 1.0 if t < 1 else 0.0,
    "hold_drop(0.1, 0)": lambda t: 1.0 if t < 3 else 0.0,  # 0.1 × 30 is 3.0000000000000004
    "follow": lambda t: ETA[t],
    "follow(2.5)": lambda t: ETA[t] ** 2.5,
    "follow(peak_lr=0.4)": lambda t: LRS[t] / 0.4,
    "anti_phase(0.65, 1.5)": lambda t: 1.5 - 0.85 * ETA[t],
    "warmup(4, cosine)": lambda t: t / 4 if t < 4 else (1 + math.cos(PI * (t - 4) / (T - 4))) / 2,
    "warmup(0.2, start=0.5)": lambda t: 0.5 + 0.5 * t / 6 if t < 6 else 1.0,
    "sequence(constant, linear(1, 0.65), sawtooth(0.65, 1.5, 0.5), at=(0.4, 0.6))": lambda t: (
        1.0 if t < 12 else 1 - 0.35 * (t - 12) / 6 if t < 18 else 0.65 + 0.85 * ((t - 18) % 6) / 6
    ),
    "follow * cosine * 0.5": lambda t: ETA[t] * (1 + math.cos(PI * t / T)) / 4,
    "absolute(rise(0.04, 0.4))": lambda t: 0.4 - 0.18 * (1 + math.cos(PI * t / T)),
    "plateau(0.5)": lambda t: 1.0,
    "budget(0.3, decay='vanilla')": lambda t: 0.3 / T,
    "budget(0.3)": lambda t: 0.3 / T / LRS[t],
    "budget(0.3, linear(1, 0), 'independent')": lambda t: 0.3 * (T - t) / sum(range(1, T + 1)) * max(LRS) / LRS[t],
}


@pytest.mark.parametrize("text", FORMULAS)
def test_a_shape_is_its_formula(text):
    assert parse(text).values(T, lr=LRS) == pytest.approx([FORMULAS[text](t) for t in range(T)], rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("text", FORMULAS)
def test_text_and_repr_read_as_the_shape_and_the_shape_is_a_key(text):
    shape = parse(text)
    for again in (parse(str(shape)), parse(repr(shape)), pickle.loads(pickle.dumps(shape))):
        assert again == shape
        assert hash(again) == hash(shape)


def test_every_name_is_tried():
    assert {name for name in NAMES if not any(name in text for text in FORMULAS)} == set()


def test_after_the_training_every_shape_stays_where_it_ended():
    for shape, end in ((Linear(1, 0.2), 0.2), (Cosine(), 0.0), (Rise(), 1.0), (Warmup(3, Cosine(1, 0.5)), 0.5)):
        assert shape.multiplier(Moment(T, T)) == pytest.approx(end, abs=1e-16)
        assert shape.multiplier(Moment(T + 100, T)) == shape.multiplier(Moment(T, T))
    assert Budget(0.3, decay="vanilla").multiplier(Moment(T, T)) == 0.0


@pytest.mark.parametrize(
    ("decay", "name"),
    [(wd.Decoupled(), "decoupled"), (wd.Independent(), "independent"), (wd.Vanilla(), "vanilla")],
    ids=repr,
)
def test_the_pulls_of_a_budget_sum_to_it(decay, name):
    """Whatever the lr does; weights without a gradient shrink by the product of 1 − pull."""
    weight = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = wd.SGD([weight], lr=0.2, weight_decay=1.0, decay=decay)
    scheduler = Scheduler(optimizer, Budget(0.5, Cosine(), name), total_steps=T)
    lrs = LambdaLR(optimizer, lambda t: ETA[min(t, T - 1)])
    pulls, product = [], 1.0
    for _ in range(T):
        weight.grad = torch.zeros_like(weight)
        optimizer.step()
        pulls += optimizer.pulls
        product *= 1 - pulls[-1]
        scheduler.step()
        lrs.step()
    assert sum(pulls) == pytest.approx(0.5, rel=1e-12)
    assert pulls == pytest.approx([0.5 * f / sum(Cosine().values(T)) for f in Cosine().values(T)], rel=1e-12)
    assert weight.item() == pytest.approx(product, rel=1e-12)


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("cooldown", [0, 2])
def test_a_plateau_drops_when_torchs_does(mode, cooldown):
    rng = np.random.default_rng(3)
    metrics = [*(5 - np.arange(6.0)), *rng.uniform(0.9, 3.0, 60), math.nan, math.nan, 0.89995, 0.1]
    optimizer = adamw(lr=1.0, weight_decay=1.0)
    options = {"factor": 0.5, "patience": 3, "cooldown": cooldown, "mode": mode}
    theirs = ReduceLROnPlateau(optimizer, min_lr=0.01, eps=0, **options)
    ours = Scheduler(optimizer, Plateau(low=0.01, **options))
    seen = []
    for metric in metrics:
        theirs.step(metric)
        ours.step(torch.tensor(metric))
        ours.step()  # a step without a metric judges nothing
        seen.append(optimizer.param_groups[0]["weight_decay"])
        assert seen[-1] == pytest.approx(theirs.get_last_lr()[0], rel=1e-12)
    assert len(set(seen)) > 4


def test_a_plateau_beside_another_shape_and_upwards():
    scheduler = Scheduler(adamw(weight_decay=1.0), Cosine() * Plateau(2.0, patience=0, high=3.0), total_steps=4)
    assert scheduler.get_last_value() == [1.0]
    seen = []
    for metric in (5.0, 5.0, 5.0, None):  # the first is the best, each of the next two is a drop
        scheduler.step(metric)
        seen += scheduler.get_last_value()
    cosine = [(1 + math.cos(PI * t / 4)) / 2 for t in range(1, 5)]
    assert seen == pytest.approx([f * c for f, c in zip((1, 2, 3, 3), cosine, strict=True)], abs=1e-16)


# -------------------------------------------------------------------- beside schedulers of the lr


def parameter():
    return torch.nn.Parameter(torch.ones(2, dtype=torch.float64))


def adamw(lr=0.1, weight_decay=0.1, cls=torch.optim.AdamW, **options):
    return cls([parameter()], lr=lr, weight_decay=weight_decay, **options)


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


def built(name, params, **more):
    """An optimizer over the two groups of drive.py, each with a λ and an lr of its own."""
    make, options = OPTIMIZERS[name]
    groups = [{"params": params[0]}, {"params": params[1], "lr": 3e-3, "weight_decay": 0.3}]
    return make(groups, lr=1e-2, weight_decay=0.1, **options, **more)


def attached(groups, **options):
    optimizer = torch.optim.AdamW(groups, **options)
    wd.attach(optimizer, wd.Stable())
    return optimizer


OPTIMIZERS = {
    "torch AdamW": (torch.optim.AdamW, {"foreach": False}),
    "torch AdamW foreach": (torch.optim.AdamW, {"foreach": True}),
    "torch AdamW fused": (torch.optim.AdamW, {"fused": True}),
    "torch SGD": (torch.optim.SGD, {"momentum": 0.9}),
    "attached": (attached, {}),
    "reference": (wd.AdamS, {"engine": "reference"}),
    "foreach": (wd.AdamS, {"engine": "foreach"}),
    "fused": (wd.AdamS, {"engine": "fused"}),
    "auto": (wd.AdamS, {"engine": "auto"}),
    "compiled": (wd.AdamS, {"engine": "compiled"}),
}
SHAPES = {0: "warmup(4, cosine * follow)", 1: Rise(0.1, 1.0)}
STEPS = 12


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


# -------------------------------------------------------------------- checkpoints and copies

EVERY_KIND = {0: "warmup(3, follow(2) * plateau(0.5, patience=1))", 1: "budget(0.2, cosine)"}


def training(name, seed=0):
    """Everything that a checkpoint has: weights, optimizer, a scheduler of the lr, ours."""
    params = weights(seed=seed)
    optimizer = built(name, params)
    theirs = LambdaLR(optimizer, lambda t: min(1.0, (t + 1) / 3) * 0.9**t)
    return params, optimizer, theirs, Scheduler(optimizer, EVERY_KIND, total_steps=STEPS)


def go_on(trained, steps):
    params, optimizer, theirs, ours = trained
    for t in steps:
        drive(optimizer, params, [gradients(STEPS)[t]])
        ours.step(1.0 if t % 2 else None)
        theirs.step()
        yield [group["weight_decay"] for group in optimizer.param_groups]


@pytest.mark.parametrize("order", ["ours last", "ours first"])
@pytest.mark.parametrize("name", ["torch AdamW fused", "attached", "auto"])
def test_resumed_after_every_step_it_repeats_the_uninterrupted_run_bit_for_bit(name, order):
    whole = training(name)
    straight = list(go_on(whole, range(STEPS)))
    running = training(name)
    for t in range(STEPS):
        states = [each.state_dict() for each in running[1:]]
        saved = pickle.loads(pickle.dumps((flat(running[0]), states)))
        params, *others = again = training(name, seed=9)
        with torch.no_grad():
            for p, value in zip(joined(params), saved[0], strict=True):
                p.copy_(value)
        pairs = list(zip(others, saved[1], strict=True))
        for each, state in pairs if order == "ours last" else pairs[::-1]:
            each.load_state_dict(state)
        assert list(go_on(again, range(t, STEPS))) == straight[t:]
        assert all(torch.equal(a, b) for a, b in zip(flat(params), flat(whole[0]), strict=True))
        next(go_on(running, [t]))


def test_a_scheduler_that_is_built_after_the_optimizer_was_loaded_is_set_right_by_its_state(tmp_path):
    optimizer = adamw()
    scheduler = Scheduler(optimizer, HoldDrop(2, 0.0))
    for _ in range(3):
        optimizer.step()
        scheduler.step()
    torch.save({"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}, tmp_path / "run.pt")
    saved = torch.load(tmp_path / "run.pt", weights_only=True)
    again = adamw()
    again.load_state_dict(saved["optimizer"])
    late = Scheduler(again, HoldDrop(5, 0.5))  # sees λ = 0, which the shape had written
    assert late.get_last_value() == [0.0]
    saved["scheduler"]["shapes"] = late.state_dict()["shapes"]
    late.load_state_dict(json.loads(json.dumps(saved["scheduler"])))
    late.step()
    assert late.get_last_value() == [0.1]
    late.step()
    assert late.get_last_value() == [0.05]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
@pytest.mark.parametrize("name", ["torch AdamW", "attached", "auto"])
def test_a_copy_goes_on_by_itself(name, copied):
    params = weights()
    optimizer = built(name, params)
    scheduler = Scheduler(optimizer, SHAPES, total_steps=STEPS)
    run = gradients(STEPS)
    for step in run[:5]:
        drive(optimizer, params, [step])
        scheduler.step()
    before = repr(scheduler)
    other = copied(scheduler)
    theirs = [group["params"] for group in other.optimizer.param_groups]
    assert other.optimizer is not optimizer
    for step in run[5:]:
        drive(other.optimizer, theirs, [step], [[2e-3], [2e-3]])
        other.step()
    assert repr(scheduler) == before
    for step in run[5:]:
        drive(optimizer, params, [step], [[2e-3], [2e-3]])
        scheduler.step()
    assert all(torch.equal(a, b) for a, b in zip(flat(params), flat(theirs), strict=True))


def test_optimizer_and_scheduler_are_freed_with_their_last_names():
    optimizer = adamw()
    scheduler = Scheduler(optimizer, "follow")
    seen = [weakref.ref(optimizer), weakref.ref(scheduler)]
    gc.collect()
    gc.disable()
    try:
        del optimizer, scheduler
        assert [each() for each in seen] == [None, None]
    finally:
        gc.enable()


# -------------------------------------------------------------------- groups


def two_groups(**options):
    groups = [{"params": [parameter()], "name": "matrices"}, {"params": [parameter()], "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=0.1, weight_decay=0.2, **options)


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


# -------------------------------------------------------------------- pictures


def test_a_shape_draws_itself(tmp_path):
    axes = Follow(2).plot(tmp_path / "follow.svg", total_steps=50, lr="cosine")
    assert (tmp_path / "follow.svg").read_text().startswith("<?xml")
    rate, drawn = (line.get_ydata() for line in axes.lines)
    assert list(rate) == Cosine().values(50)
    assert list(drawn) == Follow(2).values(50, lr="cosine")
    again = Cosine().plot(axes, total_steps=50)
    assert again is axes
    assert list(axes.lines[-1].get_ydata()) == Cosine().values(50)


def test_the_command_draws_the_picture_of_the_page(tmp_path):
    from weightdecay.schedule.__main__ import main

    main([str(tmp_path / "all.png")])
    main([str(tmp_path / "one.png"), "warmup(0.1, follow)"])
    assert (tmp_path / "all.png").stat().st_size > 10_000
    assert (tmp_path / "one.png").stat().st_size > 1_000
    for wrong, says in ((["--help"], "PATH"), ([], "PATH"), (["x.png", "cosin"], "Did you mean 'cosine'")):
        with pytest.raises(SystemExit, match=says):
            main(wrong)


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "weightdecay\[lab\]"'):
        Cosine().plot(tmp_path / "x.png")


# -------------------------------------------------------------------- what is refused

WRONG_TEXT = {
    "cosin": "no shape is called 'cosin'. Did you mean 'cosine'",
    "linear(strat=1)": r"Did you mean 'start'\? Linear takes start, end",
    "linear(1, 2, 3)": "too many positional arguments",
    "": "'' is no shape. Write a name or a call",
    "a.b": "'a.b' is no shape",
    "cosine + 1": r"'cosine \+ 1' is no shape",
    "linear(**{})": "without [*][*]",
    "linear(open('x'))": "no shape is called 'open'",
    "linear([x for x in (1,)])": "neither a literal nor a shape",
    "linear(-1)": r"start=-1 in Linear is outside \[0, inf\)",
    "linear('a')": "start='a' in Linear is not a number",
    "hold_drop(400.0, 1)": "a float is a fraction of the training",
    "hold_drop(-4, 1)": "a number of steps is 0 or more",
    "hold_drop(True, 1)": "at=True in HoldDrop is not a number",
    "steps(3)": "Steps takes a table of time: factor",
    "steps({0.1: -1})": "a factor=-1 in Steps is outside",
    "sequence(cosine, at=0.1)": "between two shapes there is one time",
    "sequence(cosine, cosine, cosine, at=(0.2, 0.1))": "the times must ascend",
    "warmup(10, absolute(cosine))": r"Put absolute\(…\) or budget\(…\) around the whole",
    "cosine * absolute(cosine)": "so that it is no factor",
    "absolute(budget(1))": "stands for λ itself already",
    "budget(1, follow)": "cannot divide its total by follow",
    "budget(1, decay='stable')": "decay='stable' in Budget: the pull is known beforehand for decoupled, independent",
    "plateau(mode='mn')": "mode='mn' in Plateau",
    "plateau(0.1, 1.5)": "patience=1.5 in Plateau is not a whole number",
    "plateau(2, low=2, high=1)": r"high=1 in Plateau is outside \[2",
    "anti_phase(2, 1)": "low is at most high",
    "follow(peak_lr=0)": "peak_lr=0 in Follow is outside",
}


@pytest.mark.parametrize("text", WRONG_TEXT)
def test_a_text_that_is_no_shape_is_refused(text):
    with pytest.raises(ValueError, match=WRONG_TEXT[text]):
        parse(text)


REFUSED = {
    "no optimizer": (lambda: Scheduler([parameter()], "cosine"), TypeError, "list is not an optimizer"),
    "a handle": (
        lambda: Scheduler(wd.attach(adamw(), wd.Stable()), "cosine"),
        TypeError,
        "Handle is not an optimizer: it has no param_groups. Pass handle.optimizer",
    ),
    "no shape": (lambda: Scheduler(adamw(), None), TypeError, "None is no shape"),
    "a class": (lambda: Scheduler(adamw(), Cosine), TypeError, r"Cosine is a class. Call it: Cosine\(\)"),
    "no length": (lambda: Scheduler(adamw(), "cosine"), ValueError, "cosine counts in fractions .* pass total_steps="),
    "no length for a part": (
        lambda: Scheduler(adamw(), "sequence(linear, cosine, at=5)"),
        ValueError,
        "pass total_steps=",
    ),
    "length 0": (lambda: Scheduler(adamw(), "cosine", total_steps=0), ValueError, "total_steps=0"),
    "length 1.5": (lambda: Scheduler(adamw(), "cosine", total_steps=1.5), TypeError, "total_steps=1.5 is not a whole"),
    "no such key": (
        lambda: Scheduler(adamw(), "follow", key="weight_dcay"),
        ValueError,
        "group 0 has no 'weight_dcay'. Did you mean 'weight_decay'",
    ),
    "no strength at all": (
        lambda: Scheduler(torch.optim.LBFGS([parameter()]), "follow"),
        ValueError,
        "group 0 has no 'weight_decay'. It has",
    ),
    "betas": (lambda: Scheduler(adamw(), "follow", key="betas"), TypeError, "betas=.* is not a number"),
    "lr of lr": (lambda: Scheduler(adamw(), "follow", key="lr"), ValueError, "would make it follow itself"),
    "no such group": (
        lambda: Scheduler(adamw(), {1: "follow"}),
        ValueError,
        "there is no group 1: the optimizer has 1",
    ),
    "no such name": (
        lambda: Scheduler(two_groups(), {"matrics": "follow"}),
        ValueError,
        "no group has the name 'matrics'. Did you mean 'matrices'",
    ),
    "one group twice": (
        lambda: Scheduler(two_groups(), {0: "follow", "matrices": "constant"}),
        ValueError,
        "group 0, which has the shape follow already",
    ),
    "no group": (lambda: Scheduler(adamw(), {}), ValueError, "the table is empty"),
    "a group by a number": (lambda: Scheduler(adamw(), {0.0: "follow"}), TypeError, "0.0 is no group"),
    "a function below 0": (
        lambda: Scheduler(adamw(), lambda x: -1.0, total_steps=3),
        ValueError,
        "gives weight_decay=-0.1 for step 0 in group 0",
    ),
    "λ 0 everywhere": (
        lambda: Scheduler(adamw(weight_decay=0.0), "constant").step(),
        ValueError,
        "every scheduled group of AdamW has weight_decay=0",
    ),
    "a metric for nobody": (
        lambda: Scheduler(adamw(), "constant").step(0.3),
        TypeError,
        r"none of the shapes constant reads a metric. Call step\(\)",
    ),
    "a metric that is no number": (lambda: Scheduler(adamw(), "plateau").step("x"), TypeError, "metric='x' in step"),
    "within SequentialLR": (
        lambda: SequentialLR(o := adamw(), [ConstantLR(o), Scheduler(o, "constant")], [3]),
        TypeError,
        "Write the sequence as a shape",
    ),
    "nothing to deal out": (
        lambda: Scheduler(adamw(), "budget(1, constant(0))", total_steps=3),
        ValueError,
        "cannot be dealt out",
    ),
    "no peak": (lambda: Scheduler(adamw(lr=0.0), "follow"), ValueError, "divides by the peak lr, which is 0"),
    "values without an lr": (lambda: Follow().values(3), ValueError, "follow reads the lr; pass lr="),
    "values with a short lr": (lambda: Follow().values(3, lr=[1.0]), ValueError, "lr has 1 values"),
    "a state of something else": (
        lambda: Scheduler(adamw(), "constant").load_state_dict({"last_epoch": 3}),
        ValueError,
        "no state of a weight-decay Scheduler: it lacks key",
    ),
    "a state of another key": (
        lambda: Scheduler(adamw(), "constant").load_state_dict(Scheduler(adamw(), 1, key="lr").state_dict()),
        ValueError,
        "a schedule of 'lr', and this one is of 'weight_decay'",
    ),
    "a state of other groups": (
        lambda: Scheduler(adamw(), "constant").load_state_dict(Scheduler(two_groups(), 1).state_dict()),
        ValueError,
        "the state is of 2 groups, and the optimizer has 1",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_sense_is_refused(name):
    build, error, says = REFUSED[name]
    with pytest.raises(error, match=says):
        build()


def test_a_checkpoint_of_another_length_or_shape_is_said():
    scheduler = Scheduler(adamw(), "cosine", total_steps=8)
    state = Scheduler(adamw(), "linear", total_steps=9).state_dict()
    with (
        pytest.warns(UserWarning, match="written with total_steps=9; this scheduler keeps 8"),
        pytest.warns(UserWarning, match=r"written with shapes=\['linear'\]; this scheduler keeps \['cosine'\]"),
    ):
        scheduler.load_state_dict(state)
    assert scheduler.total_steps == 8


def test_a_shape_of_ones_own_and_a_function():
    class Flip(Shape):
        def multiplier(self, now):
            return 0.5 if now.step % 2 else 1.0

    flip = Scheduler(adamw(), Flip.__new__(Flip))
    flip.step()
    assert flip.get_last_value() == [0.05]
    assert Function(lambda x: (1 - x) ** 2).values(4) == [1.0, 0.5625, 0.25, 0.0625]
    assert (2 * Constant(0.25)).values(1) == [0.5]
    with pytest.raises(ValueError, match="pass total_steps"):
        Cosine().multiplier(Moment(3))


def test_everything_public_is_a_shape_or_named():
    for cls in (Absolute, Product, Sawtooth, Sequence, LogTime, Steps):
        assert issubclass(cls, Shape)


# ---------------------------------------------------------------- in the lab's figures


def test_the_lab_draws_lambda_over_the_lr():
    """Each as a share of its largest value, as the run's own functions of the step say; nothing where λ is constant."""
    figure_of = pytest.importorskip("matplotlib.figure", reason="figures come with weightdecay[lab]").Figure
    from weightdecay.lab.report.lines import POINTS, moves, over_training
    from weightdecay.lab.run import Run
    from weightdecay.lab.training.schedule import lr_at, weight_decay_at

    shared = {"lr": 0.1, "weight_decay": 0.2, "seed": 0, "epochs": 4, "schedule": "cosine"}
    plain, moving = Run("adams", **shared), Run("adams", **shared, weight_decay_schedule="rise(0.1, 1)")
    assert not moves([plain])
    assert moves([plain, moving])
    axes = figure_of().subplots()
    over_training(axes, moving, {"color": "red"})
    rates, strengths = (line.get_ydata() for line in axes.get_lines())
    steps = range(4 * POINTS)
    largest = max(weight_decay_at(moving, step, POINTS) for step in steps)
    assert rates == pytest.approx([lr_at(moving, step, POINTS) / 0.1 for step in steps])
    assert strengths == pytest.approx([weight_decay_at(moving, step, POINTS) / largest for step in steps])
