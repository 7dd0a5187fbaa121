"""Figure 1: is a fixed fraction per step worse than one that follows the learning rate?"""

from __future__ import annotations

from weightdecay.lab.paper.arms import Arm, panels
from weightdecay.lab.paper.claims import fixed, lowest, tuned
from weightdecay.lab.paper.experiment import Claim, Experiment, Panel
from weightdecay.lab.paper.scale import Scale

COUPLED = Arm("Eq. 2", "sgd", 0.1, variant="λη a step")
VANILLA = Arm("Eq. 1", "sgd", 0.1, axis="vanilla", variant="λη₀ a step", options={"decay": "vanilla"})


def _panels(scale: Scale) -> tuple[Panel, ...]:
    return panels(scale, ("ResNet18, CIFAR-10",), (COUPLED, VANILLA), (1.5e-4, 5e-4, 1.5e-3, 5e-3))


def _claims(scale: Scale) -> tuple[Claim, ...]:
    better = "Weight decay that follows the learning rate (Eq. 2) beats a fixed fraction per step (Eq. 1)"
    return (
        Claim(f"{better}, at the paper’s λ", "drawn, no numbers", lowest(COUPLED.curve, [VANILLA.curve], fixed)),
        Claim(f"{better}, each at its best λ", "not measured", lowest(COUPLED.curve, [VANILLA.curve], tuned), own=True),
    )


EXPERIMENTS = (
    Experiment(
        "fig1",
        "A fixed fraction per step, or one that follows the learning rate",
        "SGD without momentum under a schedule that drops the lr: is λη_t a step better than λη₀ a step?",
        ("curves", "decay"),
        _panels,
        _claims,
    ),
)
