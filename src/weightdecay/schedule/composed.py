"""Shapes of shapes: a product, one after the other, a warm-up, numbers that stand for λ itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence as Many
from dataclasses import dataclass, field
from typing import Any, ClassVar

from weightdecay.checks import NON_NEGATIVE
from weightdecay.schedule.curves import Constant, Linear
from weightdecay.schedule.shape import Moment, Number, Shape, Time, shape_of, time_of


@dataclass(frozen=True)
class Product(Shape):
    """f·g, written ``shape * shape``."""

    one: Shape
    other: Shape

    def __post_init__(self) -> None:
        super().__post_init__()
        for each in (self.one, self.other):
            if each.replaces:
                raise ValueError(f"{each} stands for λ itself, so it cannot be a factor. Multiply inside it.")

    @property
    def needs(self) -> frozenset[str]:
        """What both read."""
        return self.one.needs | self.other.needs

    def multiplier(self, now: Moment) -> Number:
        """Return f·g."""
        return self.one.multiplier(now) * self.other.multiplier(now)

    def __repr__(self) -> str:
        return f"{self.one!r} * {self.other!r}"

    def __str__(self) -> str:
        return f"{self.one} * {self.other}"


@dataclass(frozen=True, init=False, repr=False)
class Sequence(Shape):
    """Shapes one after the other, the next from each time in ``at`` on. Each counts its time from its own beginning.

    >>> Sequence("linear(0, 1)", "cosine", at=4).values(8)[:5]
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """

    shapes: tuple[Shape, ...]
    at: tuple[Time, ...]

    def __init__(self, *shapes: Any, at: Time | Many[Time]) -> None:
        times = at if isinstance(at, Many) else (at,)
        object.__setattr__(self, "shapes", tuple(map(shape_of, shapes)))
        object.__setattr__(self, "at", tuple(time_of(each, f"at[{i}]", "Sequence") for i, each in enumerate(times)))
        if len(self.shapes) != len(self.at) + 1:
            raise ValueError(
                f"Sequence of {len(self.shapes)} shapes with {len(self.at)} times in at: "
                "between two shapes there is one time."
            )
        if len({type(each) for each in self.at}) == 1 and list(self.at) != sorted(self.at):
            raise ValueError(f"at={self.at} in Sequence: the times must ascend.")
        if len({each.replaces for each in self.shapes}) > 1:
            raise ValueError(
                f"{self} mixes factors of λ with numbers that stand for λ itself. Put absolute(…) or budget(…) around "
                "the whole sequence."
            )

    @property
    def needs(self) -> frozenset[str]:
        """What its parts read; a part whose length is in ``at``, in steps, needs no other."""
        own = {"total_steps"} if any(isinstance(each, float) for each in self.at) else set()
        for i, each in enumerate(self.shapes):
            own |= each.needs - ({"total_steps"} if i < len(self.at) else set())
        return frozenset(own)

    @property
    def replaces(self) -> bool:
        """Whether its parts do."""
        return self.shapes[0].replaces

    def part(self, now: Moment) -> tuple[Shape, Moment]:
        """Return the shape of this moment, and the moment in its own time."""
        bounds = [now.steps(each) for each in self.at]
        i = sum(now.step >= bound for bound in bounds)
        start = bounds[i - 1] if i else 0
        end = bounds[i] if i < len(bounds) else now.total
        return self.shapes[i], dataclasses.replace(now, step=now.step - start, total=end and max(0, end - start))

    def multiplier(self, now: Moment) -> Number:
        """Return the factor of the shape of this moment."""
        shape, local = self.part(now)
        return shape.multiplier(local)

    def value(self, base: float, now: Moment) -> Number:
        """Return λ_t by the shape of this moment."""
        shape, local = self.part(now)
        return shape.value(base, local)

    def _text(self, parts: Many[str], name: str) -> str:
        at = self.at[0] if len(self.at) == 1 else self.at
        return f"{name}({', '.join([*parts, f'at={at!r}'])})"

    def __repr__(self) -> str:
        return self._text(list(map(repr, self.shapes)), "Sequence")

    def __str__(self) -> str:
        return self._text(list(map(str, self.shapes)), "sequence")


@dataclass(frozen=True)
class Warmup(Shape):
    r"""From ``start`` to 1 in a straight line over a time, then a shape, which counts its time from there.

    .. math:: f = \text{start} + (1 - \text{start})\,t/w \;(t < w), \qquad f = \text{then}(t - w)

    It is ``Sequence(Linear(start, 1), then, at=w)``.
    """

    over: Time
    then: Shape = field(default_factory=Constant)
    start: float = 0.0

    ranges: ClassVar = {"start": NON_NEGATIVE}
    times = ("over",)

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.sequence  # which refuses what cannot be

    @property
    def sequence(self) -> Sequence:
        """The same as a sequence."""
        return Sequence(Linear(self.start, 1.0), self.then, at=self.over)

    @property
    def needs(self) -> frozenset[str]:
        """What its parts read."""
        return self.sequence.needs

    def multiplier(self, now: Moment) -> Number:
        """Return f(t)."""
        return self.sequence.multiplier(now)


@dataclass(frozen=True)
class Absolute(Shape):
    """The numbers of a shape stand for λ itself: ``Absolute(Rise(0.04, 0.4))``. A group whose λ is 0 keeps 0."""

    shape: Shape

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shape.replaces:
            raise ValueError(f"{self.shape} stands for λ itself already.")

    @property
    def needs(self) -> frozenset[str]:
        """What the shape reads."""
        return self.shape.needs

    @property
    def replaces(self) -> bool:
        """It does."""
        return True

    def multiplier(self, now: Moment) -> Number:
        """Return λ_t."""
        return self.shape.multiplier(now)

    def value(self, base: float, now: Moment) -> Number:
        """Return λ_t, whatever λ above 0 the group has."""
        return self.multiplier(now) if base else 0.0
