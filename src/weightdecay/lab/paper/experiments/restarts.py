"""Figures 17 and 18: a cosine with warm restarts in place of steps."""

from __future__ import annotations

from weightdecay.lab.paper.arms import ADAM, ADAMS, ADAMS_THREE, ADAMW, GRID, panels
from weightdecay.lab.paper.claims import fixed, lower_everywhere, lowest, lowest_training_loss, tuned
from weightdecay.lab.paper.experiment import Claim, Experiment, Panel
from weightdecay.lab.paper.scale import EPOCHS, Scale

FIRST, LENGTH = 14, 210
"""Epochs of the first part in the paper, and of all four, each twice as long as the one before."""

BOTH = [ADAM.curve, ADAMW.curve]


def _panels(scale: Scale) -> tuple[Panel, ...]:
    words = ("ResNet18, CIFAR-10", "VGG16, CIFAR-10")
    epochs = scale.setting(words[0]).lasting(LENGTH if scale.name == "paper" else EPOCHS)
    return panels(
        scale, words, ADAMS_THREE, GRID,
        epochs=epochs, schedule="restarts", restart_period=epochs * FIRST / LENGTH, restart_factor=2.0,
    )  # fmt: skip


def _fig17(scale: Scale) -> tuple[Claim, ...]:
    return (
        Claim("AdamS has the lowest test error at the paper’s λ", "drawn", lowest(ADAMS.curve, BOTH, fixed)),
        Claim("AdamS has the lowest training loss at the paper’s λ", "drawn", lowest_training_loss(ADAMS.curve, BOTH)),
    )


def _fig18(scale: Scale) -> tuple[Claim, ...]:
    return (
        Claim("AdamS is better than Adam and AdamW at every λ", "drawn", lower_everywhere(ADAMS.curve, BOTH)),
        Claim("AdamS is better than Adam and AdamW, each at its best λ", "drawn", lowest(ADAMS.curve, BOTH, tuned)),
    )


EXPERIMENTS = (
    Experiment(
        "fig17", "Cosine with warm restarts", "Does AdamS lead under another schedule?", ("curves",), _panels, _fig17
    ),
    Experiment(
        "fig18", "Cosine with warm restarts, over λ", "Does it at every λ?", ("decay",), _panels, _fig18
    ),
)  # fmt: skip
