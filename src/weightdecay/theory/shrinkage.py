"""How decay enters a step of gradient descent on a quadratic: with the learning rate, or without it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from operator import index

import torch
from torch import Tensor

from weightdecay.theory.accumulated import Accumulated
from weightdecay.theory.numbers import Numbers, fraction, non_negative, rates, refuse, refuse_vanilla, shown
from weightdecay.theory.product import Product


@dataclass(frozen=True)
class Coupled:
    r"""Eq. 2: :math:`\theta_t = (1-\eta_t\lambda)\,\theta_{t-1} - \eta_t g_t`.

    For gradient descent without momentum L2, lr-coupled (SGDW) and stable decay are all this one; ``Independent`` is it
    with λ/η_max in place of λ.
    """

    weight_decay: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight_decay", non_negative("weight_decay", self.weight_decay))

    def strength(self, lrs: Tensor) -> Tensor:
        """Return the λ of the regularised loss L + λ/2‖θ‖² that each step descends: the same for all."""
        return torch.full_like(lrs, self.weight_decay)

    def said(self, lr: float) -> str:
        """Return the strength at an lr as a message says it."""
        return f"λ = {self.weight_decay:g}"


@dataclass(frozen=True)
class Vanilla:
    r"""Eq. 1: :math:`\theta_t = (1-\lambda_0)\,\theta_{t-1} - \eta_t g_t`, a pull that no learning rate multiplies.

    Raises: ValueError, for λ₀ outside [0, 1).
    """

    weight_decay: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight_decay", fraction("weight_decay", self.weight_decay))

    def strength(self, lrs: Tensor) -> Tensor:
        """Return λ₀/η_t, the λ of the loss that step t descends: infinite at lr 0, where only the pull is left."""
        return torch.where(lrs > 0, self.weight_decay / lrs, torch.inf if self.weight_decay else 0.0)

    def said(self, lr: float) -> str:
        """Return the strength at an lr as a message says it."""
        return f"λ₀/lr = {self.weight_decay:g}/{lr:g}"


Shrinkage = Coupled | Vanilla


def shrinks(decay: object) -> None:
    """Refuse what is no decay. Raises: ValueError."""
    if not isinstance(decay, Coupled | Vanilla):
        strength = repr(decay) if isinstance(decay, int | float) else "λ"
        raise ValueError(
            f"decay={shown(decay)}: use Coupled({strength}), which the lr multiplies (Eq. 2), or Vanilla({strength}), "
            "which it does not (Eq. 1)."
        )


class Responses:
    """The effect of a schedule on a start, a minimum and noise, for every eigenvalue and any λ.

    Made once for a schedule, it answers for many λ: with :class:`Coupled` all are values of the same three functions of
    h + λ. With :class:`Vanilla` each λ₀ has its own.

    ``at``: numbers of steps after which to answer, ascending; the whole schedule by default.
    Raises: ValueError, for learning rates below 0, and for times outside the schedule.
    """

    def __init__(self, lrs: Numbers, at: tuple[int, ...] | None = None) -> None:
        self.lrs = rates(lrs)
        self.at = (self.lrs.numel(),) if at is None else _steps(at)
        if not self.at or list(self.at) != sorted(self.at) or self.at[0] < 0 or self.at[-1] > self.lrs.numel():
            raise ValueError(f"at={shown(at)}: numbers of steps must ascend and lie within 0 … {self.lrs.numel()}.")
        self.vanilla: dict[float, tuple[Product, Accumulated, Accumulated]] = {}

    @property
    def taken(self) -> Tensor:
        """Learning rates of the steps that are asked about."""
        return self.lrs[: self.at[-1]]

    @property
    def last(self) -> Tensor:
        """The last of them, 0-d; before the first step, that of the first."""
        return self.lrs[max(self.at[-1], 1) - 1]

    @cached_property
    def product(self) -> Product:
        """∏(1 − ηₖs)."""
        return Product(self.lrs, self.at)

    @cached_property
    def totals(self) -> Tensor:
        """Σ ηₖ, (times, 1)."""
        sums = torch.cat([torch.zeros(1, dtype=torch.float64), self.lrs.cumsum(0)])
        return sums[list(self.at)][:, None]

    @cached_property
    def noise(self) -> Accumulated:
        """Σ ηₖ² ∏(1 − ηⱼs)²."""
        return Accumulated(self.lrs, self.at, power=2)

    def mean(self, eigenvalues: Tensor, decay: Shrinkage) -> tuple[Tensor, Tensor, Tensor]:
        """Return P, D and D − 1, (times, n) each, of E[θ_t] = P θ₀ + D θ*; so E[θ_t] − θ* = P θ₀ + (D − 1) θ*.

        Raises: ValueError, where a direction diverges.
        """
        self.check(eigenvalues, decay)
        if isinstance(decay, Vanilla):
            product, drive, _ = self._of(decay.weight_decay)
            left, reached = product(eigenvalues), eigenvalues * drive(eigenvalues)
            return left, reached, reached - 1
        s = eigenvalues + decay.weight_decay
        log, negative = self.product.logarithm(s)
        left = torch.where(negative, -log.exp(), log.exp())
        done = torch.where(negative, 1 - left, -torch.expm1(log))  # 1 − P, with all digits where P is near 1
        some = torch.where(s == 0, 1.0, s)
        reached = eigenvalues * torch.where(s == 0, self.totals, done / some)  # (1 − P)/s is Ση at s = 0
        # Where h > 0 both terms of D − 1 have one sign, and none of its digits are lost as D nears 1.
        short = torch.where(eigenvalues > 0, -(left * eigenvalues + decay.weight_decay) / some, reached - 1)
        return left, reached, short

    def variance(self, eigenvalues: Tensor, decay: Shrinkage) -> Tensor:
        """Return Q, (times, n), of Var[θ_t] = Q σ². Raises: ValueError, where a direction diverges."""
        self.check(eigenvalues, decay)
        if isinstance(decay, Vanilla):
            return self._of(decay.weight_decay)[2](eigenvalues)
        return self.noise(eigenvalues + decay.weight_decay)

    def check(self, eigenvalues: Tensor, decay: Shrinkage) -> None:
        """Refuse directions that grow in the steps that are asked about. Raises: ValueError."""
        shrinks(decay)
        peak = self.taken.max().item() if self.at[-1] else 0.0
        if isinstance(decay, Vanilla):
            refuse_vanilla(eigenvalues, decay.weight_decay, peak)
        else:
            refuse(eigenvalues, decay.weight_decay, peak)

    def _of(self, shrink: float) -> tuple[Product, Accumulated, Accumulated]:
        if shrink not in self.vanilla:
            self.vanilla.clear()  # a search over λ₀ needs one at a time
            self.vanilla[shrink] = (
                Product(self.lrs, self.at, shrink),
                Accumulated(self.lrs, self.at, 1, shrink),
                Accumulated(self.lrs, self.at, 2, shrink),
            )
        return self.vanilla[shrink]


def _steps(at: tuple[int, ...]) -> tuple[int, ...]:
    try:
        return tuple(index(one) for one in at)
    except TypeError:
        raise ValueError(f"at={shown(at)}: give whole numbers of steps, as in at=(10, 100).") from None
