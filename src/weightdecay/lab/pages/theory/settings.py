"""What ``weightdecay theory`` can be asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from weightdecay.lab.run.settings import SEEDS, SettingsError, command_line


@dataclass(frozen=True)
class TheorySettings:
    """Draw what the theory of weight decay predicts beside what the library's own optimizers do.

    Expected and simulated paths on a quadratic; the loss against λ and the best λ for several training lengths; how
    the regularised minimum moves along a schedule; how AdamW's drifts on a real run; norms before a normalisation
    layer. Ends with figures (PNG and SVG), numbers (CSV, JSON) and one page, theory.html, that opens offline. Takes
    under a minute of one CPU core.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "weightdecay theory",
        "weightdecay theory --steps 10000 --draws 64",
    )
    out: Path = Path("weightdecay-theory")
    """Folder for the page, the figures and the numbers."""
    seed: int = 0
    """Seed of all random numbers: starts, minima, noise, the order of the data."""
    steps: int = 3000
    """Longest training that is simulated; the others have 1/3, 1/10 and 1/30 of it."""
    lr: float = 0.1
    """Largest learning rate on the quadratic, whose largest eigenvalue is 10."""
    directions: int = 400
    """Directions of the quadratic: ten outliers, and a bulk even in its logarithm from 0.1 down to 1e-6."""
    draws: int = 24
    """Quadratics of that spectrum on which every λ is simulated, each with its own start and minimum."""
    epochs: int = 20
    """Epochs of the real run."""

    def check(self) -> None:
        """Refuse what cannot be computed. Raises: SettingsError, which names the option."""
        for option, value, least, why in (
            ("steps", self.steps, 300, "the shortest training, a thirtieth of it, would have fewer than ten steps"),
            ("directions", self.directions, 20, "ten are outliers, and the bulk needs some too"),
            ("draws", self.draws, 8, "an error bar needs several quadratics"),
            ("epochs", self.epochs, 2, "a drift needs a first and a last epoch"),
        ):
            if value < least:
                raise SettingsError(f"--{option} {value}: {why}. Use {least} or more.")
        if not 0 <= self.seed < SEEDS:
            raise SettingsError(f"--seed {self.seed}: a seed must be at least 0 and fit into 64 bits.")
        if not 0.001 <= self.lr <= 0.15:
            raise SettingsError(
                f"--lr {self.lr:g}: with a largest eigenvalue of 10 and a largest λ of 2.5, an lr above 0.15 diverges, "
                "and one below 0.001 learns nothing in these steps. Use 0.1."
            )

    @property
    def lengths(self) -> tuple[int, ...]:
        """Steps of the trainings that are simulated, ascending."""
        return tuple(round(self.steps / part) for part in (30, 10, 3, 1))

    @property
    def command(self) -> str:
        """The command line that asks the same again."""
        return command_line(self, ["theory"])
