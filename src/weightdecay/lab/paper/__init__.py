"""The paper as experiments: every figure and table, at four scales, with its claims."""

from __future__ import annotations

from weightdecay.checks import unknown
from weightdecay.lab.paper.experiment import Experiment, Reproduction
from weightdecay.lab.paper.experiments import (
    duration,
    implementation,
    large_batch,
    momentum,
    norms,
    optimizers,
    restarts,
    strength,
    words,
)
from weightdecay.lab.paper.judge import judge
from weightdecay.lab.paper.known import known
from weightdecay.lab.paper.measure import MEASURES
from weightdecay.lab.paper.race import asked
from weightdecay.lab.paper.scale import SCALES, Scale, scale
from weightdecay.lab.run.settings import SettingsError


def _order(name: str) -> tuple[int, int]:
    """Figures by number, then tables, then what the paper does not have."""
    kind = 0 if name.startswith("fig") else 1 if name.startswith("table") else 2
    number = "".join(letter for letter in name if letter.isdigit())
    return kind, int(number or 0)


EXPERIMENTS: dict[str, Experiment] = {
    one.name: one
    for one in sorted(
        (
            experiment
            for file in (
                *(duration, implementation, large_batch, momentum, norms),
                *(optimizers, restarts, strength, words),
            )
            for experiment in file.EXPERIMENTS
        ),
        key=lambda one: _order(one.name),
    )
}


def experiments(names: tuple[str, ...]) -> tuple[Experiment, ...]:
    """Return the experiments of those names, ``all`` standing for every one.

    Raises: SettingsError, for an unknown name, with the nearest.
    """
    found: dict[str, Experiment] = {}
    for name in (one for word in names for one in word.lower().split(",") if one):
        if name == "all":
            found |= EXPERIMENTS
        elif name in EXPERIMENTS:
            found[name] = EXPERIMENTS[name]
        else:
            raise SettingsError(unknown("experiment", name, (*EXPERIMENTS, "all")))
    return tuple(found.values())


__all__ = [
    "EXPERIMENTS",
    "MEASURES",
    "SCALES",
    "Experiment",
    "Reproduction",
    "Scale",
    "asked",
    "experiments",
    "judge",
    "known",
    "scale",
]
