"""Figures 3, 9 and 16: a batch 128 times larger wants 128 times the weight decay, not 128 times the lr."""

from __future__ import annotations

from weightdecay.lab.paper.arms import ADAM, ADAMS, ADAMS_THREE, GRID, TUNE, Arm
from weightdecay.lab.paper.claims import lower_at, lowest
from weightdecay.lab.paper.experiment import Claim, Experiment, Panel, panel_of
from weightdecay.lab.paper.optima import optimum_at, optimum_follows
from weightdecay.lab.paper.scale import Scale, Setting
from weightdecay.lab.run import Run
from weightdecay.lab.study.question import Point

TIMES = 128
"""How many times the usual batch the large one is: 16,384 for 128."""

BASE = 1e-4
"""The paper's λ for the usual batch, in its Figure 3."""

LRS = (1, 2, 4, 8, 16, 32, 64, 128)
DECAYS = (1, 4, 16, 64, 128, 256, 1024, 4096)

BY_LR, BY_DECAY = ADAM.varied("lr × k"), ADAM.varied("λ × k")


def _fig3(scale: Scale) -> tuple[Panel, ...]:
    setting = scale.setting("ResNet18, CIFAR-10")
    base = setting.at_reference(BASE)
    points: dict[Point, tuple[Run, ...]] = {}
    drawn: dict[Point, float] = {}
    for k in (1, 16, 128) if scale.thin else LRS:
        point = Point(ADAM.optimizer, ADAM.lr * k, base, BY_LR.variant)
        points[point] = BY_LR.runs(setting, base, scale.seeds, ADAM.lr * k, batch_size=setting.large_batch)
        drawn[point] = float(k)
    for k in (1, 128) if scale.thin else DECAYS:
        point = Point(ADAM.optimizer, ADAM.lr, base * k, BY_DECAY.variant)
        points[point] = BY_DECAY.runs(setting, base * k, scale.seeds, batch_size=setting.large_batch)
        drawn[point] = float(k)
    return (panel_of(setting, points, drawn, f"batch {setting.large_batch}", named=frozenset(points)),)


def _fig3_claims(scale: Scale) -> tuple[Claim, ...]:
    base = (BY_DECAY.curve, 1.0)
    return (
        Claim("Rule 1 hurts: lr × 128 is worse than lr × 1", "drawn", lower_at(base, (BY_LR.curve, 128.0))),
        Claim("Even lr × 16 is worse than lr × 1", "drawn", lower_at(base, (BY_LR.curve, 16.0))),
        Claim("Rule 2 helps: λ × 128 is better than λ × 1", "drawn", lower_at((BY_DECAY.curve, 128.0), base)),
        Claim("Rule 2 beats Rule 1 at 128", "drawn", lower_at((BY_DECAY.curve, 128.0), (BY_LR.curve, 128.0))),
        Claim("λ × 128 is the best of all λ × k", "λ = 0.0128 is the lowest", optimum_at(BY_DECAY.curve, 128.0, 2.1)),
    )


def _usual(setting: Setting, arm: Arm) -> Arm:
    return arm.varied(f"batch {setting.reference_batch}")


def _large(setting: Setting, arm: Arm) -> Arm:
    return arm.varied(f"batch {setting.large_batch}")


def _rule2(scale: Scale, *several: str) -> tuple[Panel, ...]:
    """Both batches along the same λ's of the paper, those of the large one times 128."""
    found: dict[str, Panel] = {}
    for words in several:
        setting = scale.setting(words)
        points: dict[Point, tuple[Run, ...]] = {}
        drawn: dict[Point, float] = {}
        kinds = ((_usual, TUNE, 1, setting.reference_batch), (_large, GRID, TIMES, setting.large_batch))
        for base in ADAMS_THREE:
            for named, places, times, size in kinds:
                arm = named(setting, base)
                for at in (times * setting.at_reference(place) for place in scale.grid(places)):
                    point = Point(arm.optimizer, arm.lr, arm.weight_decay(at), arm.variant)
                    points[point] = arm.runs(setting, at, scale.seeds, batch_size=size)
                    drawn[point] = at
        found.setdefault(setting.words, panel_of(setting, points, drawn))
    return tuple(found.values())


def _rule2_claims(scale: Scale, *several: str) -> tuple[Claim, ...]:
    setting = scale.setting(several[0])
    rule = [
        Claim(
            f"Rule 2 holds for {arm.title}: the best λ is {TIMES} times larger at {TIMES} times the batch",
            "drawn",
            optimum_follows([_usual(setting, arm).curve, _large(setting, arm).curve], [float(TIMES)]),
        )
        for arm in ADAMS_THREE
    ]
    others = [_large(setting, arm).curve for arm in ADAMS_THREE if arm is not ADAMS]
    best = Claim("AdamS is best with the large batch", "drawn", lowest(_large(setting, ADAMS).curve, others))
    return (*rule, best)


RESNET, VGG = ("ResNet18, CIFAR-10",), ("VGG16, CIFAR-10", "VGG16 without norm, CIFAR-10")

EXPERIMENTS = (
    Experiment(
        "fig3",
        "Two rules for a batch 128 times larger",
        "Adam with L2 and a very large batch: multiply the lr by k, or the weight decay?",
        ("batch", "curves"),
        _fig3,
        _fig3_claims,
        ("The lr × k and λ × k of one training share their run at k = 1.",),
    ),
    Experiment(
        "fig9",
        "Rule 2 for three optimizers",
        "Adam, AdamW and AdamS: is the best λ of a batch 128 times larger 128 times larger?",
        ("decay",),
        lambda scale: _rule2(scale, *RESNET),
        lambda scale: _rule2_claims(scale, *RESNET),
    ),
    Experiment(
        "fig16",
        "Rule 2 with and without batch norm",
        "The same for VGG16, which has batch norm, and for a VGG16 without any.",
        ("decay",),
        lambda scale: _rule2(scale, *VGG),
        lambda scale: _rule2_claims(scale, *VGG),
        (
            "The paper calls its VGG16 free of normalisation and so of invariance to scale, but the authors’ VGG16 has "
            "batch norm; the second panel is one without.",
        ),
    ),
)
