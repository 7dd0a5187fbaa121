"""Figures 7, 8, 10, 14 and 15: AdamS, AdamW and Adam over λ, over lr and λ, on ImageNet, and for longer."""

from __future__ import annotations

from weightdecay.lab.paper.arms import ADAM, ADAMS, ADAMS_THREE, ADAMW, ELEMENTWISE, FIXED, GRID, TUNE, panel
from weightdecay.lab.paper.claims import fixed, lower_everywhere, lowest, tuned
from weightdecay.lab.paper.experiment import Claim, Experiment, Panel
from weightdecay.lab.paper.optima import same_optimum, wider
from weightdecay.lab.paper.scale import Scale

BOTH = [ADAM.curve, ADAMW.curve]


def _fig7(scale: Scale) -> tuple[Panel, ...]:
    return (panel(scale, "VGG16, CIFAR-10", (*ADAMS_THREE, ELEMENTWISE), GRID),)


def _fig14(scale: Scale) -> tuple[Panel, ...]:
    return (panel(scale, "ResNet34, CIFAR-100", ADAMS_THREE, GRID),)


def _over_decays(scale: Scale) -> tuple[Claim, ...]:
    return (
        Claim("AdamS is better than Adam and AdamW at every λ (AdamW’s at λη)", "drawn",
              lower_everywhere(ADAMS.curve, BOTH)),
        Claim("AdamS is better than Adam and AdamW, each at its best λ", "drawn", lowest(ADAMS.curve, BOTH, tuned)),
        Claim("L2 and stable decay are best at the same λ", "drawn", same_optimum([ADAM.curve, ADAMS.curve])),
    )  # fmt: skip


def _fig7_claims(scale: Scale) -> tuple[Claim, ...]:
    isotropic = Claim(
        "One pull for all weights (Eq. 11) is better than one for each (Eq. 10)",
        "argued, not measured",
        lowest(ADAMS.curve, [ELEMENTWISE.curve], tuned),
        own=True,
    )
    return (*_over_decays(scale), isotropic)


LRS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)


def _fig8(scale: Scale) -> tuple[Panel, ...]:
    lrs = {arm.curve: LRS for arm in ADAMS_THREE}
    return (panel(scale, "ResNet18, CIFAR-10", ADAMS_THREE, TUNE, lrs=lrs, source="fig8"),)


def _fig8_claims(scale: Scale) -> tuple[Claim, ...]:
    return (
        Claim("AdamS’s basin is deeper than AdamW’s and Adam’s", "4.52 / 4.90 / 5.49 (AdamS / AdamW / Adam)",
              lowest(ADAMS.curve, BOTH, tuned)),
        Claim("AdamW’s basin is deeper than Adam’s", "4.90 / 5.49", lowest(ADAMW.curve, [ADAM.curve], tuned)),
        Claim("AdamS’s basin is wider than AdamW’s and Adam’s", "drawn", wider(ADAMS.curve, BOTH)),
    )  # fmt: skip


IMAGENET_LRS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
IMAGENET_DECAYS = (5e-6, 5e-5, 5e-4, 5e-3, 5e-2)


def _fig10(scale: Scale) -> tuple[Panel, ...]:
    lrs = {arm.curve: IMAGENET_LRS for arm in ADAMS_THREE}
    return (panel(scale, "ResNet50, ImageNet", ADAMS_THREE, IMAGENET_DECAYS, lrs=lrs, source="fig10"),)


def _fig10_claims(scale: Scale) -> tuple[Claim, ...]:
    return (
        Claim("AdamS is better than AdamW, by little", "24.19 / 24.29", lowest(ADAMS.curve, [ADAMW.curve], tuned)),
        Claim("AdamS is better than Adam", "24.19 / 30.07", lowest(ADAMS.curve, [ADAM.curve], tuned)),
    )


def _fig15(scale: Scale) -> tuple[Panel, ...]:
    setting = scale.setting("ResNet18, CIFAR-10")
    return (
        panel(
            scale, "ResNet18, CIFAR-10", ADAMS_THREE, (FIXED,), source="fig15",
            epochs=setting.lasting(900), milestones=(1 / 3, 2 / 3),
        ),
    )  # fmt: skip


def _fig15_claims(scale: Scale) -> tuple[Claim, ...]:
    return (Claim("With 4.5 times the epochs AdamS is still the best", "AdamS 4.70", lowest(ADAMS.curve, BOTH, fixed)),)


EXPERIMENTS = (
    Experiment("fig7", "Three optimizers over λ, VGG16", "Is AdamS best at every λ?", ("decay",), _fig7, _fig7_claims),
    Experiment(
        "fig8", "lr and λ of three optimizers", "Whose basin is deeper, whose is wider?", ("heat",), _fig8, _fig8_claims
    ),
    Experiment(
        "fig10", "ResNet50 on ImageNet", "How much is left of the difference on ImageNet?",
        ("curves", "heat"), _fig10, _fig10_claims,
    ),
    Experiment(
        "fig14", "Three optimizers over λ, ResNet34", "Is AdamS best at every λ?", ("decay",), _fig14, _over_decays
    ),
    Experiment(
        "fig15", "A longer training", "Does the difference stay when training is 4.5 times longer?",
        ("curves",), _fig15, _fig15_claims,
    ),
)  # fmt: skip
