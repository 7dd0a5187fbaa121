"""Another batch at as many epochs: the paper's λ × k, linear scaling of the lr, and the square root for Adam."""

from __future__ import annotations

import math
from typing import NamedTuple

from weightdecay.transfer.domain import below_one, computed, non_negative, positive, scaled
from weightdecay.transfer.rule import Change, Moments, Quantity, Rule, decay
from weightdecay.transfer.setting import Setting

BATCHES_TRIED = (128.0, 16384.0)
"""The paper's smallest and largest batch."""

LARGEST_BATCH = 8192
"""The batch up to which linear scaling kept its accuracy, ResNet-50 on ImageNet with a warm-up of five epochs."""

ROUNDING = 1e-12
"""Of 1 − β: a β closer to 0 than this is 0."""


def batch_weight_decay(weight_decay: float, k: float) -> float:
    r"""The paper's rule: k times the batch needs k times the weight decay, at the same lr and number of epochs.

    .. math:: \lambda' = k\,\lambda, \qquad \eta' = \eta

    A k-th of the steps then has the same total decay: ηλ·steps stays, and the flat directions, which take 1/(ηλ) steps
    (Corollary 2), arrive in the same number of epochs.

    Range:  the paper shows it for Adam, AdamW and AdamS from batch 128 to 16384 (ResNet18 and VGG16 on CIFAR-10).
    Units:  λ' is in the unit of λ, whatever that is; k is a ratio of batch sizes.
    Raises: ValueError, for a negative λ or a k that is not above 0.
    Source: arXiv:2011.11152, Section 4, Figures 3, 9 and 16.

    >>> batch_weight_decay(5e-4, 128)
    0.064
    """
    (weight_decay,) = non_negative(weight_decay=weight_decay)
    (k,) = positive(k=k)
    return scaled("weight_decay", weight_decay, k)


def _doubts_of_batch(c: Change) -> list[str]:
    low, high = BATCHES_TRIED
    said = []
    if not all(low <= size <= high for size in c.both("batch_size")):
        said.append(f"the paper tested λ × k only from batch {low:g} to {high:g}")
    if c.new.method != "adam":
        said.append("the paper tested λ × k only with Adam, AdamW and AdamS")
    return said


BATCH = Rule(
    name="batch × k ⇒ λ × k",
    about="batch",
    change="batch × k",
    lr="as it was",
    weight_decay="× k",
    kept="pull × steps",
    measured="Adam, AdamW, AdamS; CIFAR-10, batch 128 to 16384",
    sources=("arXiv:2011.11152",),
    function=batch_weight_decay,
    answer=lambda c, lr, weight_decay: (lr, batch_weight_decay(weight_decay, c.batch)),
    applies=lambda c: c.batch != 1,
    keeps=decay,
    doubts=_doubts_of_batch,
)


def linear_lr(lr: float, k: float) -> float:
    r"""Linear scaling: k times the batch needs k times the learning rate, at the same λ.

    .. math:: \eta' = k\,\eta, \qquad \lambda' = \lambda

    k small steps from nearby points equal one step that is k times as long. The rule keeps η/B, and with it ηλ·steps
    at a fixed number of epochs.

    Range:  SGD with momentum and a warm-up, up to a batch of 8192 in the source (ImageNet). Not for adaptive methods,
            which divide by the gradient's size: the paper's Figure 3 has Adam getting worse by it.
    Units:  k is a ratio of batch sizes, without dimension.
    Raises: ValueError, for an lr or k that is not above 0.
    Source: Goyal et al. 2017, arXiv:1706.02677, Section 2.1.

    >>> linear_lr(0.1, 8)
    0.8
    """
    lr, k = positive(lr=lr, k=k)
    return computed("lr", lr * k)


def _noise(s: Setting, width: float) -> Quantity:
    """The scale of SGD's noise."""
    return "lr / batch", s.lr / (s.batch_size or math.nan)


def _doubts_of_linear(c: Change) -> list[str]:
    said = ["it needs a warm-up"] if c.batch > 1 else []
    if c.new.family == "adam":
        said.append("it is a rule for SGD; in the paper's Figure 3 Adam gets worse by it")
    elif c.new.family != "sgd":
        said.append(f"it is a rule for SGD; nobody derived lr × k for {c.new.optimizer}")
    if c.both("batch_size")[1] > LARGEST_BATCH:
        said.append(f"in its source the accuracy stays the same only up to a batch of {LARGEST_BATCH}")
    return said


LINEAR = Rule(
    name="linear lr scaling",
    about="batch",
    change="batch × k",
    lr="× k",
    weight_decay="as it was",
    kept="lr/batch, and pull × steps for the same number of examples",
    measured="SGD; ImageNet, up to batch 8192",
    sources=("arXiv:1706.02677",),
    function=linear_lr,
    answer=lambda c, lr, weight_decay: (linear_lr(lr, c.batch), weight_decay),
    applies=lambda c: c.batch != 1,
    keeps=_noise,
    doubts=_doubts_of_linear,
    against={
        BATCH.name: "both keep lr·λ × steps; the first leaves the lr and changes λ, the second keeps the noise of SGD, "
        "which is ∝ lr/batch. Adam divides this noise away"
    },
)


class AdamScaling(NamedTuple):
    """The hyper-parameters of Adam or AdamW for another batch."""

    lr: float
    beta1: float
    beta2: float
    eps: float
    weight_decay: float


def square_root(
    lr: float, k: float, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8, weight_decay: float = 0.0
) -> AdamScaling:
    r"""The square-root rule: k times the batch needs √k times the lr, and averages over as many examples as before.

    .. math:: \eta' = \sqrt k\,\eta, \quad 1-\beta_i' = k\,(1-\beta_i), \quad \epsilon' = \epsilon/\sqrt k,
              \quad \lambda' = \sqrt k\,\lambda

    Where noise dominates the gradient, √v̂ falls as 1/√k, so that η/√v̂ grows by k as in linear scaling. Keeps the
    stochastic differential equation that Adam follows. The source has no weight decay; λ' is ours, for a pull of ηλ: it
    keeps ηλ·steps at fixed epochs, so that the decay of an example stays.

    Range:  gradients that are mostly noise (small and middling batches), and k below 1/(1−β₁), k below 1/(1−β₂).
            Derived for Adam and RMSprop alone: Padam's power is not ½, AdaBound clips, Lion takes a sign.
            Composition and inverse hold exactly: k₁ then k₂ is k₁k₂.
    Units:  k is a ratio of batch sizes.
    Raises: ValueError, where a β would fall below 0, and for values out of range.
    Source: Malladi et al. 2022, arXiv:2205.10287, Definition 5.3.

    >>> scaled = square_root(1e-3, 4, weight_decay=0.1)
    >>> print(f"{scaled.lr:g} {scaled.beta1:g} {scaled.beta2:g} {scaled.eps:g} {scaled.weight_decay:g}")
    0.002 0.6 0.996 5e-09 0.2
    """
    (k,) = positive(k=k)
    beta1, beta2 = below_one(beta1=beta1, beta2=beta2)
    (eps,) = non_negative(eps=eps)
    for name, beta in (("beta1", beta1), ("beta2", beta2)):
        if not reaches(k, beta):
            raise ValueError(
                f"k={k:g} is too much for {name}={beta:g}: 1−β × k = {k * (1 - beta):g} would leave a β below 0. "
                f"The square-root rule holds up to k = {1 / (1 - beta):.3g} here; beyond it no Adam follows the same "
                "equation."
            )
    lr, weight_decay = square_root_pull(lr, weight_decay, k)
    return AdamScaling(lr, _moved(beta1, k), _moved(beta2, k), scaled("eps", eps, 1 / math.sqrt(k)), weight_decay)


def square_root_pull(lr: float, weight_decay: float, k: float) -> tuple[float, float]:
    """Lr and λ of :func:`square_root` alone, which exist even where a β would fall below 0: both × √k.

    >>> square_root_pull(1e-3, 0.1, 4)
    (0.002, 0.2)
    """
    lr, k = positive(lr=lr, k=k)
    (weight_decay,) = non_negative(weight_decay=weight_decay)
    return computed("lr", lr * math.sqrt(k)), scaled("weight_decay", weight_decay, math.sqrt(k))


def reaches(k: float, *betas: float) -> bool:
    """Whether k times the batch leaves every β at 0 or above, up to rounding."""
    return all(k * (1 - beta) <= 1 + ROUNDING for beta in betas)


def _root_noise(s: Setting, width: float) -> Quantity:
    """The scale of Adam's noise."""
    return "lr² / batch", s.lr * s.lr / (s.batch_size or math.nan)


def _moments(c: Change) -> Moments | None:
    """Return β's and ε of :func:`square_root`, where it reaches so far and there is an Adam to have them."""
    if c.new.family != "adam" or not reaches(c.batch, *c.new.betas):
        return None
    moved = square_root(1.0, c.batch, *c.new.betas, c.new.eps)
    return (moved.beta1, moved.beta2), moved.eps


def _doubts_of_root(c: Change) -> list[str]:
    said = ["its source has no weight decay; this library chose λ so that lr·λ × steps stays"]
    if c.new.method == "padam":
        said.append("it was derived for Adam, whose power of v̄ is 1/2; Padam's is 1/4, and its noise differs")
    elif c.new.method != "adam":
        said.append(f"lr × √k was derived for Adam, not for {c.new.optimizer}")
    if c.new.family == "adam" and not reaches(c.batch, *c.new.betas):
        most = 1 / (1 - min(c.new.betas))
        said.append(f"beyond k = {most:.3g} a β falls below 0, so no Adam follows the same equation at this batch")
    return said


ROOT = Rule(
    name="square-root lr scaling",
    about="batch",
    change="batch × k",
    lr="× √k; 1−β × k, ε / √k",
    weight_decay="× √k (by this library)",
    kept="lr²/batch",
    measured="Adam, where noise dominates; k below 1/(1−β₁) and 1/(1−β₂)",
    sources=("arXiv:2205.10287",),
    function=square_root,
    answer=lambda c, lr, weight_decay: square_root_pull(lr, weight_decay, c.batch),
    applies=lambda c: c.batch != 1 and c.normalizes,
    keeps=_root_noise,
    moments=_moments,
    doubts=_doubts_of_root,
    against={
        BATCH.name: "both keep lr·λ × steps; the first leaves the lr, the second multiplies it by √k for the same "
        "noise in Adam",
        LINEAR.name: "the noise of SGD is ∝ lr/batch; Adam divides by √v̂, which itself falls as 1/√k",
    },
)


def _moved(beta: float, k: float) -> float:
    moved = 1 - k * (1 - beta)
    computed("1 − β", 1 - moved)
    return moved if moved > ROUNDING else 0.0
