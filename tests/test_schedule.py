"""Learning rates of the lab over time, and λ, against their formulas."""

import itertools
import math
import warnings

import pytest
import torch
from lab import small

from weightdecay.lab.training.schedule import check, lr_at, weight_decay_at

STEPS = 5


def lrs(run, steps=STEPS):
    return [lr_at(run, step, steps) for step in range(run.epochs * steps)]


def test_steps_drop_at_the_milestones_as_in_torch():
    run = small(epochs=25, lr=0.1)
    assert lrs(run, 2)[::2] == pytest.approx([0.1] * 10 + [0.01] * 10 + [0.001] * 5)
    assert lrs(run, 2)[::2] == lrs(run, 2)[1::2]
    theirs = torch.optim.lr_scheduler.MultiStepLR(sgd(0.1), [10, 20])
    assert lrs(run, 1) == pytest.approx(scheduled(theirs, 25))


def test_a_short_run_begins_with_its_own_lr():
    assert lrs(small(epochs=1, lr=0.1), 2) == [0.1, 0.1]
    assert lrs(small(epochs=2, lr=0.1), 1) == pytest.approx([0.1, 0.01])


def test_the_papers_milestones():
    for milestones, drops in (((0.4, 0.8), [80, 160]), ((0.5, 0.75), [100, 150])):
        run = small(epochs=200, lr=1.0, milestones=milestones)
        values = lrs(run, 1)
        assert [e for e in range(1, 200) if values[e] < 0.5 * values[e - 1]] == drops


def test_cosine_and_restarts_are_torchs():
    run = small(epochs=12, lr=0.3, schedule="cosine")
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(sgd(0.3), 12)
    assert lrs(run, 1) == pytest.approx(scheduled(theirs, 12))
    run = small(epochs=210, lr=0.3, schedule="restarts")
    theirs = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(sgd(0.3), 14, 2)
    assert lrs(run, 1) == pytest.approx(scheduled(theirs, 210))


def test_restarts_begin_at_the_top_and_last_twice_as_long():
    values = lrs(small(epochs=210, lr=1.0, schedule="restarts"))
    tops = [step / STEPS for step, value in enumerate(values) if value == 1.0]
    assert tops == [0, 14, 42, 98]  # 14 + 28 + 56 + 112 = 210


def test_cosine_goes_down_in_every_step():
    values = lrs(small(epochs=10, lr=1.0, schedule="cosine"))
    assert all(a > b for a, b in itertools.pairwise(values))
    assert values[len(values) // 2] == pytest.approx(0.5)


@pytest.mark.parametrize("schedule", ["step", "cosine", "restarts", "constant"])
def test_a_warm_up_grows_linearly_and_ends_where_the_shape_is(schedule):
    plain, warm = (lrs(small(epochs=20, lr=2.0, schedule=schedule, warmup=w)) for w in (0.0, 2.0))
    for step, (a, b) in enumerate(zip(plain, warm, strict=True)):
        assert b == pytest.approx(a * min(1, (step + 1) / 10))
    assert warm[0] > 0


def test_a_constant_is_one():
    assert set(lrs(small(lr=0.7, schedule="constant"))) == {0.7}


def strengths(text, **more):
    run = small(weight_decay=0.2, weight_decay_schedule=text, **more)
    return [weight_decay_at(run, step, STEPS) for step in range(run.epochs * STEPS)]


def test_the_strength_is_constant_or_the_shape_that_the_run_names():
    run = small(epochs=4, lr=0.3, schedule="cosine", warmup=1.0)
    steps = 4 * STEPS
    assert strengths("") == [0.2] * steps
    assert strengths("linear(1, 0)") == pytest.approx([0.2 * (1 - t / steps) for t in range(steps)])
    followed = strengths("follow(2)", epochs=4, lr=0.3, schedule="cosine", warmup=1.0)
    assert followed == pytest.approx([0.2 * (lr / 0.3) ** 2 for lr in lrs(run)])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"schedule": "cosin"}, r"no schedule is called 'cosin'. Did you mean 'cosine'"),
        ({"epochs": 0}, "epochs=0"),
        ({"warmup": 5.0}, r"warmup=5 is outside \[0, 4\]"),
        ({"warmup": math.nan}, "warmup=nan"),
        ({"milestones": (80.0, 160.0)}, r"milestones=\(80.0, 160.0\): each is a fraction.*Epoch 80 of 200 is 0.4"),
        ({"schedule": "restarts", "restart_period": 0.0}, "restart_period=0"),
        ({"schedule": "restarts", "restart_factor": 0.5}, "restart_factor=0.5"),
        ({"weight_decay_schedule": "cosin"}, r"weight_decay_schedule='cosin': no shape .* Did you mean 'cosine'"),
        ({"weight_decay_schedule": "plateau"}, "waits for a metric"),
    ],
)
def test_a_schedule_that_cannot_be_followed_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        check(small(**wrong))


def sgd(lr):
    return torch.optim.SGD([torch.zeros(1)], lr=lr)


def scheduled(scheduler, epochs):
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no step is taken between theirs
        for _ in range(epochs):
            found.append(scheduler.get_last_lr()[0])
            scheduler.step()
    return found
