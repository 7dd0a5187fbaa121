"""The curves of an experiment: an optimizer with its lr and decay, and its runs along an axis of λ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from weightdecay.lab.paper import numbers
from weightdecay.lab.paper.experiment import Panel, panel_of
from weightdecay.lab.paper.scale import Scale, Setting
from weightdecay.lab.run import Option, Run, options
from weightdecay.lab.study.question import Point

GRID = (5e-6, 1.5e-5, 5e-5, 1.5e-4, 5e-4, 1.5e-3, 5e-3, 1.5e-2)
"""λ's in half decades about the paper's 5e-4."""

TUNE = GRID[2:]
"""Where λ is tuned for each optimizer and is not itself the question."""

FIXED = 5e-4
"""The λ of L2 and of stable decay that the paper takes by default."""


@dataclass(frozen=True)
class Arm:
    """A curve. ``axis`` is what a place x on the λ axis means for the optimizer's own λ.

    ``own``: λ = x. ``coupled``: λ = x/η, so that AdamW takes as much of a weight in a step as λ = x of L2 would under
    plain gradient descent; the paper draws AdamW so. ``vanilla``: λ₀ = ηx, which lr-coupled decay is at the first lr.
    """

    title: str  # as the paper writes it: "AdamS"
    optimizer: str
    lr: float
    axis: Literal["own", "coupled", "vanilla"] = "own"
    variant: str = ""
    options: Mapping[str, Option] = field(default_factory=dict)

    @property
    def curve(self) -> str:
        """The name of its points."""
        return Point(self.optimizer, self.lr, 0.0, self.variant).curve

    def varied(self, variant: str) -> Arm:
        """Return the same arm under a variant's name."""
        return replace(self, variant=f"{self.variant}, {variant}" if self.variant else variant)

    def weight_decay(self, place: float) -> float:
        """Return the λ that is reported at a place."""
        return float(f"{place / self.lr:.3g}") if self.axis == "coupled" else place

    def runs(
        self, setting: Setting, place: float, seeds: int, lr: float | None = None, **changes: Any
    ) -> tuple[Run, ...]:
        """Return the runs at a place, one per seed. λ = x/η is of the arm's own lr, whatever the run's is."""
        lr = self.lr if lr is None else lr
        weight_decay = place * lr if self.axis == "vanilla" else self.weight_decay(place)
        own = options(self.options)
        return tuple(
            setting.base(
                optimizer=self.optimizer, lr=lr, weight_decay=weight_decay, seed=seed, optimizer_options=own, **changes
            )
            for seed in range(seeds)
        )


MOMENTUM: Mapping[str, Option] = {"momentum": 0.9}

SGD = Arm("SGD", "sgd", 0.1, options=MOMENTUM)
SGDS = Arm("SGDS", "sgds", 0.1, options=MOMENTUM)
SGDW = Arm("SGDW", "sgdw", 0.1, options=MOMENTUM)
TENSORFLOW = Arm("TensorFlowSGD", "tensorflowsgd", 0.1, options=MOMENTUM)
PLAIN_SGD = Arm("Vanilla SGD", "sgd", 0.1, variant="no momentum")
ADAM = Arm("Adam", "adam", 1e-3)
ADAMW = Arm("AdamW", "adamw", 1e-3, axis="coupled")
ADAMS = Arm("AdamS", "adams", 1e-3)
ELEMENTWISE = Arm("AdamS, element-wise", "adam", 1e-3, variant="element-wise stable", options={"decay": "elementwise"})
AMSGRAD = Arm("AMSGrad", "amsgrad", 1e-3)
ADABOUND = Arm("AdaBound", "adabound", 1e-3)
PADAM = Arm("Padam", "padam", 1e-2)
YOGI = Arm("Yogi", "yogi", 1e-3)
RADAM = Arm("RAdam", "radam", 1e-3)
ADAI = Arm("Adai", "adai", 1.0)
ADAIS = Arm("AdaiS", "adais", 1.0)

ADAMS_THREE = (ADAM, ADAMW, ADAMS)
ADAPTIVE = (ADAMS, ADAM, AMSGRAD, ADAMW, ADABOUND, PADAM, YOGI, RADAM)
ALL = (SGD, *ADAPTIVE)


def panel(
    scale: Scale,
    words: str,
    arms: Sequence[Arm],
    places: Sequence[float] = TUNE,
    *,
    fixed: float | None = FIXED,
    lrs: Mapping[str, Sequence[float]] | None = None,
    source: str = "",
    name: str = "",
    **changes: Any,
) -> Panel:
    """Return the panel of arms along the paper's λ's, in what stands for them at this scale.

    ``fixed`` is the paper's own λ, always among the places; ``lrs`` are other lr's by curve, for a map of lr and λ.
    ``source`` names the table whose numbers go with the curves; ``changes`` are other fields of all runs.
    """
    setting = scale.setting(words)
    along = tuple(scale.grid(tuple(places)))
    points: dict[Point, tuple[Run, ...]] = {}
    drawn: dict[Point, float] = {}
    at_fixed: dict[str, Point] = {}
    for arm in arms:
        of_arm = scale.grid(tuple(lrs[arm.curve])) if lrs else (arm.lr,)
        for lr in dict.fromkeys((*of_arm, *((arm.lr,) if fixed is not None else ()))):
            extra = (fixed,) if fixed is not None and lr == arm.lr else ()
            for place in sorted({*map(setting.at, along), *map(setting.at, extra)}):
                point = Point(arm.optimizer, lr, arm.weight_decay(place), arm.variant)
                points[point] = arm.runs(setting, place, scale.seeds, lr, **changes)
                drawn[point] = place
                if extra and place == setting.at(fixed or 0.0):
                    at_fixed[arm.curve] = point
    paper = {arm.curve: numbers.of(source, setting.network, arm.title) for arm in arms} if source else {}
    return panel_of(setting, points, drawn, name, fixed=at_fixed, paper=paper)


def panels(scale: Scale, several: Sequence[str], arms: Sequence[Arm], *args: Any, **kwargs: Any) -> tuple[Panel, ...]:
    """Return a panel for each of the paper's settings; those that one setting stands for at this scale are one."""
    found = {scale.setting(words).words: panel(scale, words, arms, *args, **kwargs) for words in reversed(several)}
    return tuple(reversed(found.values()))
