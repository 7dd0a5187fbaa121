"""Decays and an optimizer of a user's own: each decay uses a port or two, and says so again in naive float64 NumPy."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

import weightdecay as wd

# ---------------------------------------------------------------- decays, as a user writes them


class Cautious(wd.Decay):
    """Where the update moves the weight towards 0 as well: where u and θ have one sign."""

    needs = frozenset({"update", "weight"})

    def pull(self, step):
        return step.lr * step.strength

    def mask(self, step):
        return step.update() * step.weight() > 0


class Soft(wd.Decay):
    """A mask between 0 and 1, from the gradient."""

    needs = frozenset({"grad"})

    def pull(self, step):
        return step.lr * step.strength

    def mask(self, step):
        return 1 / (1 + step.grad() * step.grad())


@dataclass(frozen=True)
class Towards(wd.Decay):
    """Towards a number that is not 0."""

    target: float = 0.5

    def pull(self, step):
        return step.lr * step.strength

    def anchor(self, step):
        return self.target


class Signs(wd.Decay):
    """Towards ±1, whichever is on the side of the weight: an anchor for every element."""

    needs = frozenset({"weight"})

    def pull(self, step):
        return step.lr * step.strength

    def anchor(self, step):
        return torch.sign(step.weight())


class StableTowards(wd.Decay):
    """In proportion to the effective lr, towards a number."""

    needs = frozenset({"mean_gain"})

    def pull(self, step):
        return step.lr * step.strength * step.mean_gain()

    def anchor(self, step):
        return -0.25


class GainMasked(wd.Decay):
    """A pull for every element, in proportion to its gain, where the weight is large."""

    needs = frozenset({"gain", "weight"})

    def pull(self, step):
        return 0.1 * step.lr * step.strength * step.gain()

    def mask(self, step):
        return step.weight().abs() > 0.3


class Box(wd.Decay):
    """No weight leaves [−0.9, 0.9]."""

    def pull(self, step):
        return step.lr * step.strength

    def constrain(self, step, old, new):
        return new.clamp(-0.9, 0.9)


class Sphere(wd.Decay):
    """Every tensor keeps its norm, whatever the step did: what a pull would have done to it on average."""

    def constrain(self, step, old, new):
        return new * (old.norm() / new.norm())


class Lasso(wd.Decay):
    """The gradient of λ|θ| joins the loss's, as L2's does."""

    def couple(self, grad, weight, strength):
        return grad + strength * weight.sign()


class CoupledTowards(wd.Decay):
    """Into the gradient and outside of it: the moments see λ(θ − r), and the weight is pulled to r besides."""

    needs = frozenset({"grad", "mean_gain"})

    def couple(self, grad, weight, strength):
        return grad + strength * (weight - 0.1)

    def pull(self, step):
        return step.lr * step.strength * step.mean_gain()

    def mask(self, step):
        return step.grad().abs() < 1

    def anchor(self, step):
        return 0.1


class Later(wd.Decay):
    """More with every step of the tensor, and in the end all of it."""

    def pull(self, step):
        return 0.4 * step.strength * step.t


class ByTensor(wd.Decay):
    """A large tensor is pulled more: one number per tensor, read from the weight."""

    needs = frozenset({"weight"})

    def pull(self, step):
        return step.lr * step.strength * (step.weight() * step.weight()).mean()


class Everything(wd.Decay):
    """All ports at once, all of them smooth."""

    needs = frozenset({"gain", "mean_gain", "update", "weight", "grad"})

    def couple(self, grad, weight, strength):
        return grad + 0.1 * strength * weight

    def pull(self, step):
        warm = step.t / (step.t + 3)
        return step.strength * warm * (step.lr * step.mean_gain() + 0.001 * step.lr * step.gain())

    def mask(self, step):
        return torch.sigmoid(step.update() * step.weight() - step.grad())

    def anchor(self, step):
        return 0.5 * torch.tanh(step.weight())

    def constrain(self, step, old, new):
        return 0.9 * new + 0.1 * old


# ---------------------------------------------------------------- the same in NumPy


def nothing(step):
    return 0.0


@dataclass(frozen=True)
class Toy:
    """A decay, and what its ports say in float64 NumPy of a namespace of plain facts."""

    decay: wd.Decay
    pull: Callable[[Any], Any] = lambda s: s.lr * s.strength
    mask: Callable[[Any], Any] = lambda s: 1.0
    anchor: Callable[[Any], Any] = nothing
    constrain: Callable[[Any, Any, Any], Any] = lambda s, old, new: new
    couple: Callable[[Any, Any, float], Any] = lambda g, w, strength: g
    elementwise: bool = True
    strength: float = 0.1

    def __str__(self):
        return type(self.decay).__name__


TOYS = [
    Toy(Cautious(), mask=lambda s: s.update * s.weight > 0, strength=0.5),
    Toy(Soft(), mask=lambda s: 1 / (1 + s.grad**2), strength=0.5),
    Toy(Towards(), anchor=lambda s: 0.5, strength=0.5),
    Toy(Signs(), anchor=lambda s: np.sign(s.weight), strength=0.5),
    Toy(StableTowards(), pull=lambda s: s.lr * s.strength * s.mean_gain, anchor=lambda s: -0.25),
    Toy(GainMasked(), pull=lambda s: 0.1 * s.lr * s.strength * s.gain, mask=lambda s: np.abs(s.weight) > 0.3),
    Toy(Box(), constrain=lambda s, old, new: np.clip(new, -0.9, 0.9)),
    Toy(
        Sphere(),
        pull=nothing,
        constrain=lambda s, old, new: new * np.sqrt((old**2).sum() / (new**2).sum()),
        elementwise=False,
    ),
    Toy(Lasso(), pull=nothing, couple=lambda g, w, strength: g + strength * np.sign(w)),
    Toy(
        CoupledTowards(),
        pull=lambda s: s.lr * s.strength * s.mean_gain,
        mask=lambda s: np.abs(s.grad) < 1,
        anchor=lambda s: 0.1,
        couple=lambda g, w, strength: g + strength * (w - 0.1),
    ),
    Toy(Later(), pull=lambda s: 0.4 * s.strength * s.t),
    Toy(ByTensor(), pull=lambda s: s.lr * s.strength * (s.weight**2).mean(), elementwise=False, strength=0.5),
    Toy(
        Everything(),
        pull=lambda s: s.strength * s.t / (s.t + 3) * (s.lr * s.mean_gain + 0.001 * s.lr * s.gain),
        mask=lambda s: 1 / (1 + np.exp(s.grad - s.update * s.weight)),
        anchor=lambda s: 0.5 * np.tanh(s.weight),
        constrain=lambda s, old, new: 0.9 * new + 0.1 * old,
        couple=lambda g, w, strength: g + 0.1 * strength * w,
    ),
]


# ---------------------------------------------------------------- an optimizer without a gain


class Sign(wd.Optimizer):
    r"""The sign of a running mean of the gradients: it multiplies no gradient, and so has no gain.

    .. math:: m_t = \beta m_{t-1} + (1-\beta)\,g_t, \qquad u_t = \operatorname{sign} m_t
    """

    method: ClassVar[str] = "Sign"
    slots: ClassVar[tuple[str, ...]] = ("m",)
    elementwise: ClassVar[bool] = True

    def __init__(self, params, lr=1e-3, weight_decay=0.0, *, decay=wd.Decoupled(), **options):  # noqa: B008
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "decay": decay}, **options)

    def start(self, weight, group):
        return {"m": torch.zeros_like(weight)}

    def observe(self, state, grad, group):
        state["m"].lerp_(grad, 0.1)

    def direction(self, state, grad, group, mean_square):
        return torch.sign(state["m"])
