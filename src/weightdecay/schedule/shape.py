"""Shapes: a number for every step of the training, without memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from weightdecay.checks import Interval, checked, number, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor

    from weightdecay.schedule.plateau import Judged

Number: TypeAlias = "float | Tensor"
Time = int | float
"""A point or a length of time: a float is a fraction of the training (0 to 1), a whole number is a number of steps."""

NEEDS = ("total_steps", "lr", "metric")
"""What a shape may ask for, beside the step."""


@dataclass(frozen=True)
class Moment:
    """What a shape sees of the step that is about to be taken."""

    step: int
    """0 before the first step of the optimizer."""
    total: int | None = None
    """Steps of the whole training; None where nobody said."""
    lr: Number = math.nan
    """η of this step; a tensor where reading it would wait for a device."""
    peak_lr: float = math.nan
    """η_max of the group."""
    judged: Mapping[Any, Judged] = field(default_factory=dict)
    """What each :class:`Plateau` has seen so far."""

    @property
    def whole(self) -> int:
        """The steps of the training. Raises: ValueError, where nobody said."""
        if self.total is None:
            raise ValueError("this shape counts in fractions of the training; pass total_steps.")
        return self.total

    @property
    def fraction(self) -> float:
        """How much of the training has passed: x = step/total_steps, and 1 after its end."""
        return min(1.0, self.step / self.whole) if self.whole else 1.0

    def steps(self, time: Time) -> int:
        """Return a time in whole steps."""
        return time if isinstance(time, int) else round(time * self.whole)


class Shape:
    r"""λ over time: :math:`\lambda_t = \lambda\,f(t)`, where λ is the group's own.

    A shape is a frozen dataclass: its arguments are its identity, and its value at a step is a function of a
    :class:`Moment`. So nothing has to be saved, and a run that continues is where it would have been. ``shape * shape``
    multiplies factors; :class:`Sequence` and :class:`Warmup` put them one after the other.

    A shape of your own overrides :meth:`multiplier` and says in :attr:`needs` what it reads.
    """

    ranges: ClassVar[Mapping[str, Interval]] = {}
    """The values that each argument may take."""
    times: ClassVar[tuple[str, ...]] = ()
    """The arguments that are times: fractions of the training, or steps."""

    def __post_init__(self) -> None:
        """Leave plain numbers and shapes in the fields. Raises: TypeError or ValueError, naming shape and argument."""
        where = type(self).__name__
        for each in fields(self):  # type: ignore[arg-type]
            value = getattr(self, each.name)
            if each.name in self.ranges:
                value = checked(each.name, value, self.ranges[each.name], where)
            elif each.name in self.times:
                value = time_of(value, each.name, where)
            elif each.type == "Shape":
                value = shape_of(value)
            object.__setattr__(self, each.name, value)

    @property
    def needs(self) -> frozenset[str]:
        """What it reads, of :data:`NEEDS`. By default the length of the training, if some argument is a fraction."""
        times = (getattr(self, name) for name in self.times)
        return frozenset({"total_steps"} if any(isinstance(time, float) for time in times) else ())

    @property
    def replaces(self) -> bool:
        """Whether its numbers stand for λ itself rather than multiply it (:class:`Absolute`, :class:`Budget`)."""
        return False

    def multiplier(self, now: Moment) -> Number:
        """Return f(t), at least 0."""
        raise NotImplementedError(f"{type(self).__name__} defines no multiplier")

    def value(self, base: float, now: Moment) -> Number:
        """Return λ_t of a group whose own λ is ``base``."""
        return base * self.multiplier(now)

    def values(self, total_steps: int, lr: Any = None) -> list[float]:
        """Return λ_t of every step of a training, for λ = 1; where no metric comes in.

        ``lr``: the learning rate that a shape follows, as a shape, a function of the fraction of training, or a list.

        >>> from weightdecay.schedule import Linear
        >>> Linear(1, 0).values(4)
        [1.0, 0.75, 0.5, 0.25]
        """
        total = length_of(total_steps)
        rates = rates_of(lr, total)
        if rates is None and "lr" in self.needs:
            raise ValueError(f'{self} reads the lr; pass lr=, as in values({total}, lr="cosine").')
        peak = max(rates) if rates else math.nan
        return [float(self.value(1.0, Moment(t, total, rates[t] if rates else math.nan, peak))) for t in range(total)]

    def plot(self, to: Any, total_steps: int = 1000, lr: Any = None) -> Axes:
        """Draw λ_t/λ into a file or into Matplotlib's ``Axes``; return the axes.

        ``lr``: as in :meth:`values`; it is drawn too, as a broken line.

        Raises: ImportError, where Matplotlib is not installed; it comes with ``pip install "weightdecay[lab]"``.
        """
        from weightdecay.schedule.picture import draw

        return draw(self, to, total_steps, lr)

    def __mul__(self, other: Any) -> Shape:
        from weightdecay.schedule.composed import Product

        return Product(self, shape_of(other))

    def __rmul__(self, other: Any) -> Shape:
        return shape_of(other) * self

    def __str__(self) -> str:
        """The text that :func:`parse` reads as this shape, without what is as it is by default."""
        from weightdecay.schedule.parse import name_of

        given = [
            f"{each.name}={_spelled(getattr(self, each.name))}"
            for each in fields(self)  # type: ignore[arg-type]
            if each.default is MISSING or getattr(self, each.name) != each.default
        ]
        return name_of(self) + (f"({', '.join(given)})" if given else "")


def _spelled(value: Any) -> str:
    if isinstance(value, Shape):
        return str(value)
    return (
        f"{value:g}"
        if isinstance(value, float) and float(f"{value:g}") == value and "e" in repr(value)
        else repr(value)
    )


@dataclass(frozen=True)
class Function(Shape):
    """f(x) is a function of the fraction of training: ``lambda x: (1 - x) ** 2``. It has no form as a text."""

    of: Callable[[float], float]

    @property
    def needs(self) -> frozenset[str]:
        """The length of the training."""
        return frozenset({"total_steps"})

    def multiplier(self, now: Moment) -> Number:
        """Return f(x)."""
        return float(self.of(now.fraction))


def shape_of(value: Any) -> Shape:
    """Return a shape: one as it is, a text as :func:`parse` reads it, a number as constant, a function of x.

    Raises: TypeError, for anything else; ValueError, for a text that describes no shape.
    """
    if isinstance(value, Shape):
        return value
    if isinstance(value, str):
        from weightdecay.schedule.parse import parse

        return parse(value)
    if isinstance(value, type) and issubclass(value, Shape):
        raise TypeError(f"{value.__name__} is a class. Call it: {value.__name__}().")
    if callable(value):
        return Function(value)
    if isinstance(plain(value), (int, float)) and not isinstance(value, bool):
        from weightdecay.schedule.curves import Constant

        return Constant(value)
    raise TypeError(
        f'{value!r} is not a shape. Pass one (Cosine()), a text ("cosine", "linear(1, 0)"), a number, or a function of '
        "the fraction of training."
    )


def time_of(value: Any, name: str, where: str) -> Time:
    """Return a time: a whole number of steps, or a fraction. Raises: TypeError or ValueError, for what is neither."""
    given = plain(value)
    if isinstance(given, int) and not isinstance(given, bool):
        if given < 0:
            raise ValueError(f"{name}={given} in {where}: a number of steps is 0 or more.")
        return given
    given = float(number(given, name, where))
    if not 0 <= given <= 1:
        raise ValueError(
            f"{name}={given!r} in {where}: a float is a fraction of the training, from 0 to 1. "
            "For a number of steps write a whole number, without a point."
        )
    return given


def length_of(total_steps: Any) -> int:
    """Return a length in steps. Raises: TypeError or ValueError, for what is none."""
    given = plain(total_steps)
    if isinstance(given, float) and given.is_integer():
        given = int(given)
    if isinstance(given, bool) or not isinstance(given, int):
        raise TypeError(f"total_steps={total_steps!r} is not a whole number.")
    if given < 1:
        raise ValueError(f"total_steps={given}: a training has at least one step.")
    return given


def rates_of(lr: Any, total: int) -> list[float] | None:
    """Return the lr of every step, from whatever describes it; None for None."""
    if lr is None:
        return None
    if isinstance(lr, Sequence) and not isinstance(lr, str):
        if len(lr) != total:
            raise ValueError(f"lr has {len(lr)} values, and the training {total} steps.")
        return [float(each) for each in lr]
    return shape_of(lr).values(total)
