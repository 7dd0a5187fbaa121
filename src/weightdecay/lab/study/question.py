"""What was asked: the points of a grid, the runs of each, and the words for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from weightdecay.lab.run import Run
from weightdecay.lab.run.methods import method


@dataclass(frozen=True)
class Point:
    """One place of a grid: an optimizer, its lr and its λ. Its runs differ by seed only.

    ``variant`` is what else sets it apart from other points of the grid, in words: ``"batch_size=256"``.
    """

    optimizer: str
    lr: float
    weight_decay: float
    variant: str = ""

    @property
    def curve(self) -> str:
        """What the point shares with those that differ in lr and λ only: one line of a figure, one row of a table."""
        return f"{self.optimizer}, {self.variant}" if self.variant else self.optimizer

    @property
    def title(self) -> str:
        """The curve's name for a person."""
        name = method(self.optimizer).title
        return f"{name}, {self.variant}" if self.variant else name


TIMES_LR = ("decoupled", "corrected")
"""Decays whose pull at the peak is λ·η."""


@dataclass(frozen=True)
class Question:
    """The runs of every point, in the order of the seeds, and what a report says of them beside the numbers.

    Whoever asks, asks so: a comparison, a sweep, a panel of the paper. ``setting`` goes on after "On …"; ``rows`` are
    (term, text) of what was run; ``grid`` are the words for λ and for lr in "widen …"; ``fixed`` is each curve's point
    that was singled out before anything was trained, if one was.
    """

    points: Mapping[Point, tuple[Run, ...]]
    setting: str
    command: str = ""
    rows: tuple[tuple[str, str], ...] = ()
    label_noise: float = 0.0
    classes: int | None = None  # where guessing has a known error
    test_size: int | None = None
    steps: int | None = None  # of each run, where all have the same
    grid: tuple[str, str] = field(default=("weight_decay", "lr"))
    name: str = "compare"  # of the page
    fixed: Mapping[str, Point] = field(default_factory=dict)

    @property
    def curves(self) -> tuple[str, ...]:
        """The curves, in the order of the points."""
        return tuple(dict.fromkeys(point.curve for point in self.points))

    @property
    def runs(self) -> tuple[Run, ...]:
        """Every run once: all points with the first seed, then all with the second, so that early looks are fair."""
        most = max(map(len, self.points.values()), default=0)
        by_seed = (runs[i] for i in range(most) for runs in self.points.values() if i < len(runs))
        return tuple(dict.fromkeys(by_seed))

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of all points, ascending."""
        return tuple(sorted({run.seed for runs in self.points.values() for run in runs}))

    @property
    def epochs(self) -> int:
        """Of the longest run."""
        return max(run.epochs for runs in self.points.values() for run in runs)

    def place(self, point: Point) -> float:
        """Return where figures put λ: at λ·η where the lr multiplies λ and no gain does, as in the paper, else at λ."""
        decay = decay_of(point, next(iter(self.points[point]), None))
        return point.weight_decay * (point.lr if decay in TIMES_LR else 1.0)


def decay_of(point: Point, run: Run | None) -> str:
    """Return a point's decay, as a name or a text; at λ = 0 the runs of all decays are one, and have none."""
    given = dict(run.optimizer_options).get("decay") if run is not None else None
    return str(given or method(point.optimizer).decay)
