"""What is judged: an optimizer with a decay, and the cells (lr, λ) at which it may be tried."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from weightdecay import catalog
from weightdecay.lab.referee.task import Task
from weightdecay.lab.run import Run, options
from weightdecay.lab.run.methods import method, takes_momentum, with_code
from weightdecay.lab.run.settings import SettingsError
from weightdecay.lab.run.shape import shape_of
from weightdecay.lab.study.members import Member, has_meaning, members

NONE = "none"
"""In place of a decay: the optimizer at λ = 0."""

FROZEN = "frozen"
"""In place of a decay: the optimizer at λ = 0, on nothing but the tensors that the start did not give."""

WITHOUT = (NONE, FROZEN)
"""In place of a decay: what has no λ at all."""

OVER_TIME = "@"
"""Between a decay and the shape of its λ over time, as in ``decoupled@cosine``."""

MOMENTUM = 0.9
"""Of SGD and its variants."""

FROM_START = 0.1
"""Of the usual λ, where a run starts from trained weights: the usual one leaves hardly anything of them, e⁻⁶ at
ηλ · steps = 6, and a tenth of it leaves half."""


class Cell(NamedTuple):
    """Where an arm is tried."""

    lr: float
    weight_decay: float


@dataclass(frozen=True)
class Arm:
    """``decay`` is the word it was asked for by, ``member`` how it is run, ``shape`` how λ changes over time, if so."""

    optimizer: str
    decay: str
    member: Member
    shape: str = ""

    @property
    def title(self) -> str:
        """For a table."""
        return f"{method(self.member.base).title}, {self.decay}"

    @property
    def lr(self) -> float:
        """Where its lr is looked for first."""
        return method(self.member.base).lr

    @property
    def has_weight_decay(self) -> bool:
        """Whether λ is to be tuned: of "none" and "frozen" it is 0, and of a constraint on a norm it is a switch."""
        return self.decay not in WITHOUT and not _is_switch(self.decay.partition(OVER_TIME)[0])

    @property
    def by_gain(self) -> bool:
        """Whether the size of λ depends on that of the gradients: through the gain of an adaptive optimizer."""
        return method(self.member.base).family == "adam" and self.member.kind in ("l2", "stable")

    def without_decay(self) -> Arm:
        """Return the same optimizer at λ = 0."""
        return Arm(self.optimizer, NONE, Member(self.member.base))

    def guess(self, task: Task, gain: float | None) -> Cell:
        """Return where the best cell is expected. ``gain``: that of the optimizer on the task, after an epoch."""
        if not self.has_weight_decay:
            return Cell(self.lr, 0.0 if self.decay in WITHOUT else 1.0)
        weight_decay = self.member.centre(self.lr, MOMENTUM) / task.steps
        if self.by_gain and gain:
            weight_decay *= usual_gain(self.member.base) / gain
        if task.start:
            weight_decay *= FROM_START
        return Cell(self.lr, rounded(weight_decay))

    def run(self, task: Task, cell: Cell, seed: int) -> Run:
        """Return the run at a cell."""
        none = self.decay in WITHOUT
        name = self.member.base if none else self.member.optimizer
        own = {} if none else dict(self.member.options)
        if takes_momentum(name):
            own["momentum"] = MOMENTUM
        run = task.base(
            optimizer=name, lr=cell.lr, weight_decay=cell.weight_decay, seed=seed, optimizer_options=options(own),
            weight_decay_schedule=self.shape, frozen=self.decay == FROZEN,
        )  # fmt: skip
        return with_code(run)


def usual_gain(base: str) -> float:
    """Return the gain at which an optimizer's guesses of a stable and of a decoupled λ agree: ηλ_W = ηλ_S ḡ."""
    rows = [row for row in catalog.OPTIMIZERS.values() if row.base == base]
    centre = {row.decay: row.centre for row in rows}
    if {"decoupled", "stable"} <= set(centre):
        return centre["decoupled"] / (centre["stable"] * method(base).lr)
    return usual_gain("adam")


def rounded(number: float) -> float:
    """Return the number in two digits, so that what is printed is what was run.

    >>> rounded(0.0123456)
    0.012
    """
    return float(f"{number:.1e}")


def arms(optimizers: Iterable[str], decays: Iterable[str]) -> tuple[Arm, ...]:
    """Return every optimizer with every decay that has a meaning for it, each once.

    Raises: SettingsError, for an unknown name, with the nearest; for a shape that λ cannot have.
    """
    found: dict[tuple[str, str, str, str], Arm] = {}
    for optimizer in dict.fromkeys(optimizers):
        for word in dict.fromkeys(decays):
            decay, over_time, shape = word.partition(OVER_TIME)
            own = _member(optimizer, decay)
            if over_time:
                _check_shape(word, decay, shape)
            for member in own:
                arm = Arm(member.base, word, member, shape)
                found.setdefault((member.optimizer, member.decay, shape, decay if decay in WITHOUT else ""), arm)
    return tuple(found.values())


def _is_switch(decay: str) -> bool:
    from weightdecay.decay import parse

    return parse(decay).switched


def _check_shape(word: str, decay: str, shape: str) -> None:
    """Refuse what has no λ that could change, and a shape that a run cannot follow."""
    if decay in WITHOUT or _is_switch(decay):
        raise SettingsError(f"--decays {word}: {decay} has no λ to change over time. Write {decay}.")
    try:
        shape_of(shape)
    except ValueError as error:
        raise SettingsError(f"--decays {word}: {error}") from error


def _member(optimizer: str, decay: str) -> tuple[Member, ...]:
    """Return the one member, or none where the pair has no meaning."""
    (own,) = members((optimizer,), ())  # raises for an unknown one; Muon is run as MuonAdamW
    if decay in WITHOUT:
        return (Member(own.base),)
    return members((own.base,), (decay,)) if has_meaning(own.base, decay) else ()
