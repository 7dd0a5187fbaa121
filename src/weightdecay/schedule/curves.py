"""Shapes that are one formula: constant, linear, cosine, rising cosine, sawtooth, logarithmic time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from weightdecay.checks import NON_NEGATIVE
from weightdecay.schedule.shape import Moment, Number, Shape, Time


@dataclass(frozen=True)
class Constant(Shape):
    """f = factor throughout."""

    factor: float = 1.0

    ranges: ClassVar = {"factor": NON_NEGATIVE}

    def multiplier(self, now: Moment) -> Number:
        """Return the constant."""
        return self.factor


@dataclass(frozen=True)
class Curve(Shape):
    """From ``start`` to ``end`` over the whole training, and ``end`` from then on."""

    start: float = 1.0
    end: float = 0.0

    ranges: ClassVar = {"start": NON_NEGATIVE, "end": NON_NEGATIVE}

    @property
    def needs(self) -> frozenset[str]:
        """The length of the training."""
        return frozenset({"total_steps"})


@dataclass(frozen=True)
class Linear(Curve):
    r""":math:`f = \text{start} + (\text{end} - \text{start})\,x` with x = step/total_steps.

    >>> Linear(1, 0).values(4)
    [1.0, 0.75, 0.5, 0.25]
    """

    def multiplier(self, now: Moment) -> Number:
        """Return f(x)."""
        return self.start + (self.end - self.start) * now.fraction


@dataclass(frozen=True)
class Cosine(Curve):
    r""":math:`f = \text{end} + (\text{start} - \text{end})\,\tfrac12(1 + \cos \pi x)` with x = step/total_steps.

    Source: Loshchilov & Hutter, arXiv:1608.03983, Eq. 5, there for the lr; for λ, to 0, in nanochat.

    >>> [round(value, 3) for value in Cosine().values(4)]
    [1.0, 0.854, 0.5, 0.146]
    """

    def multiplier(self, now: Moment) -> Number:
        """Return f(x)."""
        return self.end + (self.start - self.end) * 0.5 * (1.0 + math.cos(math.pi * now.fraction))


@dataclass(frozen=True)
class Rise(Cosine):
    r"""The same cosine upwards: :math:`f = \text{start} + (\text{end} - \text{start})\,\tfrac12(1 - \cos \pi x)`.

    DINO raises λ from 0.04 to 0.4: ``weight_decay=0.4`` and ``Rise(0.1, 1)``, or ``Absolute(Rise(0.04, 0.4))``.

    Source: Caron et al., arXiv:2104.14294, implementation details.
    """

    start: float = 0.1
    end: float = 1.0


@dataclass(frozen=True)
class Sawtooth(Shape):
    r"""From ``start`` towards ``end`` in a straight line, then at once back to ``start``, once in every ``period``.

    .. math:: f = \text{start} + (\text{end} - \text{start})\,\frac{t \bmod P}{P}

    Units: ``period`` is a time, rounded to whole steps and at least one.
    """

    start: float = 0.0
    end: float = 1.0
    period: Time = 0.1

    ranges: ClassVar = {"start": NON_NEGATIVE, "end": NON_NEGATIVE}
    times = ("period",)

    def multiplier(self, now: Moment) -> Number:
        """Return f(t)."""
        period = max(1, now.steps(self.period))
        return self.start + (self.end - self.start) * (now.step % period) / period


@dataclass(frozen=True)
class LogTime(Shape):
    r""":math:`f = 1/(1 + t/T)` with T the ``horizon``: the sum over time grows as a logarithm.

    Units: ``horizon`` is a time; ADANA takes a tenth of the training and λ = ω/T, ω about 4.
    Source: ADANA, the repository mlexpos/adana (``src/optim/adamw_decaying_wd.py``).
    """

    horizon: Time = 0.1

    times = ("horizon",)

    def multiplier(self, now: Moment) -> Number:
        """Return f(t)."""
        return 1.0 / (1.0 + now.step / max(1, now.steps(self.horizon)))
