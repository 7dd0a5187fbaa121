"""λ over time: every shape against its formula, its text, its picture."""

import math
import pickle
import sys

import numpy as np
import pytest
import torch
from scheduled import ETA, LRS, PI, T, adamw
from torch.optim.lr_scheduler import (
    LambdaLR,
    ReduceLROnPlateau,
)

import weightdecay as wd
from weightdecay.schedule import (
    Absolute,
    Budget,
    Constant,
    Cosine,
    Follow,
    Function,
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
