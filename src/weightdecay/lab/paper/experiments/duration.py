"""Figure 2 and Table 3: the best λ is as one over the length of the training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from weightdecay.lab.paper import numbers
from weightdecay.lab.paper.arms import FIXED, GRID, SGD, Arm, panel
from weightdecay.lab.paper.claims import decreasing
from weightdecay.lab.paper.experiment import Claim, Experiment, Judge, Panel
from weightdecay.lab.paper.optima import optimum_at, optimum_follows
from weightdecay.lab.paper.scale import Scale, Setting

WORDS = "ResNet18, CIFAR-10"
LENGTHS = (50, 100, 200, 1000, 2000)
"""Epochs in the paper."""

STRENGTHS = (1.0, 0.1, 0.01)
"""λ × epochs in the paper."""


def _lengths(scale: Scale) -> Sequence[int]:
    return (50, 200, 400) if scale.thin else LENGTHS


def _arm(setting: Setting, length: int) -> Arm:
    return SGD.varied(setting.lasting_words(length))


def _panels(scale: Scale) -> tuple[Panel, ...]:
    """All lengths at λ = 1, 0.1 and 0.01 over the epochs, and the usual length along the whole grid."""
    setting = scale.setting(WORDS)
    parts = []
    for length in _lengths(scale):
        usual = length == 200
        places = tuple(sorted({strength / length for strength in STRENGTHS} | (set(GRID) if usual else set())))
        parts.append(
            panel(
                replace(scale, thin=scale.thin and usual),  # three are the least that has a middle
                WORDS, (_arm(setting, length),), places, fixed=FIXED if usual else None, epochs=setting.lasting(length),
            )
        )  # fmt: skip
    whole = parts[0]
    for part in parts[1:]:
        whole = replace(
            whole,
            points={**whole.points, **part.points},
            drawn={**whole.drawn, **part.drawn},
            fixed={**whole.fixed, **part.fixed},
        )
    paper = {
        _arm(setting, length).curve: tuple(
            number for number in numbers.of("table3") if number.setting.startswith(f"epochs={length} ")
        )
        for length in _lengths(scale)
    }
    along = _along(scale)
    named = frozenset(point for point, place in whole.drawn.items() if (point.curve, place) in along)
    return (replace(whole, paper=paper, named=named),)


def _optimum(scale: Scale, length: int) -> Judge:
    setting = scale.setting(WORDS)
    return optimum_at(_arm(setting, length).curve, setting.at(0.1 / length), 1.5 if length != 200 else 3.5)


def _along(scale: Scale) -> list[tuple[str, float]]:
    """Return where each length has λ × epochs = 0.1, as (curve, place)."""
    setting = scale.setting(WORDS)
    return [(_arm(setting, length).curve, setting.at(0.1 / length)) for length in _lengths(scale)]


def _fig2(scale: Scale) -> tuple[Claim, ...]:
    setting = scale.setting(WORDS)
    return (
        Claim(f"At {setting.lasting_words(200)} the best λ is {setting.at(5e-4):g} (the paper’s 5e-4 at 200)",
              "about 5e-4 at 200 epochs", _optimum(scale, 200)),
        Claim("With epochs = 0.1/λ, a smaller λ is always better", "Table 3: 7.12, 5.56, 5.02, 4.43, 4.48",
              decreasing(_along(scale))),
    )  # fmt: skip


def _table3(scale: Scale) -> tuple[Claim, ...]:
    setting = scale.setting(WORDS)
    found = []
    for length in _lengths(scale):
        paper = [one.text for one in numbers.of("table3") if one.setting.startswith(f"epochs={length} ")]
        found.append(
            Claim(
                f"At {setting.lasting_words(length)} the best λ is {setting.at(0.1 / length):g} "
                f"(0.1/epochs at the paper’s {length})",
                f"λ = 1, 0.1, 0.01 over epochs: {', '.join(paper)}" if paper else "not measured",
                _optimum(scale, length),
            )
        )
    others = [length for length in _lengths(scale) if length != 200]
    found.append(
        Claim(
            "The best λ is as one over the epochs, at all lengths together",
            "λ ≈ 0.1/epochs",
            optimum_follows(
                [_arm(setting, length).curve for length in (200, *others)], [200 / length for length in others]
            ),
        )
    )
    return tuple(found)


EXPERIMENTS = (
    Experiment(
        "fig2",
        "λ against the length of training",
        "SGD: where is the best λ, and does less decay win once the training is long enough for it?",
        ("decay",),
        _panels,
        _fig2,
    ),
    Experiment(
        "table3",
        "The best λ at five lengths of training",
        "SGD: is the best λ as one over the epochs?",
        ("decay",),
        _panels,
        _table3,
    ),
)
