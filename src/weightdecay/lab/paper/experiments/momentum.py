"""Figures 19 to 23 and Table 4: SGD with momentum, and Adai; and SGD as TensorFlow writes it."""

from __future__ import annotations

from weightdecay.lab.paper.arms import (
    ADAI,
    ADAIS,
    FIXED,
    GRID,
    PLAIN_SGD,
    SGD,
    SGDS,
    SGDW,
    TENSORFLOW,
    TUNE,
    Arm,
    panel,
    panels,
)
from weightdecay.lab.paper.claims import fixed, lowest, tuned
from weightdecay.lab.paper.experiment import Claim, Claims, Experiment, Panel, Panels
from weightdecay.lab.paper.optima import optimum_at, wider
from weightdecay.lab.paper.scale import Scale

FOUR = (PLAIN_SGD, SGD, SGDW, SGDS)
RESNET, VGG = "ResNet18, CIFAR-10", "VGG16, CIFAR-10"


def _over_decays(words: str) -> Panels:
    return lambda scale: (panel(scale, words, FOUR, GRID),)


def _over_decays_claims(scale: Scale) -> tuple[Claim, ...]:
    at = scale.setting(VGG).at
    optima = [
        Claim(f"{arm.title} is best at λ = {at(place):g} (the paper’s {place:g})", f"{place:g}",
              optimum_at(arm.curve, at(place)))
        for arm, place in ((PLAIN_SGD, FIXED), (SGD, FIXED), (SGDS, FIXED), (SGDW, 10 * FIXED))
    ]  # fmt: skip
    plain = [PLAIN_SGD.curve, SGD.curve]
    better = [
        Claim(f"{arm.title} is better than SGD with L2, with and without momentum, each at its best λ",
              "drawn: slightly",
              lowest(arm.curve, plain, tuned))
        for arm in (SGDS, SGDW)
    ]  # fmt: skip
    return (*optima, *better)


LRS = (0.01, 0.03, 0.1, 0.3, 1.0)


def _fig20(scale: Scale) -> tuple[Panel, ...]:
    return (panel(scale, RESNET, (SGD, SGDS), TUNE, lrs={SGD.curve: LRS, SGDS.curve: LRS}, source="fig20"),)


def _fig20_claims(scale: Scale) -> tuple[Claim, ...]:
    return (
        Claim("SGDS’s basin is deeper than SGD’s", "SGDS ≤ 4.83", lowest(SGDS.curve, [SGD.curve], tuned)),
        Claim("SGDS’s basin is wider than SGD’s", "drawn", wider(SGDS.curve, [SGD.curve])),
    )


def _learning(*arms: Arm) -> Panels:
    several = (RESNET, VGG, "GoogLeNet, CIFAR-100")
    return lambda scale: panels(scale, several, arms, (FIXED,), source="table4")


def _ends_lower(stable: Arm, l2: Arm) -> Claims:
    return lambda scale: (
        Claim(f"{stable.title} ends below {l2.title} at the paper’s λ", "drawn",
              lowest(stable.curve, [l2.curve], fixed)),
    )  # fmt: skip


def _table4(scale: Scale) -> tuple[Panel, ...]:
    words = (RESNET, VGG, "DenseNet121, CIFAR-100", "GoogLeNet, CIFAR-100")
    return panels(scale, words, (ADAIS, ADAI, SGDS, SGD), TUNE, source="table4")


def _table4_claims(scale: Scale) -> tuple[Claim, ...]:
    pairs = (
        (ADAIS, ADAI, "4.59 / 4.74, 5.81 / 6.00, 19.44 / 19.59, 20.50 / 20.55"),
        (SGDS, SGD, "4.69 / 5.01, 6.28 / 6.42, 19.61 / 19.81, 20.68 / 21.21"),
    )
    at_paper = [
        Claim(f"{stable.title} is better than {l2.title} at the paper’s λ", paper,
              lowest(stable.curve, [l2.curve], fixed))
        for stable, l2, paper in pairs
    ]  # fmt: skip
    at_best = [
        Claim(f"{stable.title} is better than {l2.title}, each at its best λ", "not measured",
              lowest(stable.curve, [l2.curve], tuned), own=True)
        for stable, l2, _ in pairs
    ]  # fmt: skip
    return (*at_paper, *at_best)


def _tensorflow(scale: Scale) -> tuple[Panel, ...]:
    return (panel(scale, RESNET, (SGD, TENSORFLOW), TUNE),)


def _tensorflow_claims(scale: Scale) -> tuple[Claim, ...]:
    return (
        Claim("SGD as PyTorch writes it is better than as TensorFlow does, each at its best λ", "not measured",
              lowest(SGD.curve, [TENSORFLOW.curve], tuned), own=True),
    )  # fmt: skip


EXPERIMENTS = (
    Experiment(
        "fig19", "Four kinds of SGD over λ, VGG16", "Where is the best λ of each, and which is best?",
        ("decay",), _over_decays(VGG), _over_decays_claims,
        ("Vanilla SGD is SGD without momentum. SGDW is drawn at its own λ.",),
    ),
    Experiment(
        "fig20", "lr and λ of SGD and SGDS", "Whose basin is deeper?", ("heat",), _fig20, _fig20_claims
    ),
    Experiment(
        "fig21", "Four kinds of SGD over λ, ResNet18", "Where is the best λ of each, and which is best?",
        ("decay",), _over_decays(RESNET), _over_decays_claims,
        ("Vanilla SGD is SGD without momentum. SGDW is drawn at its own λ.",),
    ),
    Experiment(
        "fig22", "SGDS and SGD while they learn", "Does SGDS end lower?",
        ("curves",), _learning(SGDS, SGD), _ends_lower(SGDS, SGD),
    ),
    Experiment(
        "fig23", "AdaiS and Adai while they learn", "Does AdaiS end lower?",
        ("curves",), _learning(ADAIS, ADAI), _ends_lower(ADAIS, ADAI),
    ),
    Experiment(
        "table4", "Stable decay with momentum", "Is stable decay better than L2 for SGD and for Adai?",
        ("decay", "curves"), _table4, _table4_claims,
    ),
    Experiment(
        "tensorflow", "SGD as TensorFlow writes it, under a schedule",
        "TensorFlow puts the lr into the momentum: does that matter when the lr drops?",
        ("decay", "curves"), _tensorflow, _tensorflow_claims,
        ("Not in the paper, which gives the algorithm but no measurement.",),
    ),
)  # fmt: skip
