"""Another length of training: the paper's λ ∝ 1/length, and its first λ for SGD if nothing has been tuned."""

from __future__ import annotations

import math

from weightdecay.transfer.batch import BATCH
from weightdecay.transfer.domain import computed, non_negative, positive, scaled
from weightdecay.transfer.rule import Change, Pair, Quantity, Rule, decay
from weightdecay.transfer.setting import Setting

EPOCHS_TRIED = (50.0, 2000.0)
"""The paper's Table 3."""

PER_EPOCH, TABLE3_BATCH, TABLE3_SAMPLES = 0.1, 128, 50_000


def length_weight_decay(weight_decay: float, k: float) -> float:
    r"""λ ∝ 1/epochs: k times as long a training needs a k-th of the weight decay, at the same lr and batch.

    .. math:: \lambda' = \lambda / k

    The bias −λθ*/(H+λ) asks for a small λ (Corollary 1), the 1/(ηλ) steps of the flat directions for a large one
    (Corollary 2): the smallest λ with which they arrive in time is ∝ 1/steps. The rule keeps ηλ·steps.

    Range:  SGD on CIFAR-10, 50 to 2000 epochs. For longer training of adaptive methods arXiv:2405.13698 (λ stays)
            and arXiv:2505.13738 (λ falls more slowly) disagree.
    Units:  k is a ratio of epochs, or of steps at one batch size.
    Raises: ValueError, for a negative λ or a k that is not above 0.
    Source: arXiv:2011.11152, Section 4, Figure 2 and Table 3.

    >>> length_weight_decay(5e-4, 10)
    5e-05
    """
    (weight_decay,) = non_negative(weight_decay=weight_decay)
    (k,) = positive(k=k)
    return scaled("weight_decay", weight_decay, 1 / k)


def _doubts_of_length(c: Change) -> list[str]:
    low, high = EPOCHS_TRIED
    said = []
    longer = c.ratio("epochs") != 1
    if c.batch != 1:
        said.append("λ ∝ 1/length is the paper's (arXiv:2011.11152), also beside another rule for the batch")
    if longer and not all(low <= epochs <= high for epochs in c.both("epochs")):
        said.append(f"λ ∝ 1/epochs was tested from {low:g} to {high:g} epochs")
    if longer and c.new.family != "sgd":
        said.append("λ ∝ 1/epochs was measured for SGD")
    if c.ratio("samples") != 1:
        said.append("the paper does not change the amount of data; this rule keeps the decay over the whole training")
    return said


LENGTH = Rule(
    name="λ ∝ 1/length",
    about="length",
    change="epochs × k",
    lr="as it was",
    weight_decay="/ k",
    kept="pull × steps",
    measured="SGD; CIFAR-10, 50 to 2000 epochs",
    sources=("arXiv:2011.11152",),
    function=length_weight_decay,
    answer=lambda c, lr, weight_decay: (lr, length_weight_decay(weight_decay, c.length)),
    applies=lambda c: c.lengthens,
    keeps=decay,
    doubts=_doubts_of_length,
)


def table3_weight_decay(epochs: float) -> float:
    r"""λ ≈ 0.1/epochs: a first λ for SGD if nothing has been tuned.

    .. math:: \lambda = 0.1 / \text{epochs}

    Range:  L2 (or stable) λ of SGD with momentum 0.9, lr 0.1 in steps, batch 128, ResNet18 on CIFAR-10, 50 to 2000
            epochs. 391 steps per epoch: λ·steps ≈ 39.
    Units:  λ is in loss/weight².
    Raises: ValueError, for epochs that are not above 0.
    Source: arXiv:2011.11152, Table 3.

    >>> table3_weight_decay(200)
    0.0005
    """
    (epochs,) = positive(epochs=epochs)
    return computed("weight_decay", PER_EPOCH / epochs)


def _per_epoch(c: Change, lr: float, weight_decay: float) -> Pair:
    return lr, table3_weight_decay(c.both("epochs")[1])


def _speaks_of(c: Change) -> bool:
    known = None not in (c.old.epochs, c.new.epochs)
    return known and c.trains and c.new.family == "sgd" and c.new.meaning in ("l2", "stable")


def _by_epochs(s: Setting, width: float) -> Quantity:
    """What the paper's Table 3 keeps."""
    return "λ · epochs", s.weight_decay * (s.epochs or math.nan)


def _doubts_of_table3(c: Change) -> list[str]:
    new = c.new
    return [
        f"measured at {name} {value:g}"
        for name, value, have in (
            ("batch", TABLE3_BATCH, new.batch_size),
            ("samples", TABLE3_SAMPLES, new.samples),
            ("momentum", 0.9, new.momentum),
            ("lr", 0.1, new.lr),
        )
        if have != value
    ]


TABLE3 = Rule(
    name="0.1/epochs, from nothing",
    about="nothing",
    change="nothing was tuned",
    lr="as it was",
    weight_decay="0.1 / epochs",
    kept="λ · epochs",
    measured="SGD with momentum 0.9, lr 0.1 in steps, L2; ResNet18 on CIFAR-10, batch 128, 50 to 2000 epochs",
    sources=("arXiv:2011.11152",),
    function=table3_weight_decay,
    answer=_per_epoch,
    applies=_speaks_of,
    keeps=_by_epochs,
    doubts=_doubts_of_table3,
    against={
        BATCH.name: "the first scales your λ, the second is the paper's own λ at batch 128 for ResNet18 on CIFAR-10",
        LENGTH.name: "the first scales your λ, the second is the paper's own λ for ResNet18 on CIFAR-10; they differ "
        "if your λ was not 0.1/epochs",
    },
)
