"""Schedules of λ that make no sense are refused, with the reason and the way out."""

import pytest
import torch
from scheduled import adamw, parameter, two_groups
from torch.optim.lr_scheduler import (
    ConstantLR,
    SequentialLR,
)

import weightdecay as wd
from weightdecay.schedule import (
    Cosine,
    Follow,
    Scheduler,
    parse,
)

WRONG_TEXT = {
    "cosin": "no shape is called 'cosin'. Did you mean 'cosine'",
    "linear(strat=1)": r"Did you mean 'start'\? Linear takes start, end",
    "linear(1, 2, 3)": "too many positional arguments",
    "": "'' is not a shape. Write a name or a call",
    "a.b": "'a.b' is not a shape",
    "cosine + 1": r"'cosine \+ 1' is not a shape",
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
    "cosine * absolute(cosine)": "so it cannot be a factor",
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
    "no shape": (lambda: Scheduler(adamw(), None), TypeError, "None is not a shape"),
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
    "a group by a number": (lambda: Scheduler(adamw(), {0.0: "follow"}), TypeError, "0.0 is not a group"),
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
        "not a state of a weight-decay Scheduler: it lacks key",
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
